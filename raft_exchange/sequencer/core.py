"""The node as the gateway sees it: futures around the pipeline and the replica's state.

Implements `outcome.Core`. The replica folds an entry's events before it hands the entry on to
those who wait for their outcome, so that whoever got an answer reads its effects.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from raft_exchange.raft.disk_reserve import DiskReserve
from raft_exchange.raft.driver import Driver
from raft_exchange.raft.group import Group
from raft_exchange.raft.hooks import Standing
from raft_exchange.raft.members import MemberAddress
from raft_exchange.raft.membership import AddMember, Change, RemoveMember
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Request, SignedRequest
from raft_exchange.sequencer.hashing import ForkedHasher, HashFailed
from raft_exchange.sequencer.idempotency import Stored
from raft_exchange.sequencer.notices import Digest
from raft_exchange.sequencer.outcome import (
    Member,
    MemberRefused,
    Members,
    Outcome,
    Refusal,
    Refused,
    Status,
)
from raft_exchange.sequencer.pipeline import Pipeline
from raft_exchange.sequencer.witness import Witness

SEQUENCE_WAITERS_MAX: Final = 1_000
HASH_SHARE: Final = 5
"""A hash somebody asks for is computed at most this share of the time: it takes a core."""
HASH_POLL_S: Final = 0.005


T = TypeVar("T")


class Membership(Protocol):
    """Which cluster this is, which of its members this node is, and where they all are."""

    cluster: str
    node: str

    @property
    def cluster_id(self) -> str:
        """Return the id of the cluster that the node is bound to."""
        ...

    def members(self) -> Sequence[MemberAddress]:
        """Return the members, this node included; an unknown address is empty."""
        ...

    def seen_age_s(self, node_id: str) -> float | None:
        """Return how long ago a member last showed itself, None if it never did."""
        ...


class NodeCore:
    """Submits, waits and reports, on the event loop of the node."""

    def __init__(
        self,
        *,
        membership: Membership,
        pipeline: Pipeline,
        group: Group,
        driver: Driver,
        reserve: DiskReserve,
        witness: Witness,
    ) -> None:
        self._membership = membership
        self._state = witness.state
        self._pipeline = pipeline
        self._driver = driver
        self._reserve = reserve
        self._witness = witness
        self._hasher = ForkedHasher()
        self._group = group
        self._is_draining = False
        self._loop = asyncio.get_running_loop()
        self._waiters: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._waiters_ever = 0
        self._waiting = 0
        self._hash: tuple[int, str] | None = None
        self._hash_lock = asyncio.Lock()
        self._hash_after_s = 0.0

    @property
    def draining(self) -> bool:
        """See `outcome.Core.draining`."""
        return self._is_draining

    def drain(self) -> None:
        """Say from now on that this node stops; requests are still taken."""
        self._is_draining = True

    def applied(self, applied: Applied) -> None:
        """Hand on one applied entry, whose events are folded, to those who wait."""
        self._pipeline.applied(applied, now_s=self._loop.time())
        self._wake_waiters()

    def restored(self) -> None:
        """Say that a snapshot replaced the state: entries were jumped over."""
        boot, number = self._state.session_of(self._membership.node)
        self._pipeline.restored(boot, number, now_s=self._loop.time())
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        sequence = self._state.exchange.sequence
        while self._waiters and self._waiters[0][0] <= sequence:
            _resolve(heapq.heappop(self._waiters)[2], True)

    async def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """See `outcome.Core.submit`."""
        refused = self._refuse_divergent() or self._refuse_newer(requests)
        if refused is not None:
            return [refused] * max(1, len(requests))
        future: asyncio.Future[list[Outcome]] = self._loop.create_future()
        self._pipeline.submit(
            requests, lambda outcomes: _resolve(future, outcomes), now_s=self._loop.time()
        )
        return await future

    @property
    def serves_state(self) -> bool:
        """See `outcome.Core.serves_state`."""
        return self._witness.standing is Standing.FULL

    def _refuse_divergent(self) -> Refused | None:
        if self.serves_state:
            return None
        detail = "the state of this node differs, or is being checked; ask another node"
        return Refused(Refusal.STATE_DIVERGENCE, detail)

    def _refuse_newer(self, requests: Sequence[Request]) -> Refused | None:
        """Refuse what needs a later version than the active one: not all members could apply it."""
        state = self._state
        if state.version == state.versions.newest:
            return None
        needed = state.versions.needed_by(list(requests))
        if needed <= state.version:
            return None
        return Refused(
            Refusal.UPGRADE_PENDING,
            f"this needs version {needed} of the exchange; version {state.version} is active until "
            "every member runs a release that reads the later one",
        )

    async def barrier(self) -> Outcome:
        """See `outcome.Core.barrier`."""
        return (await self.submit([]))[0]

    async def wait_for_sequence(self, sequence: int, *, timeout_s: float) -> bool:
        """See `outcome.Core.wait_for_sequence`."""
        if self._state.exchange.sequence >= sequence:
            return True
        if self._waiting >= SEQUENCE_WAITERS_MAX:
            return False
        if len(self._waiters) > 2 * SEQUENCE_WAITERS_MAX:  # most of them gave up: they are done
            self._waiters = [waiter for waiter in self._waiters if not waiter[2].done()]
            heapq.heapify(self._waiters)
        future: asyncio.Future[bool] = self._loop.create_future()
        self._waiters_ever += 1
        heapq.heappush(self._waiters, (sequence, self._waiters_ever, future))
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    @property
    def sequence_waiters(self) -> int:
        """How many requests wait for a sequence."""
        return self._waiting

    async def state_hash(self) -> tuple[int, str]:
        """See `outcome.Core.state_hash`. Callers share one computation, and wait for its turn."""
        async with self._hash_lock:
            if self._hash is None or self._hash[0] != self._state.exchange.sequence:
                await asyncio.sleep(max(0.0, self._hash_after_s - self._loop.time()))
                self._hash = await self._hash_now()
            return self._hash

    async def _hash_now(self) -> tuple[int, str]:
        began_s, sequence = self._loop.time(), self._state.exchange.sequence
        found = None
        if self._hasher.start(0, self._state.encode):
            try:
                while (found := self._hasher.poll()) is None and self._hasher.is_busy:  # noqa: ASYNC110
                    await asyncio.sleep(HASH_POLL_S)
            finally:
                self._hasher.stop()
        self._hash_after_s = began_s + HASH_SHARE * (self._loop.time() - began_s)
        if found is None:
            raise HashFailed
        return sequence, found[1].hex()

    def stored(self, account: str, key: str) -> Stored | None:
        """See `outcome.Core.stored`."""
        return self._state.stored(account, key)

    def has_signed(self, public_key: bytes, signed: SignedRequest, idempotency_key: str) -> bool:
        """See `outcome.Core.has_signed`."""
        signatures = self._state.signatures
        assert signatures is not None, "a node can open what it applies"
        return signatures.is_good(public_key, signed, idempotency_key)

    def _is_fenced(self, member: str) -> bool:
        here = member == self._membership.node and self._witness.standing is Standing.FENCED
        return here or member in self._state.selfcheck.fenced

    async def add_member(
        self, member: str, raft_address: str, http_url: str
    ) -> Members | MemberRefused:
        """See `outcome.Core.add_member`."""
        return await self._change(AddMember(MemberAddress(member, raft_address, http_url)))

    async def remove_member(self, member: str) -> Members | MemberRefused:
        """See `outcome.Core.remove_member`."""
        return await self._change(RemoveMember(member))

    async def _change(self, change: Change) -> Members | MemberRefused:
        future: asyncio.Future[Members | MemberRefused] = self._loop.create_future()
        self._group.request_change(change, lambda outcome: _resolve(future, outcome))
        return await future

    def request_snapshot(self) -> None:
        """See `outcome.Core.request_snapshot`."""
        self._group.request_snapshot()

    def status(self) -> Status:
        """See `outcome.Core.status`."""
        raft = self._group
        age_s = raft.contact_age_s()
        return Status(
            cluster=self._membership.cluster,
            node=self._membership.node,
            role=raft.role,
            leader=raft.leader_id or "",
            term=raft.term,
            commit_index=raft.commit_index,
            applied_index=raft.last_applied,
            sequence=self._state.exchange.sequence,
            time_us=self._state.exchange.time_us,
            leader_contact_age_ms=None if age_s is None else int(age_s * 1000),
            draining=self._is_draining,
            members=tuple(map(self._view, self._membership.members())),
            tick_age_ms=int(1000 * self._driver.tick_age_s),
            snapshot_index=raft.snapshot_index,
            read_only=not self._reserve.has_room,
            disk_free_bytes=self._reserve.free_bytes,
            disk_reserve_bytes=self._reserve.reserve_bytes,
            version=self._state.version,
            version_newest=self._state.versions.newest,
            standing=self._witness.standing.value,
            checkpoint_sequence=self._state.selfcheck.agreed[Digest.STATE].sequence,
            state_hash=self._state.selfcheck.agreed[Digest.STATE].value.hex(),
            event_digest=self._state.selfcheck.chain.hex(),
            cluster_id=self._membership.cluster_id,
            is_removed=raft.is_removed,
        )

    def _view(self, member: MemberAddress) -> Member:
        raft = self._group
        is_own = member.id == self._membership.node
        is_reachable = is_own or raft.is_connected(member.id)
        age_s = 0.0 if is_reachable else self._membership.seen_age_s(member.id)
        return Member(
            id=member.id,
            raft_address=member.raft_address,
            http_url=member.http_url,
            reachable=is_reachable,
            seen_age_ms=None if age_s is None else int(1_000 * age_s),
            match_lag=0 if raft.role == "leader" and is_own else raft.match_lag(member.id),
            fenced=self._is_fenced(member.id),
            votes=member.id in raft.configuration.voters,
        )


def _resolve(future: asyncio.Future[T], value: T) -> None:
    """Set a future's result unless its client has gone away."""
    if not future.done():
        future.set_result(value)
