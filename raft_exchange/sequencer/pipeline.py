"""From submitted requests to their outcomes: queue, batches in flight, retries, deadlines.

Theory of operation. Groups of requests wait in the `Batcher`. A batch that leaves gets the next
number of this process's session and is proposed to whoever leads. *What was applied is the
answer*: waiters are resolved when their own batch comes back through the log, never by a reply
to the proposal. Silence, a lost leader or a refusal only mean that all batches in flight are
proposed again, in order, under their old numbers; the state machine applies each number once.

A request's outcome after its deadline: `Refused` if its batch never left this process, else
`Unknown`. The number of a batch given up must still be used, so an empty batch takes it; if the
original was in the log after all, it wins and the empty one is the repeat.

Pure apart from the callbacks it is given: times are the owner's monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from raft_exchange.decoding.operations import cancels
from raft_exchange.matching.limits import REQUEST_GROUP_MAX
from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
)
from raft_exchange.metrics.durations import Durations
from raft_exchange.sequencer.applied import Applied, Result
from raft_exchange.sequencer.batcher import GROUP_BYTES_MAX, Batcher, Priority
from raft_exchange.sequencer.codec import (
    Batch,
    Request,
    SignedRequest,
    encode_batch,
    encoded_size,
)
from raft_exchange.sequencer.outcome import Committed, Outcome, Refusal, Refused, Unknown

REQUEST_TIMEOUT_S: Final = 5.0
RETRY_S_MIN: Final = 0.5
RETRY_S_MAX: Final = 4.0
REFUSED_RETRY_S: Final = 0.05
CLOCK_ENTRY_S_MIN: Final = 0.1
"""At most one entry in this time only to move the logged clock."""

COMMITTED: Final = "committed"
UNKNOWN: Final = "unknown"

# What becomes of a batch when it is proposed, each time that it is.
APPENDED: Final = "appended"  # to the own log: this node leads
FORWARDED: Final = "forwarded"  # to another node that leads
NOT_SENT: Final = "not_sent"
REFUSED: Final = "refused"  # by the node that it was forwarded to

_READ_ONLY_DETAIL: Final = (
    "the disk of this node is nearly full; it takes cancels, but no new and no amended orders"
)

Resolve = Callable[[list[Outcome]], None]


class Log(Protocol):
    """What the pipeline needs of the Raft group."""

    @property
    def is_leader(self) -> bool:
        """Return whether this node leads."""
        ...

    def propose(self, payload: bytes) -> bool:
        """Send `payload` off to whoever leads; return whether that was possible."""
        ...


class Tallies:
    """What became of this process's requests, and of the batches they went in; how long it took."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys([COMMITTED, *(code.value for code in Refusal), UNKNOWN], 0)
        self.proposals = dict.fromkeys([APPENDED, FORWARDED, NOT_SENT, REFUSED], 0)
        self.acks = Durations()
        self.commits = Durations()


class _Group:
    """Requests that stay together, and who waits for them."""

    def __init__(
        self, requests: Sequence[Request], resolve: Resolve, *, now_s: float, tallies: Tallies
    ) -> None:
        self.requests = requests
        self.submitted_s = now_s
        self.deadline_s = now_s + REQUEST_TIMEOUT_S
        self.is_answered = False
        self._resolve = resolve
        self._tallies = tallies

    def answer(self, outcomes: list[Outcome], *, now_s: float) -> None:
        self.is_answered = True
        self._tallies.outcomes[COMMITTED] += len(self.requests)
        self._tallies.acks.observe(now_s - self.submitted_s)
        self._resolve(outcomes)

    def refuse(self, outcome: Refused | Unknown) -> None:
        self.is_answered = True
        name = outcome.code.value if isinstance(outcome, Refused) else UNKNOWN
        self._tallies.outcomes[name] += len(self.requests)
        self._resolve([outcome] * max(1, len(self.requests)))


class _InFlight:
    """A numbered batch on its way through the log."""

    def __init__(self, number: int, groups: list[_Group], payload: bytes, *, now_s: float) -> None:
        self.number = number
        self.groups = groups
        self.payload = payload
        self.begun_s = now_s
        self.has_left = False

    def waiting(self) -> list[_Group]:
        return [group for group in self.groups if not group.is_answered]


