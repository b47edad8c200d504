"""Reading a backup: bytes without a bound of their own, from one node, and all of them or none."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import aiohttp
import msgspec

from raft_exchange.client.errors import RequestRefused, Unavailable
from raft_exchange.client.models import Problem
from raft_exchange.client.sender import CONNECT_S_MAX, Sender

SILENCE_S_MAX: Final = 660.0
"""A node first writes what it gives, for ten minutes at most."""
PIECE_BYTES: Final = 256 * 1024


async def read_backup(sender: Sender) -> AsyncGenerator[bytes, None]:
    """Give the bytes of a snapshot that the current node writes for it.

    Raises:
        RequestRefused: the node refused, for good or for now.
        Unavailable: it does not answer, or what it gave is not whole.
    """
    url = sender.nodes.current
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S_MAX, sock_read=SILENCE_S_MAX)
    try:
        async with sender.session.post(f"{url}/v1/cluster/backup", timeout=timeout) as response:
            if response.status != 200:
                raise RequestRefused(await _problem(response))
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                yield piece
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"{url}: {error!r}") from None


async def _problem(response: aiohttp.ClientResponse) -> Problem:
    body = await response.content.read(64 * 1024)
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:  # not one of ours: a proxy's
        detail = f"HTTP status {response.status}"
        return Problem(code="not_an_answer", status=response.status, detail=detail)
