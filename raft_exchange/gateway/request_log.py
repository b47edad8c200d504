"""A line for a request: for each write of an operator that took effect, and at `debug` for all.

What traders do stands in the log of the cluster itself; here at the level `info` is who opened a
market, made a key, moved money or a member. What is refused is at `debug`, since strangers can have
it written. A line tells of no header and no body: there are the keys.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from aiohttp import web

from raft_exchange.gateway.access import NEEDS, PRINCIPAL
from raft_exchange.gateway.context import REQUEST_ID
from raft_exchange.gateway.tracing import TRACE
from raft_exchange.matching.messages import Scope

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
TRADERS: Final = frozenset(
    route
    for route, scope in NEEDS.items()
    if scope is not Scope.ADMIN and not route[1].startswith("/v1/cluster")
)
PATH_CHARS_MAX: Final = 256

logger = logging.getLogger(__name__)


def names_of(request: web.Request) -> dict[str, str]:
    """Return what a line about a request calls it by."""
    return {"request_id": request[REQUEST_ID], "trace_id": request[TRACE].trace_id}


def note(request: web.Request, response: web.StreamResponse, *, duration_s: float) -> None:
    """Log an answered request, if that is wanted."""
    resource = request.match_info.route.resource
    is_audited = (
        request.method not in READS
        and response.status < 400
        and resource is not None
        and (request.method, resource.canonical) not in TRADERS
    )
    level = logging.INFO if is_audited else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    path = request.rel_url.raw_path[:PATH_CHARS_MAX]
    duration_ms = round(1_000 * duration_s, 3)
    fields: dict[str, Any] = names_of(request) | {
        "method": request.method,
        "path": path,
        "status": response.status,
        "duration_ms": duration_ms,
        "remote": request.remote or "",
    }
    if (sequence := response.headers.get("X-Sequence")) is not None:
        fields["sequence"] = int(sequence)
    if (principal := request.get(PRINCIPAL)) is not None and principal.account:
        fields |= {"account": principal.account, "key_id": principal.key_id}
    what = (request.method, path, response.status, duration_ms, fields["request_id"])
    logger.log(level, "%s %s: %d in %s ms, request %s", *what, extra=fields)
