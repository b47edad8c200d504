"""aiohttp at both ends: one bounded POST, one bounded body, one listener.

The rest of the RPC layer sees bytes and `GrenacheError` only. Bodies are never decompressed by
aiohttp: Grenache has its own way (`grc-compress`), with our own bound.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

import aiohttp
from aiohttp import web

from grape.envelope import ErrorCode, GrenacheError

# A Node.js server closes an idle connection after 5 s: let go of it before, so that no request
# meets the closing.
KEEPALIVE_S_MAX: Final = 4.0
CLIENT_CONNECTIONS_MAX: Final = 256
CLIENT_CONNECTIONS_PER_HOST_MAX: Final = 32
REPLY_BYTES_MAX: Final = 4 * 1024 * 1024

SERVER_CONNECTIONS_MAX: Final = 2_048
SHUTDOWN_S_MAX: Final = 2.0


class BodyTooLarge(Exception):
    """A peer sent more than it may."""


class Service(Protocol):
    """What can be listened for: it answers any path, and closes what it keeps open."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request or Upgrade."""
        ...

    async def close(self) -> None:
        """Close every open socket and end every task."""
        ...


def new_session(*, tls: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """A client session with bounded connections, no cookies and no decompression.

    Args:
        tls: for `https` and `wss`; without it aiohttp's default context.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=CLIENT_CONNECTIONS_MAX,
            limit_per_host=CLIENT_CONNECTIONS_PER_HOST_MAX,
            keepalive_timeout=KEEPALIVE_S_MAX,
            ssl=tls or True,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept-Encoding": "identity"},
    )


async def read_bounded(stream: aiohttp.StreamReader, *, bytes_max: int) -> bytes:
    """Read a body to its end. Raises BodyTooLarge when it is longer than `bytes_max`."""
    chunks = []
    size = 0
    async for chunk in stream.iter_any():
        size += len(chunk)
        if size > bytes_max:
            raise BodyTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout_s: float,
) -> tuple[int, bytes]:
    """POST `body` and return the status and body of the answer, whatever the status.

    Raises:
        GrenacheError: TIMEOUT, REQUEST_GENERIC or REPLY_SIZE.
    """
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            reply = await read_bounded(response.content, bytes_max=REPLY_BYTES_MAX)
            return response.status, reply
    except TimeoutError:
        raise GrenacheError(ErrorCode.TIMEOUT, f"network timeout at: {url}") from None
    except BodyTooLarge:
        raise GrenacheError(ErrorCode.REPLY_SIZE, f"more than {REPLY_BYTES_MAX} bytes") from None
    except (aiohttp.ClientError, OSError) as error:
        detail = f"request to {url} failed, reason: {error}"
        raise GrenacheError(ErrorCode.REQUEST_GENERIC, detail) from None


@contextlib.asynccontextmanager
async def listening(
    service: Service, *, host: str, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve `service` on its own port until the block ends; gives the port that was bound.

    At the end the port is freed first, then open sockets are closed.

    Raises:
        OSError: the port is busy.
    """
    server = web.Server(
        service.handle,
        access_log=None,
        auto_decompress=False,
        # Cut an oversized upload at once instead of reading the rest of it.
        lingering_time=0.0,
    )

    def accept() -> asyncio.Protocol:
        return server() if len(server.connections) < SERVER_CONNECTIONS_MAX else _Refusal()

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(accept, host, port, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        server.pre_shutdown()
        await service.close()
        await server.shutdown(SHUTDOWN_S_MAX)


class _Refusal(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
