"""One node of the DHT, without socket, clock or randomness: all three are handed in.

Theory of operation. Datagrams and times go in (`receive_datagram`, `handle_timer`), datagrams and
events come out (`datagrams_to_send`, `next_event`); whoever drives the node calls `handle_timer`
when `next_timer_s` has come. Every entry runs to its end, nothing waits.

Rules:
* A stranger that asks us is answered, and greeted with a ping; only its answer makes it a contact.
* A contact that lets a query time out is dropped at once and not asked again for SHUN_S, unless it
  is heard of before. Bootstrap addresses are called until they answer (`bootstrap`).
* A timer that comes late is our own delay: then no query is held to have timed out for it.
* What we announce we also keep ourselves, so that a lone grape serves its own services.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from grape.answers import BAD_TOKEN, Answers
from grape.bootstrap import Bootstrap
from grape.conductor import OPERATIONS_MAX, Conductor
from grape.contact import NODE_ID_BYTES, PORT_MAX, Address, Contact
from grape.events import Event, Found, NodeAdded, Ready, ServiceStored
from grape.items import Item
from grape.krpc import (
    METHODS,
    NAME_BYTES_MAX,
    AnnouncePeer,
    Arguments,
    Failure,
    KrpcError,
    Ping,
    Query,
    Response,
    decode_message,
    encode_message,
)
from grape.lookup import Lookup
from grape.operations import Operation
from grape.routing import RoutingTable, Shunned
from grape.storage import OWN_HOST, ItemStore, PeerStore, Tokens
from grape.throttle import SOURCES_MAX, Throttle
from grape.transactions import TRANSACTIONS_MAX, Moment, Pending, Transactions

BOOTSTRAP_PATIENCE_S: Final = 2.0
MAINTENANCE_S: Final = 5.0
MAINTENANCE_PINGS_MAX: Final = 16
GREETINGS_MAX: Final = 64  # unanswered at a time
LATE_S: Final = 0.1


class DhtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ between nodes; the defaults are those of the `grape` command."""

    port: int = 0  # of our own socket: what announcing port 0 means
    peer_age_s: float = 120.0
    liveness_s: float = 300.0  # a contact silent for so long is pinged
    concurrency: int = 24
    tables_max: int = 5_000
    values_max: int = 5_000
    datagrams_per_source_s: float = 2_000.0


class Traffic(msgspec.Struct):
    """What passed since the start: `datagrams_in` are those read, those throttled included.

    `queries` counts those of others that were answered or not, by name; `tokens_refused` those
    among them that wanted to write without a good token.
    """

    datagrams_in: int = 0
    datagrams_out: int = 0
    throttled: int = 0
    timeouts: int = 0
    queries_waiting: int = 0
    tokens_refused: int = 0
    queries: dict[str, int] = msgspec.field(
        default_factory=lambda: {name.decode(): 0 for name in METHODS.values()}
    )


class Holdings(msgspec.Struct, frozen=True):
    """What a node knows and keeps; `shares` says how much of each bound is used, 1 being full."""

    contacts: int
    contacts_silent: int  # among them, for so long that they are pinged
    peers: int
    items: int
    shares: dict[str, float]


