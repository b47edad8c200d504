"""RPC between nodes that find each other by service name: the public face of client and server.

A client asks its link who announces a service and sends the call to one of them, or to all:

    client = RpcClient(link, HttpTransport())
    result = await client.request("orders", {"type": "getOrders"}, timeout_s=5.0)

A server is one handler for every service of a port. It is mounted on an existing aiohttp
application (`app.router.add_post("/", server.handle_http)`, `app.on_shutdown.append(...)` with
`close`), or has a port of its own (`async with listening(server, host="127.0.0.1") as port`).
Announcing that port is the link's business.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol

from grape.destinations import Destinations
from grape.envelope import ErrorCode, GrenacheError, RemoteError
from grape.http_io import listening
from grape.link import Link
from grape.rpc_http import HttpTransport
from grape.rpc_server import RpcRequest, RpcServer, fingerprint
from grape.rpc_ws import WebSocketTransport

__all__ = [
    "Answer",
    "ErrorCode",
    "GrenacheError",
    "HttpTransport",
    "RemoteError",
    "RpcClient",
    "RpcRequest",
    "RpcServer",
    "Transport",
    "WebSocketTransport",
    "fingerprint",
    "listening",
]

REQUEST_S_MAX: Final = 10.0
CALLS_IN_FLIGHT_MAX: Final = 4_096

# Failures that are ours and say nothing about the destination.
OWN_FAILURES: Final = frozenset({ErrorCode.BUSY})


class Transport(Protocol):
    """How one call reaches one destination: `HttpTransport` or `WebSocketTransport`."""

    async def request(self, destination: str, key: str, payload: Any, *, timeout_s: float) -> Any:
        """The result, or RemoteError, or GrenacheError."""
        ...

    async def close(self) -> None:
        """Free the sockets."""
        ...


@dataclass(frozen=True)
class Answer:
    """What one destination of a `map` said: `error` is None exactly when `result` counts."""

    destination: str
    result: Any = None
    error: RemoteError | GrenacheError | None = None


class RpcClient:
    """Calls services by name: healthy destinations first, evenly among them.

    It closes neither `link` nor `transport`: both may be shared.
    """

    def __init__(
        self,
        link: Link,
        transport: Transport,
        *,
        rng: random.Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._transport = transport
        self._rng = rng or random.Random()
        self._destinations = Destinations(clock_s=clock_s, rng=self._rng)
        self._in_flight = 0

    async def request(
        self,
        key: str,
        payload: Any,
        *,
        timeout_s: float = REQUEST_S_MAX,
        attempts: int = 1,
    ) -> Any:
        """The result of one call to one of the nodes that announce `key`.

        Args:
            key: the service's name.
            payload: any JSON value.
            timeout_s: for each attempt; the lookup has its own bound.
            attempts: how many destinations may be tried, each another one while there is another.
                Only for calls that may safely be executed twice: a failed attempt may have been.

        Raises:
            RemoteError: the handler answered an error; never tried again.
            GrenacheError: the last attempt failed, or the lookup.
        """
        assert attempts >= 1, "at least one attempt is made"
        found = await self._link.lookup(key)
        tried: list[str] = []
        while True:
            destination = self._destinations.choose(found, excluded=tried)
            tried.append(destination)
            try:
                return await self._call(destination, key, payload, timeout_s=timeout_s)
            except GrenacheError:
                if len(tried) >= attempts:
                    raise

    async def map(
        self,
        key: str,
        payload: Any,
        *,
        timeout_s: float = REQUEST_S_MAX,
        limit: int | None = None,
    ) -> list[Answer]:
        """Call every node that announces `key` side by side; one answer each, in lookup order.

        Unlike with a stock client one failure does not hide the answers of the others.

        Args:
            key: the service's name.
            payload: any JSON value.
            timeout_s: for each call; so this also bounds the whole.
            limit: call only so many, chosen at random.

        Raises:
            GrenacheError: the lookup failed.
        """
        found: Collection[str] = await self._link.lookup(key)
        if limit is not None and limit < len(found):
            found = self._rng.sample(list(found), limit)
        calls = (self._answer(each, key, payload, timeout_s=timeout_s) for each in found)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
        return [task.result() for task in tasks]

    async def _answer(
        self, destination: str, key: str, payload: Any, *, timeout_s: float
    ) -> Answer:
        try:
            result = await self._call(destination, key, payload, timeout_s=timeout_s)
        except (RemoteError, GrenacheError) as error:
            return Answer(destination, error=error)
        return Answer(destination, result=result)

    async def _call(self, destination: str, key: str, payload: Any, *, timeout_s: float) -> Any:
        if self._in_flight >= CALLS_IN_FLIGHT_MAX:
            raise GrenacheError(ErrorCode.BUSY, f"{CALLS_IN_FLIGHT_MAX} calls in flight")
        healthy: bool | None = None
        self._in_flight += 1
        self._destinations.start(destination)
        try:
            result = await self._transport.request(destination, key, payload, timeout_s=timeout_s)
            healthy = True
            return result
        except RemoteError:
            healthy = True
            raise
        except GrenacheError as error:
            healthy = None if error.code in OWN_FAILURES else False
            raise
        finally:
            self._in_flight -= 1
            self._destinations.finish(destination, healthy=healthy)
