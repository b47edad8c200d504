"""Runs the operations of a node: begins them, sends what they ask, ends them with an event.

Holds what outlives an operation: the tokens that lookups brought, and which lookups are under way
(two for the same name are one). Sending is the node's affair: `ask` is called for every query and
says whether it could be sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from grape.answers import Answers
from grape.contact import Contact
from grape.events import Event, Found, PeerFound, PutFinished
from grape.items import Item
from grape.krpc import Arguments, Failure, Response
from grape.lookup import Lookup, TokenTables
from grape.operations import (
    Announce,
    Fetch,
    Operation,
    Refresh,
    Search,
    Start,
    Store,
    failed,
    queries,
    replied,
)
from grape.storage import OWN_HOST
from grape.transactions import Pending

OPERATIONS_MAX: Final = 400

_LOOPBACK: Final = "127.0.0.1"

Ask: TypeAlias = Callable[[Contact, Arguments, Operation, float], bool]


class Conductor:
    """All operations of one node."""

    def __init__(
        self,
        *,
        ask: Ask,
        start: Start,
        refreshed: Callable[[Lookup], None],
        answers: Answers,
        events: deque[Event],
        tables_max: int,
    ) -> None:
        """Make a conductor.

        Args:
            ask: sends a query of an operation at the given time.
            start: begins a lookup at the node's own contacts.
            refreshed: told of each refresh that ended.
            answers: the node's own stores.
            events: where the end of each operation is reported.
            tables_max: of how many names the tokens are kept.
        """
        self._ask = ask
        self._start = start
        self._refreshed = refreshed
        self._answers = answers
        self._events = events
        self._token_tables = TokenTables(tables_max=tables_max)
        self._operations: dict[int, Operation] = {}
        self._searches: dict[bytes, int] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._operations)

    def announce(self, name: bytes, port: int, *, now_s: float) -> int:
        """Begin to announce; with the tokens of an earlier lookup if there are any."""
        table = self._token_tables.get(name, now_s=now_s)
        operation = Announce(self._next_number(), name, self._start, port=port, table=table)
        return self._begin(operation, now_s=now_s)

    def lookup(self, name: bytes, *, now_s: float) -> int:
        """Begin to look a service up, or join the lookup that is under way."""
        if name in self._searches:
            return self._searches[name]
        number = self._searches[name] = self._next_number()
        return self._begin(Search(number, name, self._start), now_s=now_s)

    def put(self, item: Item, *, cas: int | None, now_s: float) -> int:
        """Begin to store an item, unless our own store knows a newer one."""
        number = self._next_number()
        refusal = self._answers.certain_refusal(item, cas=cas)
        if refusal is not None:
            self._events.append(PutFinished(number, item, 0, refusal))
            return number
        operation = Store(number, item, self._start, cas=cas)
        return self._begin(operation, now_s=now_s)

    def get(self, target: bytes, *, salt: bytes, own: Found | None, now_s: float) -> int:
        """Begin to find an item, better than our `own` if we have one."""
        operation = Fetch(self._next_number(), target, self._start, salt=salt, own=own)
        return self._begin(operation, now_s=now_s)

    def refresh(self, lookup: Lookup, target: bytes, *, now_s: float) -> int:
        """Begin to look around for the node's own sake."""
        operation = Refresh(self._next_number(), target, lookup)
        return self._begin(operation, now_s=now_s)

    def replied(self, pending: Pending, response: Response, *, now_s: float) -> None:
        """Report the answer to a query of an operation."""
        if (operation := self._current(pending)) is not None:
            replied(operation, pending.contact, response)
            self._drive(operation, now_s=now_s)

    def stalled(self, pending: Pending, *, now_s: float) -> None:
        """Report that an answer is late."""
        if (operation := self._current(pending)) is not None:
            operation.phase.stalled(pending.contact)
            self._drive(operation, now_s=now_s)

    def failed(self, pending: Pending, failure: Failure | None, *, now_s: float) -> None:
        """Report a refusal, or with None that no answer came in time."""
        if (operation := self._current(pending)) is not None:
            failed(operation, pending.contact, failure)
            self._drive(operation, now_s=now_s)

    def check(self) -> None:
        """Assert every invariant. O(operations)."""
        assert set(self._searches.values()) <= self._operations.keys()
        assert not any(operation.phase.is_finished for operation in self._operations.values())

    def _current(self, pending: Pending) -> Operation | None:
        """The operation that still wants to know how the query went."""
        operation = pending.operation
        if operation is None or operation.number not in self._operations:
            return None
        return operation if operation.phase is pending.phase else None

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _begin(self, operation: Operation, *, now_s: float) -> int:
        self._operations[operation.number] = operation
        self._drive(operation, now_s=now_s)
        return operation.number

    def _drive(self, operation: Operation, *, now_s: float) -> None:
        """Send what the operation wants to ask; begin its next phase, or end it."""
        while True:
            for contact, arguments in queries(operation):
                if not self._ask(contact, arguments, operation, now_s):
                    failed(operation, contact, None)
            if not operation.phase.is_finished and not operation.is_answered:
                return
            phase = operation.advance()
            if phase is None:
                del self._operations[operation.number]
                self._conclude(operation, now_s=now_s)
                return
            operation.phase = phase

    def _conclude(self, operation: Operation, *, now_s: float) -> None:
        match operation:
            case Search():
                self._conclude_search(operation, now_s=now_s)
            case Announce():
                if operation.fresh_table is not None:
                    table = operation.fresh_table
                    self._token_tables.put(operation.target, table, now_s=now_s)
                self._events.append(operation.outcome())
            case Store():
                self._conclude_store(operation)
            case Fetch():
                self._events.append(operation.outcome())
            case Refresh():
                self._refreshed(operation.lookup)

    def _conclude_search(self, operation: Search, *, now_s: float) -> None:
        name = operation.target
        del self._searches[name]
        responders = operation.responders()
        self._token_tables.put(name, responders, now_s=now_s)
        towards = responders[0].contact.address[0] if responders else _LOOPBACK
        operation.add_peers(self._answers.peers(name, towards=towards, now_s=now_s))
        outcome = operation.outcome()
        self._events.extend(PeerFound(name, peer) for peer in outcome.peers)
        self._events.append(outcome)

    def _conclude_store(self, operation: Store) -> None:
        """Keep what was stored, too; alone, our own store is the one that may refuse."""
        outcome = operation.outcome()
        if outcome.stored:
            alone = operation.nobody_answered
            cas = operation.cas if alone else None
            refusal = self._answers.store(operation.item, cas=cas, source=OWN_HOST)
            if alone and refusal is not None:
                outcome = msgspec.structs.replace(outcome, stored=0, refusal=refusal)
        self._events.append(outcome)
