"""Grape: a distributed hash table in which services find each other.

Speaks with the grapes in the field (KRPC over UDP, BEP 5 and BEP 44, IPv4) and serves Grenache
clients over HTTP. See `DESIGN.md` for what it does differently on purpose.

    async with Grape(GrapeSettings(bootstrap=["10.0.0.7:20001"])) as grape:
        await grape.announce("rpc_test", 1337)
        print(await grape.lookup("rpc_test"))

The Grenache side (who calls whom once found) is `grape.link`, `grape.rpc` and `grape.pubsub`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Self

import msgspec

from grape.api import Api
from grape.bencode import Value
from grape.contact import PORT_MAX, Address, Contact
from grape.dht import DhtSettings, Holdings, Traffic
from grape.endpoint import ANY_HOST, LOOPBACK, Endpoint, GrapeBusyError, GrapeError
from grape.events import Event, Found, NodeAdded, PeerFound, Ready, ServiceStored
from grape.items import Item, sign_item

__all__ = [
    "Address",
    "Contact",
    "Event",
    "Found",
    "Grape",
    "GrapeBusyError",
    "GrapeError",
    "GrapeSettings",
    "Item",
    "NodeAdded",
    "PeerFound",
    "Ready",
    "ServiceStored",
    "Value",
    "parse_address",
    "sign_item",
]

PAYLOAD_BYTES_MAX: Final = 8_192
CONCURRENCY_MAX: Final = 100
API_CONNECTIONS_MAX: Final = 1_024


class GrapeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a grape listens, whom it joins, and its bounds.

    The hosts are IPv4 addresses; everything is loopback unless told. `own_host` is where services
    announced through this grape are, if that is not where its socket is bound. With `api_port`
    None there is no HTTP API; port 0 is any free port.
    """

    dht_host: str = LOOPBACK
    dht_port: int = 0
    api_host: str = LOOPBACK
    api_port: int | None = None
    bootstrap: Sequence[str] = ()  # "host:port"
    own_host: str | None = None
    peer_age_ms: int = 120_000
    liveness_ms: int = 300_000
    concurrency: int = 24
    tables_max: int = 5_000
    values_max: int = 5_000
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    api_connections_max: int = API_CONNECTIONS_MAX


class Grape:
    """One grape: a node of the DHT and, if wanted, its HTTP API. Many may live in a process."""

    def __init__(self, settings: GrapeSettings | None = None) -> None:
        self._settings = settings = settings or GrapeSettings()
        self._is_api_bound = False
        self._listeners: list[Callable[[Event], None]] = []
        self._endpoint = Endpoint(
            DhtSettings(
                port=settings.dht_port,
                peer_age_s=settings.peer_age_ms / 1_000,
                liveness_s=settings.liveness_ms / 1_000,
                concurrency=min(settings.concurrency, CONCURRENCY_MAX),
                tables_max=settings.tables_max,
                values_max=settings.values_max,
            ),
            host=settings.dht_host,
            bootstrap=[parse_address(entry) for entry in settings.bootstrap],
            own_host=settings.own_host,
            on_event=self._report,
        )
        self._api = Api(
            self._endpoint,
            payload_bytes_max=settings.payload_bytes_max,
            connections_max=settings.api_connections_max,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def dht_address(self) -> Address:
        """Host and UDP port of the started grape."""
        return self._endpoint.address

    @property
    def api_url(self) -> str:
        """Base URL of the started HTTP API, as Grenache clients take it."""
        assert self._settings.api_port is not None, "this grape has an HTTP API"
        host = LOOPBACK if self._settings.api_host == ANY_HOST else self._settings.api_host
        return f"http://{host}:{self._api.port}"

    @property
    def node_id(self) -> bytes:
        """The 20 bytes that name the started grape in the DHT, other ones at every start."""
        return self._endpoint.node.node_id

    @property
    def contacts(self) -> list[Contact]:
        """The nodes that the started grape knows: each has answered it."""
        return list(self._endpoint.node.table)

    @property
    def traffic(self) -> Traffic:
        """What the started grape sent, read and waits for."""
        return self._endpoint.node.traffic

    def holdings(self) -> Holdings:
        """Return what the started grape knows and keeps. O(contacts)."""
        held = self._endpoint.holdings()
        shares = held.shares | {"api_connections": self._api.use}
        return msgspec.structs.replace(held, shares=shares)

    @property
    def is_api_bound(self) -> bool:
        """True from the moment the TCP port is ours, or none is wanted: the UDP port comes next."""
        return self._is_api_bound

    def add_listener(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, in order, in the event loop."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Bind both ports and begin to join the others; the event `Ready` says when that is done.

        Raises:
            OSError: if an address cannot be bound; then nothing is.
        """
        if self._settings.api_port is not None:
            await self._api.start(self._settings.api_host, self._settings.api_port)
        self._is_api_bound = True
        try:
            await self._endpoint.start()
        except BaseException:
            await self._api.stop()
            raise

    async def stop(self) -> None:
        """Free both ports at once, then end what is under way."""
        await self._endpoint.stop()
        await self._api.stop()

    async def announce(self, name: str | bytes, port: int) -> int:
        """Announce a service on `port` of this host (0: our UDP port).

        Returns:
            How many grapes keep it; 1 if this one is alone.

        Raises:
            GrapeError: if other grapes were found and none of them keeps it.
            GrapeBusyError: too many operations are under way.
        """
        if not 0 <= port <= PORT_MAX:
            raise ValueError(f"{port} is not a port")
        return await self._endpoint.announce(_raw(name), port)

    async def lookup(self, name: str | bytes) -> list[Address]:
        """Return the peers of a service, in no particular order.

        Raises:
            GrapeBusyError: too many operations are under way.
        """
        return await self._endpoint.lookup(_raw(name))

    async def put(self, item: Item, *, cas: int | None = None) -> bytes:
        """Store an item (see `sign_item` for a mutable one) and return its target.

        Args:
            item: its value at most 1,000 bytes.
            cas: the sequence number that the item replaces, None for any.

        Raises:
            GrapeError: if nobody keeps it: old sequence number, other `cas`, wrong signature.
            GrapeBusyError: too many operations are under way.
        """
        return await self._endpoint.put(item, cas=cas)

    async def get(self, target: bytes, *, salt: bytes = b"") -> Found | None:
        """Return the item named `target`, None if nobody has it; `salt` as for `Endpoint.get`.

        Raises:
            GrapeBusyError: too many operations are under way.
        """
        return await self._endpoint.get(target, salt=salt)

    def _report(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)


def parse_address(text: str) -> Address:
    """Return the host (a name or an IPv4 address) and port of `host:port`.

    Raises:
        ValueError: if it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= PORT_MAX:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


def _raw(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
