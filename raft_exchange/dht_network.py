"""The world as discovery sees it: a grape of our own for announcing and looking up, HTTP to ask.

What comes back is bounded before it is read: bytes, time, no redirects, no decompression.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp

from grape import Grape, GrapeBusyError, GrapeError, GrapeSettings
from raft_exchange.candidates import ASKED_AT_ONCE_MAX
from raft_exchange.introduction import (
    INTRODUCTION_BYTES_MAX,
    NONCE_BYTES,
    PATH,
    Distrust,
    Distrusted,
    believe,
)
from raft_exchange.metrics import DhtFigures
from raft_exchange.raft.formation import Statement

ASK_S_MAX: Final = 1.0


def service_name(cluster: str) -> str:
    """Return the name under which the nodes of a cluster announce their HTTP port."""
    return f"raft_exchange_nodes:{cluster}"


class DhtNetwork:
    """Implements `discovery.Network` for one node.

    Args:
        grape: where ours listens, and whom it joins.
        cluster: the cluster's name.
        secret: its secret.
        http_port: where others find our HTTP, at the address of our grape.
        scheme: "http" or "https": how all nodes of the cluster are asked that the DHT names.
        tls: how nodes are asked by "https".
    """

    def __init__(
        self,
        grape: GrapeSettings,
        *,
        cluster: str,
        secret: bytes,
        http_port: int,
        scheme: str,
        tls: ssl.SSLContext,
    ) -> None:
        self._grape = Grape(grape)
        self._cluster = cluster
        self._service = service_name(cluster)
        self._secret = secret
        self._http_port = http_port
        self._scheme = scheme
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=ASKED_AT_ONCE_MAX, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=ASK_S_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    @property
    def is_api_bound(self) -> bool:
        """Whether the grape has its TCP port: what `start` could not bind is then the UDP port."""
        return self._grape.is_api_bound

    def figures(self) -> DhtFigures:
        """Return what the started grape counts."""
        traffic, held = self._grape.traffic, self._grape.holdings()
        good = held.contacts - held.contacts_silent
        return DhtFigures(
            contacts={"good": good, "questionable": held.contacts_silent},
            queries_waiting=traffic.queries_waiting,
            datagrams={"in": traffic.datagrams_in, "out": traffic.datagrams_out},
            throttled=traffic.throttled,
            timeouts=traffic.timeouts,
            queries=traffic.queries,
            tokens_refused=traffic.tokens_refused,
            peers_stored=held.peers,
            items_stored=held.items,
        )

    def bounds_used(self) -> Mapping[str, float]:
        """Return how much of the started grape's bounds is used."""
        return {f"dht_{name}": share for name, share in self._grape.holdings().shares.items()}

    async def start(self) -> None:
        """Open the grape's ports.

        Raises:
            OSError: a port cannot be bound.
        """
        await self._grape.start()

    async def stop(self) -> None:
        """Close everything. Announcements age out: they cannot be taken back."""
        await self._session.close()
        await self._grape.stop()

    async def announce(self) -> None:
        """See `Network`."""
        try:
            await self._grape.announce(self._service, self._http_port)
        except (GrapeError, GrapeBusyError) as error:
            raise OSError(str(error)) from error

    async def lookup(self) -> list[str]:
        """See `Network`."""
        try:
            found = await self._grape.lookup(self._service)
        except (GrapeError, GrapeBusyError) as error:
            raise OSError(str(error)) from error
        return [f"{self._scheme}://{host}:{port}" for host, port in found]

    async def ask(self, url: str) -> Statement:
        """See `Network`."""
        nonce = secrets.token_hex(NONCE_BYTES)
        try:
            async with self._session.get(
                url + PATH, params={"nonce": nonce}, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise Distrusted(Distrust.MALFORMED)
                data = bytearray()
                async for piece in answer.content.iter_any():
                    data += piece
                    if len(data) > INTRODUCTION_BYTES_MAX:
                        raise Distrusted(Distrust.MALFORMED)
        except aiohttp.ClientConnectionError as error:
            raise ConnectionError(str(error)) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise Distrusted(Distrust.MALFORMED) from error
        return believe(bytes(data), nonce=nonce, cluster=self._cluster, secret=self._secret)
