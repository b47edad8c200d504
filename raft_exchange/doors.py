"""Every HTTP port of a node but pub/sub's, from its start to its end.

| door | what is behind it | how |
|---|---|---|
| main (`http_port`) | the whole interface | TLS where the node has a certificate |
| operations (`metrics_port`) | `/metrics`, which is not at the main one then; health | plain |
| Grenache (`grenache_port`) | Grenache calls, for stock clients, which speak no TLS | plain |

The first two answer before there is a group. Connections are bounded door by door.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from raft_exchange.gateway.app import (
    make_app,
    make_forming_app,
    make_grenache_app,
    make_operations_app,
)
from raft_exchange.gateway.context import Context, Front, has_seed_surface
from raft_exchange.gateway.listener import Listener
from raft_exchange.gateway.streams import Streams
from raft_exchange.listening import bind
from raft_exchange.settings import Settings

OPERATIONS_CONNECTIONS_MAX: Final = 32
GRENACHE_SHARE: Final = 8
"""One in so many connections may be at the Grenache door, where there is one."""


class Doors:
    """The doors of one node: `open`, `serve`, `stop` (take no more), `close`, in this order.

    Args:
        settings: the node's.
        front: what answers need before there is a group.
        reason: why there is none.
        connections_max: open connections at all doors, but operations'.
        tls: what the main door is served with, None for plain HTTP.
    """

    def __init__(
        self,
        settings: Settings,
        front: Front,
        *,
        reason: Callable[[], str],
        connections_max: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._settings = settings
        self._front = front
        has_grenache = settings.grenache_port and has_seed_surface(front.settings)
        grenache_max = connections_max // GRENACHE_SHARE if has_grenache else 0
        self._main = Listener(
            make_forming_app(front, reason=reason),
            front.metrics,
            connections_max=connections_max - grenache_max,
            tls=tls,
        )
        self._operations: Listener | None = None
        if settings.metrics_port:
            self._operations = Listener(
                make_forming_app(front, reason=reason, is_operations=True),
                front.metrics,
                connections_max=OPERATIONS_CONNECTIONS_MAX,
            )
        self._grenache_max = grenache_max
        self._grenache: Listener | None = None

    def use_tls(self, tls: ssl.SSLContext | None) -> None:
        """Serve new connections at the main door with this."""
        self._main.use_tls(tls)

    async def open(self) -> None:
        """Listen, and answer as a node that is in no group.

        Raises:
            WrongSetting: a port or the host cannot be had.
        """
        host, settings = self._settings.host, self._settings
        await bind(self._main.start(host, settings.http_port), host="host", port="http_port")
        if self._operations is not None:
            start = self._operations.start(host, settings.metrics_port)
            await bind(start, host="host", port="metrics_port")

    async def serve(self, context: Context, streams: Streams) -> web.Application:
        """Answer as a member from now on, and take Grenache calls at their own door.

        Returns:
            What is behind the main door.

        Raises:
            WrongSetting: its port cannot be had.
        """
        front, settings = self._front, self._settings
        app = make_app(context, front.introduce, streams, front.vouches)
        if self._operations is not None:
            await self._operations.serve(make_operations_app(context, front))
        if self._grenache_max:
            self._grenache = Listener(
                make_grenache_app(app), front.metrics, connections_max=self._grenache_max
            )
            start = self._grenache.start(settings.host, settings.grenache_port)
            await bind(start, host="host", port="grenache_port")
        await self._main.serve(app)
        return app

    def bounds_used(self) -> Mapping[str, float]:
        """Return how much of each door's bound of connections is used."""
        doors = {"http": self._main, "operations": self._operations, "grenache": self._grenache}
        return {
            f"{name}_connections": 0.0 if door is None else door.use for name, door in doors.items()
        }

    def stop(self) -> None:
        """Take no more connections but operations'; those that are open are served on."""
        self._main.stop()
        if self._grenache is not None:
            self._grenache.stop()

    async def serve_the_last(self) -> None:
        """See `Listener.serve_the_last`."""
        await self._main.serve_the_last()

    async def close(self, *, within_s: float) -> None:
        """Let what is being answered end, then close every connection. Idempotent."""
        await self._main.close(within_s=within_s)
        for door in (self._grenache, self._operations):
            if door is not None:
                await door.close(within_s=0)
