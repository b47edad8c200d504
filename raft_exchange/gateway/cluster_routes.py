"""The rows of the table of routes that are about the cluster itself.

The node's control socket serves these, too.
"""

from __future__ import annotations

from typing import Final

from raft_exchange.decoding.errors import ErrorCode as E
from raft_exchange.gateway import answers, cluster, members, operating
from raft_exchange.gateway.openapi import Route

QUERY: Final = (E.BAD_FIELD,)
BODY: Final = (E.BAD_JSON, E.BAD_FIELD, E.BODY_TOO_LARGE, E.UNSUPPORTED_MEDIA_TYPE)
MEMBERS: Final = (
    *(E.BAD_FIELD, E.FORBIDDEN, E.CHANGE_PENDING, E.NO_LEADER, E.NO_QUORUM, E.MEMBER_REMOVED),
    *(E.LIMIT_REACHED, E.UNKNOWN_MEMBER, E.OUTCOME_UNKNOWN),
)
LEADER: Final = (*QUERY, E.NOT_LEADER, E.UNKNOWN_MEMBER, E.NO_QUORUM, E.OUTCOME_UNKNOWN)
PROOF: Final = ("X-Nonce", "X-Proof")

CLUSTER_ROUTES: Final = (
    Route(
        *("GET", "/v1/cluster", cluster.get_cluster),
        {200: (answers.ClusterAnswer,)},
        (*QUERY, E.OVERLOADED),
        query=("hash",),
    ),
    Route(
        *("POST", "/v1/cluster/snapshot", cluster.post_snapshot),
        {202: (answers.SnapshotAnswer,)},
        QUERY,
    ),
    Route(
        *("POST", members.PATH, members.post_member),
        {202: (answers.MembersAnswer,)},
        (*MEMBERS, *BODY),
        body="NewMember",
        headers=PROOF,
    ),
    Route(
        *("DELETE", members.PATH + "/{member}", members.delete_member),
        {200: (answers.MembersAnswer,)},
        MEMBERS,
        headers=PROOF,
    ),
    Route(
        *("POST", "/v1/cluster/leader", operating.post_leader),
        {200: (answers.LeaderAnswer,)},
        LEADER,
        query=("to",),
    ),
    Route(
        *("POST", "/v1/cluster/drain", operating.post_drain),
        {202: (answers.DrainAnswer,)},
        QUERY,
    ),
    Route(
        *("POST", "/v1/cluster/backup", operating.post_backup),
        {200: ()},
        (*QUERY, E.OVERLOADED),
        content_type=operating.BINARY,
    ),
)