class Pipeline:
    """Submits this process's requests; one session of the replicated state.

    `boot` is greater than that of every earlier process of the same node, as far as the clock
    can tell; where it was not (the clock was set back), a greater one is taken when that shows.
    `encode` writes an entry in the active version.
    """

    def __init__(
        self,
        *,
        node: str,
        boot: int,
        log: Log,
        wake: Callable[[], None],
        encode: Callable[[Batch], bytes] = encode_batch,
    ) -> None:
        self._node = node
        self._boot = boot
        self._log = log
        self._wake = wake
        self._encode_batch = encode
        self._batcher: Batcher[_Group] = Batcher()
        self._in_flight: dict[int, _InFlight] = {}
        self._number = 0
        self._leader: str | None = None
        self._retry_s = RETRY_S_MIN
        self._retry_at_s = float("inf")
        self._clock_entry_at_s = float("-inf")
        self._is_draining = False
        self._is_read_only = False
        self.tallies = Tallies()

    # Numbers for metrics ------------------------------------------------------------------------

    @property
    def commands_queued(self) -> int:
        """Return how many requests wait to be batched."""
        return self._batcher.commands

    @property
    def queue_use(self) -> float:
        """Return how much of its bound the queue uses, from 0 to 1."""
        return self._batcher.use

    @property
    def batches_in_flight(self) -> int:
        """Return how many batches were numbered and have not come back."""
        return len(self._in_flight)

    # Submitting ---------------------------------------------------------------------------------

    def submit(self, requests: Sequence[Request], resolve: Resolve, *, now_s: float) -> None:
        """Queue `requests` as one group; `resolve` is called once, with an outcome for each.

        An empty group is a barrier: it gets one `Committed` when everything before it is applied.
        """
        assert len(requests) <= REQUEST_GROUP_MAX, len(requests)
        group = _Group(requests, resolve, now_s=now_s, tallies=self.tallies)
        size_bytes = sum(map(encoded_size, requests))
        if self._is_draining:
            group.refuse(Refused(Refusal.DRAINING, "this node is stopping"))
        elif self._is_read_only and any(_brings_orders(request) for request in requests):
            group.refuse(Refused(Refusal.READ_ONLY, _READ_ONLY_DETAIL))
        elif size_bytes > GROUP_BYTES_MAX or not self._batcher.add(
            group,
            commands=len(requests),
            size_bytes=size_bytes,
            owner=_owner(requests),
            priority=_priority(requests),
        ):
            group.refuse(Refused(Refusal.OVERLOADED, "the queue of this node is full"))
        else:
            self._wake()

    def drain(self) -> None:
        """Take no more requests; those taken go on to their outcomes."""
        self._is_draining = True

    @property
    def is_draining(self) -> bool:
        """Return whether requests are refused because the node stops."""
        return self._is_draining

    def set_read_only(self, is_read_only: bool) -> None:
        """Refuse new orders and amends from now on, or take them again; all else is taken."""
        self._is_read_only = is_read_only

    @property
    def is_idle(self) -> bool:
        """Return whether nobody waits for an outcome."""
        return not self._batcher and not any(b.waiting() for b in self._in_flight.values())

    # What happens -------------------------------------------------------------------------------

    def leader_changed(self, leader: str | None, *, now_s: float) -> None:
        """Note who leads now; what is in flight is proposed to the new leader at once."""
        self._leader = leader
        self._retry_s = RETRY_S_MIN
        self._retry_at_s = now_s
        self._wake()

    def propose_refused(self, *, now_s: float) -> None:
        """Note that a proposal was dropped by a member that does not lead, or is handing over."""
        self.tallies.proposals[REFUSED] += 1
        self._retry_at_s = min(self._retry_at_s, now_s + REFUSED_RETRY_S)

    def applied(self, applied: Applied, *, now_s: float) -> None:
        """Resolve the waiters of a batch that came back through the log."""
        if applied.node != self._node or applied.duplicate:
            return
        if applied.boot > self._boot:
            self._take_new_session(applied.boot + 1, now_s=now_s)
        if applied.boot != self._boot:
            return
        batch = self._in_flight.pop(applied.number, None)
        assert batch is not None, "each number of this session is applied once"
        self.tallies.commits.observe(now_s - batch.begun_s)
        self._retry_s = RETRY_S_MIN
        self._retry_at_s = now_s + self._retry_s
        position = 1  # after the time advance
        for group in batch.groups:
            results = applied.results[position : position + len(group.requests)]
            position += len(group.requests)
            if not group.is_answered:
                outcomes: list[Outcome] = [
                    _committed(r, applied) for r in results or applied.results[:1]
                ]
                group.answer(outcomes, now_s=now_s)
        if self._batcher:
            self._wake()

    def restored(self, boot: int, last_number: int, *, now_s: float) -> None:
        """Note that a snapshot replaced the state, and where this node's session stands in it.

        What our batches up to that number did was applied elsewhere and is not known here; after
        a later session, of any that left. The others are proposed again.
        """
        for number, batch in list(self._in_flight.items()):
            is_jumped = number <= last_number if boot == self._boot else batch.has_left
            if boot >= self._boot and is_jumped:
                del self._in_flight[number]
                for group in batch.waiting():
                    group.refuse(Unknown())
        if boot > self._boot:
            self._take_new_session(boot + 1, now_s=now_s)
        self._retry_at_s = now_s
        self._wake()

    def _take_new_session(self, boot: int, *, now_s: float) -> None:
        """Number what is in flight anew: a later session ended ours, and none of it was applied."""
        self._boot, batches = boot, list(self._in_flight.values())
        self._number = len(batches)
        self._in_flight = {
            number: self._renumbered(number, batch) for number, batch in enumerate(batches, 1)
        }
        self._retry_at_s = now_s
        self._wake()

    def _renumbered(self, number: int, batch: _InFlight) -> _InFlight:
        waiting = batch.waiting()
        payload = self._encode(number, _requests(waiting))
        return _InFlight(number, waiting, payload, now_s=batch.begun_s)

    def tick(self, *, now_s: float, now_us: int, next_due_us: int | None) -> None:
        """Do what is due: give up, propose again, propose what is new, move the logged clock."""
        self._give_up_overdue(now_s)
        if self._leader is None:
            return
        if self._in_flight and now_s >= self._retry_at_s:
            self._propose_again(now_s)
        while groups := self._batcher.take(in_flight=len(self._in_flight)):
            self._propose_new(groups, now_s)
        is_due = next_due_us is not None and next_due_us <= now_us
        if is_due and self._log.is_leader and now_s >= self._clock_entry_at_s + CLOCK_ENTRY_S_MIN:
            self._clock_entry_at_s = now_s
            self._log.propose(self._encode_batch(Batch("", 0, 0, [])))

    def _give_up_overdue(self, now_s: float) -> None:
        for group in self._batcher.drop(lambda group: now_s >= group.deadline_s):
            if self._leader is None:
                group.refuse(Refused(Refusal.NO_LEADER, "no leader was found in time"))
            else:
                group.refuse(Refused(Refusal.OVERLOADED, "the queue of this node did not move"))
        for batch in self._in_flight.values():
            overdue = [group for group in batch.waiting() if now_s >= group.deadline_s]
            if overdue:
                self._give_up(batch, overdue)

    def _give_up(self, batch: _InFlight, overdue: list[_Group]) -> None:
        """Answer those who waited in vain; the number stays in use, at last by an empty batch."""
        detail = "no leader was found in time; nothing happened"
        for group in overdue:
            group.refuse(Unknown() if batch.has_left else Refused(Refusal.NO_LEADER, detail))
        if not batch.has_left or not batch.waiting():
            batch.groups = batch.waiting()
            batch.payload = self._encode(batch.number, _requests(batch.groups))

    def _propose_again(self, now_s: float) -> None:
        for batch in self._in_flight.values():
            if not self._propose(batch):
                break  # the rest would overtake it
        self._retry_at_s = now_s + self._retry_s
        self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)

    def _propose_new(self, groups: list[_Group], now_s: float) -> None:
        self._number += 1
        payload = self._encode(self._number, _requests(groups))
        batch = _InFlight(self._number, groups, payload, now_s=now_s)
        if not self._in_flight:
            self._retry_at_s = now_s + self._retry_s
        self._in_flight[batch.number] = batch
        if not self._propose(batch):
            self._retry_at_s = min(self._retry_at_s, now_s + REFUSED_RETRY_S)

    def _propose(self, batch: _InFlight) -> bool:
        has_left = self._log.propose(batch.payload)
        fate = (APPENDED if self._log.is_leader else FORWARDED) if has_left else NOT_SENT
        self.tallies.proposals[fate] += 1
        batch.has_left = batch.has_left or has_left
        return has_left

    def _encode(self, number: int, requests: list[Request]) -> bytes:
        return self._encode_batch(Batch(self._node, self._boot, number, requests))


