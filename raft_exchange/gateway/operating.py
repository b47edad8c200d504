"""What an operator has one node do: hand over leadership, drain, give a backup.

These act on the node that is asked, and are for whoever shows a key of the scope `admin`; where
there are no keys, for the node's own machine. The node's control socket serves them as well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.access import demand_operator
from raft_exchange.gateway.answers import DrainAnswer, LeaderAnswer
from raft_exchange.gateway.bodies import bad_parameter, query_of
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.guard import open_stream
from raft_exchange.gateway.rendering import answer
from raft_exchange.sequencer.operations import BackupFailed, HandOver
from raft_exchange.sequencer.outcome import MEMBER_FIELDS

BINARY: Final = "application/octet-stream"
PIECE_BYTES: Final = 256 * 1024
STALL_S_MAX: Final = 30.0
"""How long a reader of a backup may take nothing."""
BACKUP: Final = web.AppKey("backup", asyncio.Lock)

NOT_HANDED_OVER: Final[Mapping[HandOver, ErrorCode]] = {
    HandOver.NOT_LEADER: ErrorCode.NOT_LEADER,
    HandOver.NOT_A_VOTER: ErrorCode.UNKNOWN_MEMBER,
    HandOver.OUT_OF_REACH: ErrorCode.NO_QUORUM,
    HandOver.UNFINISHED: ErrorCode.OUTCOME_UNKNOWN,
}


async def post_leader(request: web.Request) -> web.Response:
    """Have this node, which leads, make another one the leader: `to`, or the most advanced.

    No order fails meanwhile. Answered when the other one leads.
    """
    demand_operator(request)
    to = query_of(request, ("to",)).get("to")
    pattern, form = MEMBER_FIELDS["id"]
    if to is not None and not re.search(pattern, to):
        raise bad_parameter("to", to, form)
    context = request.app[CONTEXT]
    outcome = await context.operations.hand_over(to)
    status = context.core.status()
    if outcome is not HandOver.DONE:
        detail = outcome.value
        if outcome is HandOver.NOT_LEADER:
            detail += f"; {status.leader or 'nobody'} does"
        is_to_blame = to is not None and outcome is not HandOver.NOT_LEADER
        field = "to" if is_to_blame else ""
        raise Problem(NOT_HANDED_OVER[outcome], detail, field=field, value=to)
    body: LeaderAnswer = {"node": status.node, "leader": status.leader or None}
    return answer(body)


async def post_drain(request: web.Request) -> web.Response:
    """Have this node stop as SIGTERM does: it hands over, finishes what it took, and ends."""
    demand_operator(request)
    query_of(request, ())
    context = request.app[CONTEXT]
    context.operations.stop()
    body: DrainAnswer = {"node": context.core.status().node, "draining": True}
    return answer(body, status=202)


async def post_backup(request: web.Request) -> web.StreamResponse:
    """Answer with a snapshot of the whole state as it is now or later, written for it.

    The bytes are those of a snapshot's file: they begin with what they are of, and end with a
    SHA-256. Trading goes on. One at a time for each node.
    """
    demand_operator(request)
    query_of(request, ())
    lock = request.app[BACKUP]
    if lock.locked():
        raise Problem(ErrorCode.OVERLOADED, "another backup of this node is being taken")
    async with lock:
        try:
            backup = await request.app[CONTEXT].operations.back_up()
        except BackupFailed as error:
            raise Problem(ErrorCode.OVERLOADED, str(error)) from error
        try:
            response = web.StreamResponse(headers={"Content-Type": BINARY})
            response.content_length = backup.size_bytes
            await open_stream(request, response)
            for offset in range(0, backup.size_bytes, PIECE_BYTES):
                async with asyncio.timeout(STALL_S_MAX):
                    await response.write(backup.read(offset, PIECE_BYTES))
            return response
        except (TimeoutError, ConnectionError):  # the reader takes nothing, or has gone
            if request.transport is not None:
                request.transport.abort()
            return response
        finally:
            backup.close()
