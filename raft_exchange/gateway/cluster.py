"""One node's view of the cluster."""

from __future__ import annotations

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.access import principal_of
from raft_exchange.gateway.answers import ClusterAnswer, MemberView, SnapshotAnswer
from raft_exchange.gateway.bodies import bad_parameter, query_of
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.rendering import answer
from raft_exchange.matching.messages import Scope
from raft_exchange.sequencer.hashing import HashFailed
from raft_exchange.sequencer.outcome import Member


async def get_cluster(request: web.Request) -> web.Response:
    """Answer with this node's view; `state_hash` is that of the last checkpoint.

    `?hash=now` has it computed now, at `sequence`; that takes the scope `admin`.
    """
    context = request.app[CONTEXT]
    query = query_of(request, ("hash",))
    if query.get("hash", "now") != "now":
        raise bad_parameter("hash", query["hash"], ["now"])
    if query and context.settings.auth_required:  # it costs seconds of this machine
        principal_of(request).demand(Scope.ADMIN)
    status = context.core.status()
    sequence, state_hash = status.sequence, status.state_hash or None
    if query:
        try:
            sequence, state_hash = await context.core.state_hash()
        except HashFailed as error:
            detail = "this machine has no room to hash the state now"
            raise Problem(ErrorCode.OVERLOADED, detail) from error
        status = context.core.status()
    body: ClusterAnswer = {
        "cluster": status.cluster,
        "cluster_id": status.cluster_id,
        "node": status.node,
        "role": status.role,
        "leader": status.leader or None,
        "term": status.term,
        "commit_index": status.commit_index,
        "applied_index": status.applied_index,
        "snapshot_index": status.snapshot_index,
        "sequence": sequence,
        "state_hash": state_hash,
        "checkpoint_sequence": status.checkpoint_sequence or None,
        "event_digest": status.event_digest or None,
        "standing": status.standing,
        "version": status.version,
        "version_newest": status.version_newest,
        "draining": status.draining,
        "read_only": status.read_only,
        "removed": status.is_removed,
        "leader_contact_age_ms": status.leader_contact_age_ms,
        "members": [_member_view(member) for member in status.members],
    }
    return answer(body, headers={"X-Sequence": str(sequence)})


def _member_view(member: Member) -> MemberView:
    return {
        "id": member.id,
        "raft_address": member.raft_address,
        "http_url": member.http_url,
        "reachable": member.reachable,
        "seen_age_ms": member.seen_age_ms,
        "match_lag": member.match_lag,
        "fenced": member.fenced,
        "votes": member.votes,
    }


async def post_snapshot(request: web.Request) -> web.Response:
    """Have this node write a snapshot: done when `snapshot_index` reaches `applied_index`."""
    core = request.app[CONTEXT].core
    query_of(request, ())
    core.request_snapshot()
    status = core.status()
    body: SnapshotAnswer = {
        "node": status.node,
        "applied_index": status.applied_index,
        "snapshot_index": status.snapshot_index,
    }
    return answer(body, status=202)
