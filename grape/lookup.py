"""The two ways a node asks many others: an iterative lookup, and one question to all of a list.

Both are machines without time or messages: `next_contacts` says whom to ask now, and `replied`,
`stalled` and `failed` say how it went. Each contact handed out comes back through `replied` or
`failed` exactly once; `stalled` may come before.

A lookup walks towards its target: it asks the nearest candidates it has heard of, adds those they
name, and ends when the K nearest that can answer have answered. A candidate that lets us wait
(stalled) is passed over but may still answer; only when nobody else did, the lookup waits for it.
Whatever strangers invent, a lookup asks at most QUERIES_MAX contacts and remembers the nearest
CANDIDATES_MAX.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from grape.contact import Address, Contact
from grape.krpc import Failure, Response
from grape.routing import K, point

QUERIES_MAX: Final = 128
CANDIDATES_MAX: Final = 512
TOKEN_TABLE_AGE_S: Final = 300.0
assert K <= QUERIES_MAX <= CANDIDATES_MAX, "the K nearest can always be asked"

_UNKNOWN_DISTANCE: Final = -1  # an address without id is asked first: it is all we have


class _State(Enum):
    NEW = 0
    ASKED = 1
    STALLED = 2
    REPLIED = 3
    FAILED = 4


class _Candidate(msgspec.Struct, eq=False):
    distance: int
    contact: Contact
    state: _State = _State.NEW

    def __lt__(self, other: _Candidate) -> bool:
        return self.distance < other.distance


class Responder(msgspec.Struct, frozen=True):
    """A contact that answered, and the token with which it lets us write (None: it gave none)."""

    contact: Contact
    token: bytes | None


class Lookup:
    """Find the K nearest contacts to `target` that answer."""

    def __init__(self, target: bytes, seeds: Iterable[Contact], *, concurrency: int) -> None:
        self._goal = point(target)
        self._concurrency = concurrency
        self._candidates: dict[Address, _Candidate] = {}
        self._nearest: list[_Candidate] = []  # all candidates, the nearest first
        self._responders: dict[Address, Responder] = {}
        self._in_flight = 0
        self._asked = 0
        self.discover(seeds)

    def discover(self, contacts: Iterable[Contact]) -> None:
        """Add candidates; of too many, the farthest that was not asked is dropped."""
        for contact in contacts:
            if contact.address in self._candidates:
                continue
            distance = point(contact.node_id) ^ self._goal if contact.node_id else _UNKNOWN_DISTANCE
            candidate = _Candidate(distance, contact)
            self._candidates[contact.address] = candidate
            insort(self._nearest, candidate)
            if len(self._candidates) > CANDIDATES_MAX:
                self._drop_farthest()

    def next_contacts(self) -> list[Contact]:
        """Return whom to ask now, as many as may be in flight at once."""
        found = []
        for candidate in self._front():
            if self._in_flight >= self._concurrency or self._asked >= QUERIES_MAX:
                break
            if candidate.state is _State.NEW:
                candidate.state = _State.ASKED
                self._in_flight += 1
                self._asked += 1
                found.append(candidate.contact)
        return found

    def replied(self, contact: Contact, response: Response) -> None:
        """Note an answer; its sender may turn out to have another id than we thought."""
        candidate = self._settle(contact, _State.REPLIED)
        if response.sender_id != contact.node_id:
            candidate.contact = Contact(response.sender_id, contact.address)
            self._nearest.remove(candidate)
            candidate.distance = point(response.sender_id) ^ self._goal
            insort(self._nearest, candidate)
        self._responders[contact.address] = Responder(candidate.contact, response.token)

    def stalled(self, contact: Contact) -> None:
        """Note that an answer is late: others are asked meanwhile."""
        candidate = self._candidates[contact.address]
        if candidate.state is _State.ASKED:
            candidate.state = _State.STALLED
            self._in_flight -= 1

    def failed(self, contact: Contact, failure: Failure | None) -> None:
        """Note a refusal, or with None that no answer came in time."""
        self._settle(contact, _State.FAILED)

    @property
    def is_finished(self) -> bool:
        """True when the nearest that can answer have answered."""
        if self._asked >= QUERIES_MAX:
            return self._in_flight == 0
        if any(candidate.state is not _State.REPLIED for candidate in self._front()):
            return False
        waits = any(item.state is _State.STALLED for item in self._nearest)
        return bool(self._responders) or not waits

    def responders(self) -> list[Responder]:
        """Return up to K contacts that answered, the nearest first."""
        replied = (item for item in self._nearest if item.state is _State.REPLIED)
        return [self._responders[item.contact.address] for item in replied][:K]

    def _front(self) -> Iterator[_Candidate]:
        """The K nearest candidates which have answered or still may in good time."""
        out = (_State.STALLED, _State.FAILED)
        return islice((item for item in self._nearest if item.state not in out), K)

    def _drop_farthest(self) -> None:
        """Forget the farthest candidate that was not asked; QUERIES_MAX says there is one."""
        new = (item for item in reversed(self._nearest) if item.state is _State.NEW)
        farthest = next(new)
        self._nearest.remove(farthest)
        del self._candidates[farthest.contact.address]

    def _settle(self, contact: Contact, state: _State) -> _Candidate:
        candidate = self._candidates[contact.address]
        assert candidate.state in (_State.ASKED, _State.STALLED), "only what was asked is answered"
        if candidate.state is _State.ASKED:
            self._in_flight -= 1
        candidate.state = state
        return candidate


class Fanout:
    """Ask every one of a few responders, once, and count who agreed."""

    def __init__(self, responders: list[Responder]) -> None:
        assert len(responders) <= K, "a fanout is bounded by the lookup before it"
        self._tokens = {item.contact: item.token for item in responders if item.token is not None}
        self._unasked = list(self._tokens)
        self._waiting = len(self._tokens)
        self.agreed = 0
        self.refusals: list[Failure] = []

    def token(self, contact: Contact) -> bytes:
        """Return the token with which the contact lets us write."""
        return self._tokens[contact]

    def next_contacts(self) -> list[Contact]:
        """Return everyone, the first time."""
        found, self._unasked = self._unasked, []
        return found

    def replied(self, contact: Contact, response: Response) -> None:
        """Note an agreement."""
        self._waiting -= 1
        self.agreed += 1

    def stalled(self, contact: Contact) -> None:
        """Nothing: a fanout has nobody else to ask."""

    def failed(self, contact: Contact, failure: Failure | None) -> None:
        """Note a refusal, or with None that no answer came in time."""
        self._waiting -= 1
        if failure is not None:
            self.refusals.append(failure)

    @property
    def asked(self) -> int:
        """How many are asked in all."""
        return len(self._tokens)

    @property
    def is_finished(self) -> bool:
        """True when everyone has answered or failed."""
        return self._waiting == 0


Phase: TypeAlias = Lookup | Fanout


class TokenTables:
    """For each name looked up lately: who is near it, and the tokens they gave us."""

    def __init__(self, *, tables_max: int) -> None:
        self._tables_max = tables_max
        self._tables: OrderedDict[bytes, tuple[float, list[Responder]]] = OrderedDict()

    def get(self, name: bytes, *, now_s: float) -> list[Responder]:
        """Return the table if it is young enough to be believed, else an empty list."""
        expires_s, table = self._tables.get(name, (now_s, []))
        return table if now_s < expires_s else []

    def put(self, name: bytes, table: list[Responder], *, now_s: float) -> None:
        """Keep a table for five minutes; an empty one is forgotten."""
        self.drop(name)
        if table:
            self._tables[name] = (now_s + TOKEN_TABLE_AGE_S, table)
        if len(self._tables) > self._tables_max:
            self._tables.popitem(last=False)

    def drop(self, name: bytes) -> None:
        """Forget a table that proved wrong."""
        self._tables.pop(name, None)
