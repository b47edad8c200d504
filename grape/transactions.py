"""Queries in flight: which answer belongs to which question, what is late, what is lost.

A query passes three moments: it is sent once more (a datagram may be lost, or have come before its
receiver listened), then it stalls and whoever asked may go on without it, and after TIMEOUT_S it
has failed. It stalls when the answer is later than answers lately were (mean and four deviations,
as TCP reckons it, between STALLED_S_MIN and STALLED_S_MAX), and is sent again halfway there. A put
is not sent twice: its repetition would be refused as old, and that refusal believed. An answer
counts only from the address that was asked, with the id of its transaction.

Source: RFC 6298 for the reckoning; Karn's rule: an answer to a repeated question measures nothing.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from grape.contact import Address, Contact
from grape.krpc import Arguments, Put, Query, encode_message
from grape.lookup import Phase
from grape.operations import Operation

STALLED_S_MIN: Final = 0.1
STALLED_S_MAX: Final = 0.4  # also until anyone has answered
TIMEOUT_S: Final = 0.8
assert STALLED_S_MAX < TIMEOUT_S
TRANSACTIONS_MAX: Final = 60_000  # of 65,535 ids, so that a free one is always near
_IDS: Final = 65_535


class Moment(Enum):
    """What is due for a query in flight."""

    RESEND = 0
    STALLED = 1
    TIMEOUT = 2


_NEXT: Final = {Moment.RESEND: Moment.STALLED, Moment.STALLED: Moment.TIMEOUT}


class Pending(msgspec.Struct, eq=False):
    """A query in flight. `operation` is None for the node's own pings."""

    transaction: bytes
    contact: Contact
    operation: Operation | None
    phase: Phase | None  # of the operation, when it asked
    datagram: bytes
    sent_s: float
    stalled_after_s: float
    moment: Moment  # the next one


class AnswerTimes:
    """How long answers take, as RFC 6298 reckons it."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    def add(self, taken_s: float) -> None:
        """Note how long an answer took."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = taken_s, taken_s / 2
        self._deviation_s += (abs(taken_s - self._mean_s) - self._deviation_s) / 4
        self._mean_s += (taken_s - self._mean_s) / 8

    @property
    def stalled_after_s(self) -> float:
        """After which time an answer is later than usual."""
        if self._mean_s is None:
            return STALLED_S_MAX
        return min(STALLED_S_MAX, max(STALLED_S_MIN, self._mean_s + 4 * self._deviation_s))


class Transactions:
    """All queries in flight, by transaction id."""

    def __init__(self, own_id: bytes) -> None:
        self._own_id = own_id
        self._counter = 0
        self._serial = 0
        self._pending: dict[bytes, Pending] = {}
        self._addresses: Counter[Address] = Counter()
        self.pings = 0  # those of no operation
        self._times = AnswerTimes()
        self._due: list[tuple[float, int, Pending]] = []  # a heap; settled queries stay a while

    def __len__(self) -> int:
        return len(self._pending)

    def waits_for(self, address: Address) -> bool:
        """Return whether an answer from `address` is expected."""
        return address in self._addresses

    def open(
        self,
        contact: Contact,
        arguments: Arguments,
        *,
        operation: Operation | None,
        now_s: float,
    ) -> bytes:
        """Return the datagram that asks, and wait for its answer."""
        assert len(self._pending) < TRANSACTIONS_MAX
        transaction = self._free_id()
        datagram = encode_message(Query(transaction, self._own_id, arguments))
        moment = Moment.STALLED if isinstance(arguments, Put) else Moment.RESEND
        phase = operation.phase if operation is not None else None
        stalled_after_s = self._times.stalled_after_s
        pending = Pending(
            transaction, contact, operation, phase, datagram, now_s, stalled_after_s, moment
        )
        self._pending[transaction] = pending
        self._addresses[contact.address] += 1
        self.pings += operation is None
        self._schedule(pending)
        return datagram

    def close(self, transaction: bytes | None, address: Address, *, now_s: float) -> Pending | None:
        """Return the query that an answer from `address` belongs to, and wait for it no more."""
        pending = self._pending.get(transaction) if transaction is not None else None
        if pending is None or pending.contact.address != address:
            return None
        if pending.moment is Moment.RESEND:
            self._times.add(now_s - pending.sent_s)
        self._forget(pending)
        return pending

    def due(self, *, now_s: float) -> list[tuple[Moment, Pending]]:
        """Return what has become due, in order; what has timed out is waited for no more."""
        found = []
        while (next_s := self.next_s()) is not None and next_s <= now_s:
            pending = heappop(self._due)[2]
            moment = pending.moment
            found.append((moment, pending))
            if moment is Moment.TIMEOUT:
                self._forget(pending)
            else:
                pending.moment = _NEXT[moment]
                self._schedule(pending)
        return found

    def next_s(self) -> float | None:
        """Return when something becomes due, None if nothing is in flight."""
        while self._due:
            due_s, _, pending = self._due[0]
            if self._pending.get(pending.transaction) is pending:
                return due_s
            heappop(self._due)
        return None

    def postpone(self, delay_s: float) -> None:
        """Let everything become due later: the time that passed was our own delay. O(n)."""
        for pending in self._pending.values():
            pending.sent_s += delay_s
        self._due = []
        for pending in self._pending.values():
            self._due.append(self._entry(pending))
        heapify(self._due)

    def _free_id(self) -> bytes:
        while True:
            self._counter = self._counter % _IDS + 1
            transaction = self._counter.to_bytes(2, "big")
            if transaction not in self._pending:
                return transaction

    def _schedule(self, pending: Pending) -> None:
        heappush(self._due, self._entry(pending))

    def _entry(self, pending: Pending) -> tuple[float, int, Pending]:
        after_s = {
            Moment.RESEND: pending.stalled_after_s / 2,
            Moment.STALLED: pending.stalled_after_s,
            Moment.TIMEOUT: TIMEOUT_S,
        }[pending.moment]
        self._serial += 1  # equal times keep their order
        return pending.sent_s + after_s, self._serial, pending

    def _forget(self, pending: Pending) -> None:
        del self._pending[pending.transaction]
        self.pings -= pending.operation is None
        address = pending.contact.address
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
