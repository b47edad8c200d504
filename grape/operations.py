"""What a node does for its user: announce, look up, put, get; and for itself: refresh.

Each operation is a short sequence of phases (`lookup.Lookup`, `lookup.Fanout`) with a memory of
what was heard. The conductor drives it: it sends what `queries` says, reports what comes back, and
asks `advance` for the next phase whenever one is finished or `is_answered` says that nothing better
can come; None means done, and `outcome` is the event that says how it ended. An operation knows
neither time nor addresses of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice, zip_longest
from typing import Final, TypeAlias

import msgspec

from grape.contact import ADDRESS_BYTES, Address, Contact, pack_address, unpack_address
from grape.events import (
    CODES,
    AnnounceFinished,
    Found,
    GetFinished,
    LookupFinished,
    PutFinished,
    Refusal,
)
from grape.items import Item, is_valid
from grape.krpc import AnnouncePeer, Arguments, Failure, FindNode, Get, GetPeers, Put, Response
from grape.lookup import Fanout, Lookup, Phase, Responder

PEERS_FOUND_MAX: Final = 1_000
_BY_CODE: Final = {code: refusal for refusal, code in CODES.items() if code}

Start: TypeAlias = Callable[[bytes], Lookup]  # begins a lookup of a target at our own contacts


class Refresh:
    """Look for a node id, to meet the nodes on the way."""

    is_answered = False

    def __init__(self, number: int, target: bytes, lookup: Lookup) -> None:
        self.number = number
        self.target = target
        self.lookup = lookup
        self.phase: Phase = lookup

    def arguments_for(self, contact: Contact) -> Arguments:
        """Return what the contact is asked."""
        return FindNode(self.target)

    def heard(self, contact: Contact, response: Response) -> None:
        """Nothing: the contacts named are noted by the phase."""

    def advance(self) -> Phase | None:
        """Return None: one phase is all."""
        return None


class Search:
    """Ask the nearest nodes for the peers of a service.

    What each of them tells counts alike: who is first to answer, with inventions, hides nobody.
    """

    is_answered = False

    def __init__(self, number: int, name: bytes, start: Start) -> None:
        self.number = number
        self.target = name
        self.phase: Phase = start(name)
        self._told: list[bytes] = []  # by each who told any: a tenth of the size of addresses

    def arguments_for(self, contact: Contact) -> Arguments:
        """Return what the contact is asked."""
        return GetPeers(self.target)

    def heard(self, contact: Contact, response: Response) -> None:
        """Note the peers it told us."""
        self.add_peers(response.peers or ())

    def add_peers(self, peers: tuple[Address, ...]) -> None:
        """Note peers, from one node of the network or from our own store."""
        if peers:
            self._told.append(b"".join(map(pack_address, peers)))

    def advance(self) -> Phase | None:
        """Return None: one phase is all."""
        return None

    def responders(self) -> list[Responder]:
        """Return who answered, the nearest first."""
        assert isinstance(self.phase, Lookup)
        return self.phase.responders()

    def outcome(self) -> LookupFinished:
        """Return how it ended."""
        turns = chain.from_iterable(zip_longest(*map(_unpacked, self._told)))
        peers = dict.fromkeys(peer for peer in turns if peer is not None)
        return LookupFinished(self.number, tuple(islice(peers, PEERS_FOUND_MAX)))


def _unpacked(told: bytes) -> Iterator[Address]:
    for at in range(0, len(told), ADDRESS_BYTES):
        yield unpack_address(told[at : at + ADDRESS_BYTES])


class Announce:
    """Find the nodes nearest to a service's name and ask them to remember a port.

    With a `table` of an earlier lookup the search is left out. If any node of it does not agree
    (it died, or was restarted and knows its tokens no more), the search is made after all.
    """

    is_answered = False

    def __init__(
        self, number: int, name: bytes, start: Start, *, port: int, table: list[Responder]
    ) -> None:
        self.number = number
        self.target = name
        self._start = start
        self._port = port
        self._from_table = bool(table)
        self.phase: Phase = Fanout(table) if table else start(name)
        self.fresh_table: list[Responder] | None = None

    def arguments_for(self, contact: Contact) -> Arguments:
        """Return what the contact is asked."""
        if isinstance(self.phase, Fanout):
            return AnnouncePeer(self.target, port=self._port, token=self.phase.token(contact))
        return GetPeers(self.target)

    def heard(self, contact: Contact, response: Response) -> None:
        """Nothing: that it agreed is noted by the phase."""

    def advance(self) -> Phase | None:
        """Return the next phase, or None."""
        if isinstance(self.phase, Lookup):
            self.fresh_table = self.phase.responders()
            return Fanout(self.fresh_table) if self.fresh_table else None
        if self._from_table and self.phase.agreed < self.phase.asked:
            self._from_table = False
            return self._start(self.target)
        return None

    def outcome(self) -> AnnounceFinished:
        """Return how it ended. Alone, we keep our own services: that counts as one."""
        if isinstance(self.phase, Lookup):
            return AnnounceFinished(self.number, 1)
        if self.phase.agreed:
            return AnnounceFinished(self.number, self.phase.agreed)
        return AnnounceFinished(self.number, 0, Refusal.ALL_FAILED)


class Store:
    """Find the nodes nearest to an item's target and ask them to store it."""

    is_answered = False

    def __init__(self, number: int, item: Item, start: Start, *, cas: int | None) -> None:
        self.number = number
        self.target = item.target
        self.item = item
        self.cas = cas
        self.phase: Phase = start(self.target)

    def arguments_for(self, contact: Contact) -> Arguments:
        """Return what the contact is asked."""
        if isinstance(self.phase, Fanout):
            return Put(self.item, token=self.phase.token(contact), cas=self.cas)
        return Get(self.target)

    def heard(self, contact: Contact, response: Response) -> None:
        """Nothing: that it agreed is noted by the phase."""

    def advance(self) -> Phase | None:
        """Return the next phase, or None."""
        if isinstance(self.phase, Lookup) and (responders := self.phase.responders()):
            return Fanout(responders)
        return None

    @property
    def nobody_answered(self) -> bool:
        """True if it ended without anyone to ask."""
        return isinstance(self.phase, Lookup)

    def outcome(self) -> PutFinished:
        """Return how it ended. Alone, we are the one that stores."""
        if isinstance(self.phase, Lookup):
            return PutFinished(self.number, self.item, 1)
        if self.phase.agreed:
            return PutFinished(self.number, self.item, self.phase.agreed)
        for refusal in self.phase.refusals:
            if refusal.code in _BY_CODE:
                return PutFinished(self.number, self.item, 0, _BY_CODE[refusal.code])
        return PutFinished(self.number, self.item, 0, Refusal.ALL_FAILED)


