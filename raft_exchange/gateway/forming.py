"""What a node answers before it is in a group: that it lives, who it is, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway import health, introduction
from raft_exchange.gateway.guard import Handler
from raft_exchange.gateway.rendering import answer


class Waiting(msgspec.Struct, frozen=True):
    """What a node without a group waits for, for people; it changes."""

    reason: Callable[[], str]


WAITING: Final = web.AppKey("waiting", Waiting)


async def get_livez(_: web.Request) -> web.Response:
    """Answer 200: the loop turns, and there is no group that could tick."""
    return answer({"status": "alive"})


async def get_readyz(request: web.Request) -> web.Response:
    """Answer 503 with what is missing."""
    check = health.Check("cluster_formed", False, request.app[WAITING].reason())
    return health.readiness(request, [check])


async def refuse(request: web.Request) -> web.Response:
    """Refuse what only a member of a group can do."""
    raise Problem(
        ErrorCode.NO_LEADER, f"this node is in no cluster yet: {request.app[WAITING].reason()}"
    )


ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/livez", get_livez),
    ("GET", "/readyz", get_readyz),
    ("GET", "/metrics", health.get_metrics),
    ("GET", "/v1/node", introduction.get_node),
    ("*", "/{path:.*}", refuse),
)