class DhtNode:
    """A node of the DHT, driven by its caller."""

    def __init__(
        self,
        settings: DhtSettings,
        *,
        entropy: Callable[[int], bytes],
        host_towards: Callable[[str], str],
    ) -> None:
        """Make a node that knows nobody.

        Args:
            settings: its bounds and times.
            entropy: gives so many unpredictable bytes.
            host_towards: the own IPv4 address as the given host sees it.
        """
        self.node_id = entropy(NODE_ID_BYTES)
        self.table = RoutingTable(self.node_id, stale_s=settings.liveness_s)
        self.peers = PeerStore(peer_age_s=settings.peer_age_s)
        self.items = ItemStore(values_max=settings.values_max)
        self._settings = settings
        self._entropy = entropy
        self._bootstrap = Bootstrap()
        self._calling: Lookup | None = None  # the lookup that calls bootstrap addresses
        self._answers = Answers(
            self.node_id,
            table=self.table,
            peers=self.peers,
            items=self.items,
            tokens=Tokens(entropy),
            host_towards=host_towards,
        )
        self._throttle = Throttle(rate_per_s=settings.datagrams_per_source_s)
        self._transactions = Transactions(self.node_id)
        self._shunned = Shunned()
        self._ready_by_s: float | None = None
        self._maintenance_s: float | None = None
        self._refresh_s = 0.0
        self._traffic = Traffic()
        self._outbox: list[tuple[bytes, Address]] = []
        self._events: deque[Event] = deque()
        self._conductor = Conductor(
            ask=self._ask,
            start=self._start_lookup,
            refreshed=self._note_refreshed,
            answers=self._answers,
            events=self._events,
            tables_max=settings.tables_max,
        )

    @property
    def traffic(self) -> Traffic:
        """What passed since the start."""
        self._traffic.queries_waiting = len(self._transactions)
        return self._traffic

    def holdings(self, *, now_s: float) -> Holdings:
        """Return what is known and kept now. O(contacts)."""
        peers, peers_bytes = self.peers.shares
        items, items_bytes = self.items.shares
        return Holdings(
            contacts=len(self.table),
            contacts_silent=len(self.table.silent_since(now_s - self._settings.liveness_s)),
            peers=len(self.peers),
            items=len(self.items),
            shares={
                "peers": peers,
                "peers_bytes": peers_bytes,
                "items": items,
                "items_bytes": items_bytes,
                "queries": len(self._transactions) / TRANSACTIONS_MAX,
                "operations": len(self._conductor) / OPERATIONS_MAX,
                "sources": len(self._throttle) / SOURCES_MAX,
            },
        )

    @property
    def is_busy(self) -> bool:
        """True while no further operation may be begun."""
        return len(self._conductor) >= OPERATIONS_MAX

    def start(self, bootstrap: Iterable[Address], *, now_s: float) -> None:
        """Begin to live: call the bootstrap addresses and keep the table fresh."""
        self._maintenance_s = now_s
        self._refresh_s = now_s + self._settings.liveness_s
        self._ready_by_s = now_s + BOOTSTRAP_PATIENCE_S
        self.use_bootstrap(bootstrap, now_s=now_s)
        if not self._bootstrap.addresses:
            self._become_ready()

    def use_bootstrap(self, addresses: Iterable[Address], *, now_s: float) -> None:
        """Use these bootstrap addresses from now on (names may resolve anew)."""
        self._bootstrap.replace(addresses, now_s=now_s)
        self._call_bootstrap(now_s=now_s)

    # What the user asks. Each returns the number that the event of its end carries.

    def announce(self, name: bytes, port: int, *, now_s: float) -> int:
        """Announce a service on `port` of this host, 0 for the port of the DHT itself."""
        assert len(name) <= NAME_BYTES_MAX
        assert 0 <= port <= PORT_MAX
        port = port or self._settings.port
        self.peers.add(name, (OWN_HOST, port), now_s=now_s)
        self._events.append(ServiceStored(name, (OWN_HOST, port)))
        return self._conductor.announce(name, port, now_s=now_s)

    def lookup(self, name: bytes, *, now_s: float) -> int:
        """Look up a service; while a look-up of the same name is under way, it is shared."""
        assert len(name) <= NAME_BYTES_MAX
        return self._conductor.lookup(name, now_s=now_s)

    def put(self, item: Item, *, cas: int | None = None, now_s: float) -> int:
        """Store a valid item at the nodes nearest to its target."""
        return self._conductor.put(item, cas=cas, now_s=now_s)

    def get(self, target: bytes, *, salt: bytes, from_store: bool, now_s: float) -> int:
        """Find an item; `from_store` lets our own store answer."""
        assert len(target) == NODE_ID_BYTES
        item = self.items.get(target) if from_store else None
        own = Found(item, self.node_id, None) if item is not None else None
        return self._conductor.get(target, salt=salt, own=own, now_s=now_s)

    # What the driver calls.

    def receive_datagram(self, data: bytes, address: Address, *, now_s: float) -> None:
        """Take in a datagram from `address`."""
        self._traffic.datagrams_in += 1
        # Answers that we wait for are not counted: a flood does not drown them.
        is_expected = self._transactions.waits_for(address)
        if not is_expected and not self._throttle.allows(address[0], now_s=now_s):
            self._traffic.throttled += 1
            return
        try:
            message = decode_message(data)
        except KrpcError as error:
            if error.answer is not None and not is_expected:
                self._send(encode_message(error.answer), address)
            return
        match message:
            case Query():
                if not is_expected or self._throttle.allows(address[0], now_s=now_s):
                    self._on_query(message, address, now_s=now_s)
            case Response():
                self._on_response(message, address, now_s=now_s)
            case Failure():
                self._on_failure(message, address, now_s=now_s)

    def handle_timer(self, *, now_s: float) -> None:
        """Do what is due."""
        due_s = self._transactions.next_s()
        if due_s is not None and now_s - due_s > LATE_S:
            self._transactions.postpone(now_s - due_s)
        for moment, pending in self._transactions.due(now_s=now_s):
            self._on_moment(moment, pending, now_s=now_s)
        self._call_bootstrap(now_s=now_s)
        if self._ready_by_s is not None and now_s >= self._ready_by_s:
            self._become_ready()
        if self._maintenance_s is not None and now_s >= self._maintenance_s:
            self._maintain(now_s=now_s)

    def next_timer_s(self) -> float | None:
        """Return when `handle_timer` is to be called next."""
        times = [self._transactions.next_s(), self._ready_by_s, self._maintenance_s]
        if self._calling is None:
            times.append(self._bootstrap.next_s())
        return min((time_s for time_s in times if time_s is not None), default=None)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Return what is to be sent, once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> Event | None:
        """Return the next thing that happened, None if there is nothing new."""
        return self._events.popleft() if self._events else None

    def check(self) -> None:
        """Assert every invariant of table and stores. O(everything)."""
        self.table.check()
        self.peers.check()
        self.items.check()
        self._conductor.check()

    # Messages.

    def _on_query(self, query: Query, address: Address, *, now_s: float) -> None:
        self._traffic.queries[METHODS[type(query.arguments)].decode()] += 1
        answer = self._answers.answer(query, address, now_s=now_s)
        if isinstance(answer, Failure) and answer.code == BAD_TOKEN:
            self._traffic.tokens_refused += 1
        if answer is not None:
            self._send(encode_message(answer), address)
        if isinstance(answer, Response) and isinstance(query.arguments, AnnouncePeer):
            announce = query.arguments
            peer = (address[0], address[1] if announce.implied_port else announce.port)
            self._events.append(ServiceStored(announce.info_hash, peer))
        if query.sender_id is not None:
            self._greet(Contact(query.sender_id, address), now_s=now_s)

    def _greet(self, stranger: Contact, *, now_s: float) -> None:
        self._shunned.forgive(stranger.address)
        if (
            self._transactions.pings < GREETINGS_MAX
            and not self._transactions.waits_for(stranger.address)
            and stranger.node_id != self.node_id
            and self.table.wants(stranger, now_s=now_s)
        ):
            # Its id is only a claim: whatever id the answer carries enters the table.
            self._ask(Contact(b"", stranger.address), Ping(), None, now_s)

    def _on_response(self, response: Response, address: Address, *, now_s: float) -> None:
        pending = self._transactions.close(response.transaction, address, now_s=now_s)
        if pending is None:
            return
        if response.sender_id == self.node_id:
            self._bootstrap.forget(address)
            self._conductor.failed(pending, None, now_s=now_s)
            return
        self._shunned.forgive(address)
        self._bootstrap.answered(address)
        contact = Contact(response.sender_id, address)
        if self.table.heard(contact, now_s=now_s):
            self._events.append(NodeAdded(contact))
        if response.nodes and isinstance(pending.phase, Lookup):
            strangers = (item for item in response.nodes if item.node_id != self.node_id)
            pending.phase.discover(self._shunned.others(strangers, now_s=now_s))
        self._conductor.replied(pending, response, now_s=now_s)

    def _on_failure(self, failure: Failure, address: Address, *, now_s: float) -> None:
        pending = self._transactions.close(failure.transaction, address, now_s=now_s)
        if pending is not None:
            self._conductor.failed(pending, failure, now_s=now_s)

    def _on_moment(self, moment: Moment, pending: Pending, *, now_s: float) -> None:
        address = pending.contact.address
        match moment:
            case Moment.RESEND:
                self._send(pending.datagram, address)
            case Moment.STALLED:
                self._conductor.stalled(pending, now_s=now_s)
            case Moment.TIMEOUT:
                self._traffic.timeouts += 1
                self.table.remove(pending.contact)
                self._bootstrap.lost(address, now_s=now_s)
                self._shunned.add(address, now_s=now_s)
                self._conductor.failed(pending, None, now_s=now_s)

    def _ask(
        self, contact: Contact, arguments: Arguments, operation: Operation | None, now_s: float
    ) -> bool:
        """Send a query; False if too many are in flight."""
        if len(self._transactions) >= TRANSACTIONS_MAX:
            return False
        datagram = self._transactions.open(contact, arguments, operation=operation, now_s=now_s)
        self._send(datagram, contact.address)
        return True

    def _send(self, datagram: bytes, address: Address) -> None:
        self._traffic.datagrams_out += 1
        self._outbox.append((datagram, address))

    # The node's own upkeep.

    def _become_ready(self) -> None:
        if self._ready_by_s is not None:
            self._ready_by_s = None
            self._events.append(Ready())

    def _start_lookup(self, target: bytes) -> Lookup:
        seeds = self.table.closest(target)
        if not seeds:
            seeds = [Contact(b"", address) for address in self._bootstrap.addresses]
        return Lookup(target, seeds, concurrency=self._settings.concurrency)

    def _start_background(self, target: bytes, called: Iterable[Address] = ()) -> Lookup:
        seeds = [Contact(b"", address) for address in called] + self.table.closest(target)
        return Lookup(target, seeds, concurrency=max(1, self._settings.concurrency // 4))

    def _call_bootstrap(self, *, now_s: float) -> None:
        if self._calling is None and (due := self._bootstrap.take_due(now_s=now_s)):
            self._calling = self._start_background(self.node_id, due)
            self._conductor.refresh(self._calling, self.node_id, now_s=now_s)

    def _note_refreshed(self, lookup: Lookup) -> None:
        if lookup is self._calling:
            self._calling = None
        if lookup.responders():
            self._become_ready()

    def _maintain(self, *, now_s: float) -> None:
        """Ping who was silent for long, and look around now and then."""
        liveness_s = self._settings.liveness_s
        self._maintenance_s = now_s + min(MAINTENANCE_S, liveness_s)
        silent = self.table.silent_since(now_s - liveness_s)
        for contact in silent[:MAINTENANCE_PINGS_MAX]:
            if not self._transactions.waits_for(contact.address):
                self._ask(contact, Ping(), None, now_s)
        if now_s >= self._refresh_s and len(self.table):
            self._refresh_s = now_s + liveness_s
            for target in (self.node_id, self._entropy(NODE_ID_BYTES)):
                self._conductor.refresh(self._start_background(target), target, now_s=now_s)