def _brings_orders(request: Request) -> bool:
    asked = request.command
    if isinstance(asked, SignedRequest):
        is_of_orders = asked.target.startswith("/v1/orders")
        return is_of_orders and not cancels(asked.method, asked.target)
    return isinstance(asked, PlaceOrder | PlaceOco | ReplaceOrder | AmendOrder)


def _owner(requests: Sequence[Request]) -> str:
    """Return the account that a group is of; "" where it is nobody's, such as a barrier.

    Signed requests are of the key that signed them: whose that is the log knows.
    """
    if requests and isinstance(asked := requests[0].command, SignedRequest):
        return asked.key_id
    return getattr(requests[-1].command, "account", "") if requests else ""


def _priority(requests: Sequence[Request]) -> Priority:
    lowest = Priority.CANCEL_BY_ID if requests else Priority.NONE
    for request in requests:
        command = request.command
        if isinstance(command, CancelOrder):
            lowest = lowest if command.order_id else Priority.CANCEL
        elif isinstance(command, CancelAll) or (
            isinstance(command, SignedRequest) and cancels(command.method, command.target)
        ):
            lowest = Priority.CANCEL
        else:
            return Priority.NONE
    return lowest


def _requests(groups: list[_Group]) -> list[Request]:
    return [request for group in groups for request in group.requests]


def _committed(result: Result, applied: Applied) -> Committed:
    if result.replayed_sequence:
        return Committed(
            result.replayed_sequence, result.replayed_time_us, result.events, replayed=True
        )
    return Committed(result.sequence, applied.time_us, result.events, replayed=False)
