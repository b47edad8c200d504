"""Health for orchestrators and balancers, and metrics for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from aiohttp import web

from raft_exchange.decoding.errors import RETRY_AFTER_S
from raft_exchange.gateway.answers import CheckView, LifeAnswer, ReadinessAnswer
from raft_exchange.gateway.context import CONTEXT, FRONT, Context
from raft_exchange.gateway.rendering import answer
from raft_exchange.metrics import CONTENT_TYPE

TICK_AGE_MS_MAX: Final = 5_000
MIB: Final = 1024 * 1024


class Check(NamedTuple):
    """One thing that must be so for the node to serve."""

    name: str
    passed: bool
    detail: str


async def get_livez(request: web.Request) -> web.Response:
    """Answer 200 while the loop turns and Raft ticks; nothing else may get the process killed."""
    age_ms = request.app[CONTEXT].core.status().tick_age_ms
    alive = age_ms <= TICK_AGE_MS_MAX
    status = "alive" if alive else f"no Raft tick for {age_ms} ms"
    body: LifeAnswer = {"status": status}
    return answer(body, status=200 if alive else 503)


async def get_readyz(request: web.Request) -> web.Response:
    """Answer 200 if clients should be sent here, else 503; `?verbose` names each check."""
    return readiness(request, _checks(request.app[CONTEXT]))


def readiness(request: web.Request, checks: list[Check]) -> web.Response:
    """Return the answer that these checks make: what failed is named without being asked for."""
    ready = all(check.passed for check in checks)
    body: ReadinessAnswer = {"status": "ready" if ready else "not_ready"}
    if not ready:
        body["reason"] = "; ".join(check.detail for check in checks if not check.passed)
    if "verbose" in request.query:
        body["checks"] = [CheckView(name=c.name, passed=c.passed, detail=c.detail) for c in checks]
    headers = {} if ready else {"Retry-After": str(RETRY_AFTER_S)}
    return answer(body, status=200 if ready else 503, headers=headers)


def _checks(context: Context) -> list[Check]:
    status, settings = context.core.status(), context.settings
    age_ms, age_ms_max = status.leader_contact_age_ms, settings.ready_contact_age_ms_max
    lag, lag_max = status.commit_index - status.applied_index, settings.ready_apply_lag_entries_max
    return [
        Check("leader_known", bool(status.leader), f"leader: {status.leader or 'none'}"),
        Check(
            "member",
            not status.is_removed,
            "removed from the cluster, for ever" if status.is_removed else "not removed",
        ),
        Check(
            "quorum_contact",
            age_ms is not None and age_ms <= age_ms_max,
            f"last contact: {'never' if age_ms is None else f'{age_ms} ms ago'}; "
            f"allowed: {age_ms_max} ms",
        ),
        Check(
            "state_agrees",
            context.core.serves_state,
            {"full": "not known to differ", "aside": "being checked", "fenced": "it differs"}[
                status.standing
            ],
        ),
        Check("applied", lag <= lag_max, f"entries not applied yet: {lag}; allowed: {lag_max}"),
        Check(
            "disk_reserve",
            not status.read_only,
            f"free: {status.disk_free_bytes // MIB} MiB; "
            f"reserve: {status.disk_reserve_bytes // MIB} MiB",
        ),
        Check(
            "not_draining", not status.draining, "shutting down" if status.draining else "serving"
        ),
    ]


async def get_metrics(request: web.Request) -> web.Response:
    """Answer with the node's metrics; Raft and the orders get their turns while it is written."""
    written = []
    for piece in request.app[FRONT].metrics.pieces():
        written.append(piece)
        await asyncio.sleep(0)
    return web.Response(body=b"".join(written), headers={"Content-Type": CONTENT_TYPE})
