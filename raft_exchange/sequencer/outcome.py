"""What became of a request: one of three things, never a fourth.

The gateway sees the core only through this file: it submits requests and gets outcomes, and asks
for the node's status. (`Core` is implemented by `pipeline.Pipeline`, and by a fake in the
gateway's tests.)
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from raft_exchange.matching.messages import Event
from raft_exchange.raft import members, membership
from raft_exchange.sequencer.codec import Request, SignedRequest
from raft_exchange.sequencer.idempotency import Stored


class Refusal(StrEnum):
    """Why a request never reached the log. Nothing happened; it is safe to send it again."""

    NO_LEADER = "no_leader"
    OVERLOADED = "overloaded"
    READ_ONLY = "read_only"
    DRAINING = "draining"
    UPGRADE_PENDING = "upgrade_pending"
    STATE_DIVERGENCE = "state_divergence"


class Committed(msgspec.Struct, frozen=True):
    """A majority stored it and this node applied it: `events` is what every node applied.

    A command refused by a rule is committed too: its only event is `CommandRefused`.
    `replayed` says that an earlier request with the same idempotency key did it, at `sequence`.
    """

    sequence: int
    time_us: int
    events: tuple[Event, ...]
    replayed: bool


class Refused(msgspec.Struct, frozen=True):
    """It was not and will not be sequenced."""

    code: Refusal
    detail: str


class Unknown(msgspec.Struct, frozen=True):
    """It may still be sequenced: ask again with the same idempotency key."""


Outcome = Committed | Refused | Unknown

Members = membership.Configuration
MemberRefused = membership.Refused
MemberRefusal = membership.Refusal
MEMBER_FIELDS = members.MEMBER_FIELDS


class Member(msgspec.Struct, frozen=True):
    """What this node knows of one member of the Raft group.

    `seen_age_ms` is the time since it was connected or introduced itself, None if it never did.
    `match_lag` is in entries, known on the leader only; None elsewhere. `fenced` says that its
    state differs from the majority's, by the log or, of this node, by itself. `votes` is False
    while it catches up.
    """

    id: str
    raft_address: str
    http_url: str
    reachable: bool
    seen_age_ms: int | None
    match_lag: int | None
    fenced: bool
    votes: bool


class Status(msgspec.Struct, frozen=True):
    """One node's view of the cluster, as of now.

    `leader` is "" while none is known. `leader_contact_age_ms` is how old what this
    node has applied may be, by what the leader, on it a quorum, said last; None if there was no
    word that it is level with. `snapshot_index` is the last entry
    in this node's newest snapshot, 0 without one. `tick_age_ms` is the time since the
    Raft group last ran. `read_only` says that the disk's reserve is touched: no new orders.
    `version` is the active one (`matching/versions.py`), `version_newest` the
    newest that this node reads. `standing` is "full", "aside" (its state is being checked before
    it serves) or "fenced" (its state differs). `checkpoint_sequence` and `state_hash` (hex) are
    what a majority agreed on last, 0 and "" before; `event_digest` (hex) is the chained digest of
    all events up to `sequence`. `is_removed` says that this node is no member any more.
    """

    cluster: str
    node: str
    role: str  # "leader" | "follower" | "candidate"
    leader: str
    term: int
    commit_index: int
    applied_index: int
    sequence: int
    time_us: int
    leader_contact_age_ms: int | None
    draining: bool
    members: tuple[Member, ...]
    tick_age_ms: int
    snapshot_index: int
    read_only: bool
    disk_free_bytes: int
    disk_reserve_bytes: int
    version: int
    version_newest: int
    standing: str
    checkpoint_sequence: int
    state_hash: str
    event_digest: str
    cluster_id: str
    is_removed: bool


class Core(Protocol):
    """The node as the gateway sees it."""

    @property
    def draining(self) -> bool:
        """Return whether the node stops: clients should go elsewhere after their answer."""
        ...

    async def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Sequence `requests` next to each other in one entry; return one outcome for each.

        Never raises for anything a client can cause. Bounded by the node's request timeout.
        At most `limits.REQUEST_GROUP_MAX` requests.
        """
        ...

    async def barrier(self) -> Outcome:
        """Commit an empty entry: when it is `Committed`, all earlier writes are applied here."""
        ...

    async def wait_for_sequence(self, sequence: int, *, timeout_s: float) -> bool:
        """Return True once this node has applied `sequence`, False if it had not by then."""
        ...

    def stored(self, account: str, key: str) -> Stored | None:
        """Return what this node remembers under an idempotency key.

        A hint: only a request that is sequenced under the key is answered with it.
        """
        ...

    def has_signed(self, public_key: bytes, signed: SignedRequest, idempotency_key: str) -> bool:
        """Return whether the holder of an Ed25519 key signed exactly this, for this cluster."""
        ...

    @property
    def serves_state(self) -> bool:
        """Return whether answers may come from this node's state: False once it may differ."""
        ...

    async def state_hash(self) -> tuple[int, str]:
        """Return the sequence and the SHA-256 (hex) of the canonical state at that sequence.

        Raises:
            HashFailed: this machine has no room for it now.
        """
        ...

    async def add_member(
        self, member: str, raft_address: str, http_url: str
    ) -> Members | MemberRefused:
        """Have a node added to the group, of fields formed as `MEMBER_FIELDS` says.

        Returns the members when that is committed and applied here, or why not. Bounded in time.
        """
        ...

    async def remove_member(self, member: str) -> Members | MemberRefused:
        """Have a member removed for ever; as `add_member`."""
        ...

    def request_snapshot(self) -> None:
        """Have this node write a snapshot soon, beside the trading."""
        ...

    def status(self) -> Status:
        """Return the node's view of the cluster."""
        ...