class Fetch:
    """Ask the nearest nodes for an item, and believe only what it proves itself.

    An immutable item ends the search at once; of a mutable one the highest sequence number wins,
    so everyone is heard.
    """

    def __init__(
        self, number: int, target: bytes, start: Start, *, salt: bytes, own: Found | None
    ) -> None:
        self.number = number
        self.target = target
        self._salt = salt
        self._best = own
        self.phase: Phase = start(target)

    def arguments_for(self, contact: Contact) -> Arguments:
        """Return what the contact is asked."""
        return Get(self.target)

    def heard(self, contact: Contact, response: Response) -> None:
        """Keep the item it told us, if it is the wanted one, newer, and no lie."""
        item = response.item
        if item is None or self.is_answered:
            return
        if item.is_mutable:
            item = msgspec.structs.replace(item, salt=self._salt)
        if self._best is not None and item.seq <= self._best.item.seq:
            return
        if item.target == self.target and is_valid(item):
            self._best = Found(item, response.sender_id, response.token)

    @property
    def is_answered(self) -> bool:
        """True when nothing better can come."""
        return self._best is not None and not self._best.item.is_mutable

    def advance(self) -> Phase | None:
        """Return None: one phase is all."""
        return None

    def outcome(self) -> GetFinished:
        """Return how it ended."""
        return GetFinished(self.number, self._best)


Operation: TypeAlias = Refresh | Search | Announce | Store | Fetch


def queries(operation: Operation) -> list[tuple[Contact, Arguments]]:
    """Return whom to ask what, now."""
    contacts = operation.phase.next_contacts()
    return [(contact, operation.arguments_for(contact)) for contact in contacts]


def replied(operation: Operation, contact: Contact, response: Response) -> None:
    """Report an answer of a contact that was asked."""
    operation.heard(contact, response)
    operation.phase.replied(contact, response)


def failed(operation: Operation, contact: Contact, failure: Failure | None) -> None:
    """Report a refusal, or with None that no answer came in time."""
    operation.phase.failed(contact, failure)
