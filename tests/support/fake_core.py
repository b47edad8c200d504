"""A cluster of one without a log: applies at once, and can be told to refuse, forget or lag."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from raft_exchange.ed25519 import verify
from raft_exchange.marketdata.orders import FINISHED_ORDERS_MAX
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    AdvanceTime,
    Command,
    CreateMarket,
    Event,
    MarketRules,
    SelfTradePrevention,
)
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.sequencer.codec import Batch, Request, SignedRequest
from raft_exchange.sequencer.idempotency import Stored
from raft_exchange.sequencer.outcome import (
    Committed,
    Member,
    MemberRefused,
    Members,
    Outcome,
    Refusal,
    Refused,
    Status,
    Unknown,
)
from raft_exchange.sequencer.signed import Signatures
from raft_exchange.sequencer.state import ReplicatedState

CLUSTER_ID = "c" * 32
START_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z


class FakeCore:
    """Implements `outcome.Core` over one `ReplicatedState`; folds into `marketdata` like a node.

    Attributes:
        answer: what every request gets instead of being applied, while it is not None.
        folding: while False the exchange runs ahead of `marketdata`, until a barrier or
            `catch_up`; as if the writes had come through another node.
        gate: while not set, submissions wait.
        submitted: every group, in order.
        on_folded: called after each fold.
    """

    def __init__(self, *, finished_orders_max: int = FINISHED_ORDERS_MAX) -> None:
        self.state = ReplicatedState(signatures=Signatures(CLUSTER_ID, verify))
        self.state.exchange.version = VERSIONS.newest
        self.marketdata = MarketData(finished_orders_max=finished_orders_max)
        self.answer: Refused | Unknown | None = None
        self.folding = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.submitted: list[list[Request]] = []
        self.barriers = 0
        self.leader = "n1"
        self.contact_age_ms: int | None = 3
        self.commit_lag = 0
        self.draining = False
        self.standing = "full"
        self.read_only = False
        self.is_removed = False
        self.member_refused: MemberRefused | None = None
        self.changes: list[tuple[str, ...]] = []
        self.snapshot_index = 0
        self.on_folded: Callable[[], None] = lambda: None
        self._unfolded: list[tuple[int, int, tuple[Event, ...]]] = []
        self.folded: list[tuple[int, int, tuple[Event, ...]]] = []
        self._number = 0
        self.run(AdvanceTime(START_US))

    @property
    def exchange(self) -> Exchange:
        return self.state.exchange

    def run(self, command: Command) -> list[Event]:
        """Apply a command that no request carries."""
        events = self.exchange.apply(command)
        self._fold(self.exchange.sequence, tuple(events))
        return events

    def open_market(self, market: str = "BTC-USD", **changes: int) -> None:
        """Open a market: tick 0.01, lot 0.00000001, the widest limits but `changes`."""
        base, _, quote = market.partition("-")
        limits = {
            "price_ticks_min": 1,
            "price_ticks_max": 10**15,
            "quantity_lots_min": 1,
            "quantity_lots_max": 10**18,
            "notional_min": 0,
        } | changes
        tick_e18, lot_e18 = 10**16, 10**10
        mode = SelfTradePrevention.EXPIRE_TAKER
        rules = MarketRules(
            market, base, quote, tick_e18, lot_e18, **limits, self_trade_prevention=mode
        )
        self.run(CreateMarket(rules))

    def advance(self, seconds: int) -> None:
        """Move the logged clock."""
        self.run(AdvanceTime(self.exchange.time_us + seconds * 1_000_000))

    def catch_up(self) -> None:
        """Fold what was applied while `folding` was False."""
        for sequence, time_us, events in self._unfolded:
            self.marketdata.apply(sequence, time_us, events)
        self.folded += self._unfolded
        self._unfolded.clear()
        self.on_folded()

    def has_signed(self, public_key: bytes, signed: SignedRequest, idempotency_key: str) -> bool:
        """See `outcome.Core.has_signed`."""
        assert self.state.signatures is not None
        return self.state.signatures.is_good(public_key, signed, idempotency_key)

    @property
    def serves_state(self) -> bool:
        """See `outcome.Core.serves_state`."""
        return self.standing == "full"

    async def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """See `outcome.Core.submit`."""
        self.submitted.append(list(requests))
        if not self.gate.is_set():
            await self.gate.wait()
        if self.answer is not None:
            return [self.answer for _ in requests]
        return self._sequence(*requests)

    async def barrier(self) -> Outcome:
        """See `outcome.Core.barrier`."""
        self.barriers += 1
        if self.answer is not None:
            return self.answer
        self.catch_up()
        return Committed(self.exchange.sequence, self.exchange.time_us, (), replayed=False)

    async def wait_for_sequence(self, sequence: int, *, timeout_s: float) -> bool:
        """See `outcome.Core.wait_for_sequence`."""
        return self.marketdata.sequence >= sequence

    def stored(self, account: str, key: str) -> Stored | None:
        """See `outcome.Core.stored`."""
        return self.state.stored(account, key)

    async def state_hash(self) -> tuple[int, str]:
        """See `outcome.Core.state_hash`."""
        return self.exchange.sequence, self.state.state_hash()

    async def add_member(
        self, member: str, raft_address: str, http_url: str
    ) -> Members | MemberRefused:
        self.changes.append(("add", member, raft_address, http_url))
        return self.member_refused or Members(("n1",), (member,))

    async def remove_member(self, member: str) -> Members | MemberRefused:
        self.changes.append(("remove", member))
        return self.member_refused or Members(("n1",), (), (member,))

    def request_snapshot(self) -> None:
        """See `outcome.Core.request_snapshot`; written at once."""
        self.snapshot_index = self.exchange.sequence

    def status(self) -> Status:
        """See `outcome.Core.status`."""
        return Status(
            cluster="test",
            node="n1",
            role="leader" if self.leader == "n1" else "follower",
            leader=self.leader,
            term=7,
            commit_index=self.exchange.sequence + self.commit_lag,
            applied_index=self.exchange.sequence,
            sequence=self.exchange.sequence,
            time_us=self.exchange.time_us,
            leader_contact_age_ms=self.contact_age_ms,
            draining=self.draining,
            members=(
                Member("n1", "127.0.0.1:7081", "http://127.0.0.1:8081", True, 0, 0, False, True),
            ),
            tick_age_ms=0,
            snapshot_index=self.snapshot_index,
            read_only=self.read_only,
            disk_free_bytes=100 * 1024 * 1024,
            disk_reserve_bytes=256 * 1024 * 1024,
            version=self.state.version,
            version_newest=self.state.versions.newest,
            standing=self.standing,
            checkpoint_sequence=0,
            state_hash="",
            event_digest="",
            cluster_id=CLUSTER_ID,
            is_removed=self.is_removed,
        )

    def _sequence(self, *requests: Request) -> list[Outcome]:
        self._number += 1
        batch = Batch("n1", 1, self._number, list(requests))
        applied = self.state.apply(self._number, 1, self.exchange.time_us, batch)
        for result in applied.results:
            self._fold(result.sequence, () if result.replayed_sequence else result.events)
        return [
            Committed(
                result.replayed_sequence or result.sequence,
                result.replayed_time_us or applied.time_us,
                result.events,
                replayed=bool(result.replayed_sequence),
            )
            for result in applied.results[1:]
        ]

    def _fold(self, sequence: int, events: tuple[Event, ...]) -> None:
        self._unfolded.append((sequence, self.exchange.time_us, events))
        if self.folding:
            self.catch_up()


NO_LEADER = Refused(Refusal.NO_LEADER, "no leader was found in time")
