"""Where HTTP connections come in: never more, and never longer silent, than the node can afford.

A connection is a file descriptor, and so is the journal's next segment: a node that cannot open
that one has to stop. Rules:

- Connections are accepted one by one and counted before the next. Above `connections_max` they are
  closed at once, so that a client sees it and goes elsewhere.
- A connection without a request in work is closed after `idle_s_max`: a client that connects and
  says nothing, one that never ends the head of its request, and one that has got its answers. (A
  body has its own time, in `bodies`.)
- A client that takes nothing of its answer for `UNREAD_S_MAX` is cut off by the system.
- With TLS, a client that takes longer than `HANDSHAKE_S_MAX` to agree on it is closed.
- Where the system has no descriptor left all the same, accepting pauses.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from typing import Final

from aiohttp import web

from raft_exchange.metrics import Metrics

BACKLOG: Final = 1_024
ACCEPTS_AT_ONCE: Final = 64
"""Then the loop turns: a flood of connections must not hold up Raft."""

IDLE_S_MAX: Final = 75.0
"""Longer than balancers keep a connection, so that they close it and not we under their request."""

HANDSHAKE_S_MAX: Final = 10.0
UNREAD_S_MAX: Final = 30
LINGERING_S: Final = 1.0
"""How long the rest of a body that was refused is read, so that the client sees the answer."""

CLOSE_S_MIN: Final = 0.1
"""What connections get to end, even where nothing is left of the time for a stop."""

LAST_REQUESTS_S: Final = 0.5
"""How long a stopping node still takes requests on connections that clients keep open."""

POLL_S: Final = 0.02
PAUSE_S: Final = 1.0

_logger = logging.getLogger(__name__)


class Listener:
    """Serves `app` on one port: `start`, `stop` (take no more), `close`, in this order.

    Between start and stop, `serve` puts another application in its place.

    Args:
        app: what answers.
        metrics: counts what was refused.
        connections_max: open connections, idle ones included.
        idle_s_max: see above.
        tls: what connections are served with, None for plain HTTP.
    """

    def __init__(
        self,
        app: web.Application,
        metrics: Metrics,
        *,
        connections_max: int,
        idle_s_max: float = IDLE_S_MAX,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._idle_s_max = idle_s_max
        self._runner = self._new_runner(app)
        self._refused = metrics.connections_refused
        self._connections_max = connections_max
        self._sockets: list[socket.socket] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def _new_runner(self, app: web.Application) -> web.AppRunner:
        return web.AppRunner(
            app,
            access_log=None,
            logger=_quiet(),  # what is not HTTP is a stranger's doing, not an error of ours
            keepalive_timeout=self._idle_s_max,
            lingering_time=LINGERING_S,
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many are open or about to be. O(n)."""
        server = self._runner.server
        return len(self._opening) + (0 if server is None else len(server.connections))

    def use_tls(self, tls: ssl.SSLContext | None) -> None:
        """Serve connections with this from now on; those that are open go on with theirs."""
        self._tls = tls

    @property
    def use(self) -> float:
        """How much of its bound of connections is used. O(n)."""
        return self.connections / self._connections_max

    async def start(self, host: str, port: int) -> None:
        """Listen on every address that `host` has here.

        Raises:
            OSError: the port is taken, or the host is not this machine.
        """
        await self._runner.setup()
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, address in dict.fromkeys((info[0], info[4]) for info in found):
            try:
                listening = socket.create_server(address, family=family, backlog=BACKLOG)
            except OSError as error:
                # A name may have an IPv6 address where IPv6 is switched off.
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(found) > 1:
                    continue
                raise
            listening.setblocking(False)
            self._sockets.append(listening)
        if not self._sockets:
            raise OSError(errno.EADDRNOTAVAIL, "no address of this host can be listened on")
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def serve(self, app: web.Application) -> None:
        """Answer with `app` from now on; the connections that others answered end."""
        runner = self._new_runner(app)
        await runner.setup()
        earlier, self._runner = self._runner, runner
        await _end(earlier, within_s=LINGERING_S)

    def stop(self) -> None:
        """Take no more connections; those that are open are served on. Idempotent.

        Open is also what the system took while this loop was busy: closing a listening socket
        resets all that wait in its backlog, who may have sent a request already.
        """
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            self._take(listening, count_max=BACKLOG + 1)
            listening.close()
        self._sockets.clear()

    async def serve_the_last(self) -> None:
        """Give those connected time to ask once more: the answer closes their connection."""
        until_s = self._loop.time() + LAST_REQUESTS_S
        while self.connections and self._loop.time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    async def close(self, *, within_s: float) -> None:
        """Let what is being answered end, then close every connection. Idempotent.

        Args:
            within_s: how long that may take; a moment is given even where nothing is left.
        """
        self.stop()
        if self._opening:
            await asyncio.wait(self._opening)
        await _end(self._runner, within_s=within_s)

    def _accept(self, listening: socket.socket) -> None:
        error = self._take(listening, count_max=ACCEPTS_AT_ONCE)
        if error is not None:
            _logger.error("cannot accept: %s; pausing for %s s", error, PAUSE_S)
            self._loop.remove_reader(listening)
            self._pauses[listening] = self._loop.call_later(PAUSE_S, self._resume, listening)

    def _take(self, listening: socket.socket, *, count_max: int) -> OSError | None:
        """Accept those who wait; return what the system has against it."""
        for _ in range(count_max):
            try:
                connection, _ = listening.accept()
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                return None
            except OSError as error:
                return error
            self._admit(connection)
        return None

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._accept, listening)

    def _admit(self, connection: socket.socket) -> None:
        if self.connections >= self._connections_max:
            self._refused.inc()
            connection.close()
            return
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        server = self._runner.server
        assert server is not None, "connections are opened between start and close"
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1_000 * UNREAD_S_MAX)
            timeout_s = None if self._tls is None else HANDSHAKE_S_MAX
            _, handler = await self._loop.connect_accepted_socket(
                server, connection, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except OSError:  # the client is gone already, or speaks no TLS
            connection.close()
            return
        if server is not self._runner.server:  # it came in while `serve` ended the others
            await handler.shutdown(LINGERING_S)


async def _end(runner: web.AppRunner, *, within_s: float) -> None:
    server = runner.server
    if server is not None:
        server.pre_shutdown()
        await runner.shutdown()  # sockets that stay open are told to end
        # It waits twice: for handlers to end, and once more after it has cancelled them.
        await server.shutdown(max(CLOSE_S_MIN, within_s / 2))
        await runner.cleanup()


def _quiet() -> logging.Logger:
    http_logger = logging.getLogger("aiohttp.server")
    http_logger.setLevel(logging.CRITICAL)
    return http_logger
