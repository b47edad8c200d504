"""A grape under attack: a process of its own, floods from many addresses, and then a look-up.

`GRAPE_HOSTILE_DATAGRAMS` and `GRAPE_HOSTILE_REQUESTS` make it larger: 1,000,000 and 10,000 is the
nightly size. The figures of such a run are printed (`-s`) and recorded in grape/DESIGN.md.
"""

import asyncio
import os
import random
import socket
import time
from asyncio.subprocess import Process
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import pytest

from grape import GrapeSettings
from grape.krpc import GetPeers, Ping, Query, Response, decode_message, encode_message
from tests.support.coroutines import in_loop
from tests.support.grapes import LOOPBACK, ask_url, command, started
from tests.support.hostile import hostile_datagram, hostile_requests
from tests.support.node_modules import free_port

DATAGRAMS: Final = int(os.environ.get("GRAPE_HOSTILE_DATAGRAMS", "20000"))
REQUESTS: Final = int(os.environ.get("GRAPE_HOSTILE_REQUESTS", "300"))
SOURCES: Final = 100
ROUND: Final = 500  # datagrams between two proofs of life
ALIVE_S_MAX: Final = 5.0
REQUEST_S_MAX: Final = 2.0

STORES_BYTES_MAX: Final = 64 * 1024 * 1024  # all stores full, and what Python keeps around them
GROWTH_BYTES_MAX: Final = 4 * 1024 * 1024  # once they are full


def memory_bytes(process: Process) -> int:
    """What the process holds in memory."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def asked(sock: socket.socket, to: tuple[str, int], query: Query) -> Response:
    """The answer to a query; asked until it comes, since the flood may crowd it out."""
    end_s = time.monotonic() + ALIVE_S_MAX
    while time.monotonic() < end_s:
        sock.sendto(encode_message(query), to)
        try:
            while True:
                message = decode_message(sock.recv(65_536))
                if isinstance(message, Response) and message.transaction == query.transaction:
                    return message
        except TimeoutError:
            continue
    raise AssertionError("the grape does not answer any more")


def flood(to: tuple[str, int], count: int, *, seed: int) -> None:
    """Send `count` hostile datagrams from many addresses, no faster than they are taken in."""
    source = random.Random(seed)
    sockets = []
    for i in range(SOURCES):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"127.1.0.{i + 1}", 0))
        sock.settimeout(0.2)
        sockets.append(sock)
    tokens = [asked(sock, to, Query(b"tk", bytes(20), GetPeers(b"n"))).token for sock in sockets]
    alive = Query(b"ok", bytes(20), Ping())
    for _ in range(count // ROUND):
        for _ in range(ROUND):
            i = source.randrange(SOURCES)
            sockets[i].sendto(hostile_datagram(source, token=tokens[i] or b""), to)
        asked(sockets[0], to, alive)
    for sock in sockets:
        sock.close()


async def attack(port: int, request: bytes) -> None:
    """Send one hostile request and leave when it is answered or ignored."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        async with asyncio.timeout(REQUEST_S_MAX):
            await reader.read()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


@pytest.mark.timeout(3_600)
@in_loop
async def test_floods_neither_end_nor_bloat_nor_confuse_a_grape() -> None:
    """Alive, memory bounded and in the end flat, and the next announcement and look-up correct."""
    dht_port, api_port = free_port(), free_port()
    flags = ["--dp", str(dht_port), "--aph", str(api_port), "--bn", ""]
    with TemporaryFile() as said:
        async with command(*flags, output=said, errors=said) as victim:
            await survive(victim, dht_port, api_port)
        said.seek(0)
        assert b"Traceback" not in said.read()


async def survive(victim: Process, dht_port: int, api_port: int) -> None:
    to = (LOOPBACK, dht_port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.1)
        await asyncio.to_thread(asked, asker, to, Query(b"up", bytes(20), Ping()))
    friend = await started(GrapeSettings(bootstrap=[f"{LOOPBACK}:{dht_port}"]))
    before = memory_bytes(victim)
    begun_s = time.monotonic()
    await asyncio.to_thread(flood, to, DATAGRAMS * 3 // 4, seed=1)
    full = memory_bytes(victim)
    await asyncio.to_thread(flood, to, DATAGRAMS // 4, seed=2)
    after = memory_bytes(victim)
    flooded_s = time.monotonic() - begun_s
    gate = asyncio.Semaphore(20)

    async def one(request: bytes) -> None:
        async with gate:
            await attack(api_port, request)

    await asyncio.gather(*map(one, hostile_requests(random.Random(3), REQUESTS)))
    asked_s = time.monotonic() - begun_s - flooded_s
    url = f"http://{LOOPBACK}:{api_port}"
    assert await friend.announce("survivor", 1337) >= 1
    assert await ask_url(url, "lookup", "survivor") == (200, '["127.0.0.1:1337"]')
    assert victim.returncode is None
    end = memory_bytes(victim)
    print(
        f"{DATAGRAMS} datagrams in {flooded_s:.0f} s, {REQUESTS} requests in {asked_s:.0f} s; "
        f"memory in MB: {before / 1e6:.1f} before, {full / 1e6:.1f} after three quarters, "
        f"{after / 1e6:.1f} after all datagrams, {end / 1e6:.1f} after all requests"
    )
    assert end - before < STORES_BYTES_MAX
    if DATAGRAMS >= 1_000_000:
        assert after - full < GROWTH_BYTES_MAX
    await friend.stop()
