"""Real nodes under pressure from outside: the lead does not change, and orders go on.

On a machine with other work, a window of time may hold a pause that is nobody's fault; a rule that
is broken shows in every window.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.trading import Outcome, Trading
from tests.system.conftest import size
from tests.system.soak import memory_mib

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(1_800)]

WINDOW_S = 4.0
WINDOWS_MAX = 4
READERS = 60
FLOODERS = 6
GROWTH_MIB_MAX = 32.0
FLOOD = [random.Random(1).randbytes(2_000), b"RXRT\x01" + bytes(300), b"GET / HTTP/1.1\r\n\r\n"]


async def terms(client: Client) -> set[int]:
    views = [await client.call(node, "GET", "/v1/cluster") for node in client.cluster.nodes]
    return {view["term"] for _, view in views}


@in_loop
async def test_a_busy_http_side_costs_no_elections(cluster: RealCluster) -> None:
    """Large reads from sixty clients at the leader; in a thread beside the loop Raft starved."""
    async with Client(cluster) as client:
        await client.ready()
        for price in range(1, 200):
            assert (await client.place(cluster.nodes[0], "buy", price, 1))[0] == 201
        leader = await client.leader()
        for _ in range(WINDOWS_MAX):
            before, answered = await terms(client), await read_hard(client, leader)
            assert answered > 5 * READERS, "it was busy"
            if await terms(client) == before and len(before) == 1:
                return
        pytest.fail("there was an election in every window")


async def read_hard(client: Client, node: NodeProcess) -> int:
    until_s = time.monotonic() + WINDOW_S
    answered = 0

    async def reader() -> None:
        nonlocal answered
        while time.monotonic() < until_s:
            status, _ = await client.call(node, "GET", "/v1/markets/BTC-USD/book?depth=1000")
            assert status == 200
            answered += 1

    await asyncio.gather(*(reader() for _ in range(READERS)))
    return answered


class Flood:
    """Strangers in threads: each connects to a Raft port, talks nonsense and hangs up."""

    def __init__(self, node: NodeProcess, *, frames: int) -> None:
        self.sent = 0
        self._address = (node.host, node.raft_port)
        self._left = frames
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(FLOODERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, number: int) -> None:
        draw = random.Random(number)
        while self._left > 0:
            self._left -= 1
            junk = bytearray(draw.choice(FLOOD))
            junk[draw.randrange(len(junk))] ^= draw.randrange(256)
            try:
                with socket.create_connection(self._address, timeout=5) as stranger:
                    stranger.sendall(junk)
                    self.sent += 1
            except OSError:
                pass  # hung up on us first


@in_loop
async def test_a_flood_at_the_raft_port_changes_nothing(tmp_path: Path) -> None:
    """`RAFT_EXCHANGE_TEST_FLOOD` frames of nonsense at the leader, under load."""
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            trading = Trading(client)
            trading.start()
            leader = await client.leader()
            calm = await pace(trading)
            before, memory = await terms(client), memory_mib(leader)
            flood = Flood(leader, frames=size("FLOOD", 5_000))
            flood.start()
            paces = []
            while not flood.is_over:
                paces.append(await pace(trading))
            await trading.stop()
            assert flood.sent > size("FLOOD", 5_000) // 2
            assert memory_mib(leader) - memory < GROWTH_MIB_MAX
            assert await terms(client) == before, "nobody lost the lead"
            assert max(paces) > calm / 4, f"{paces} orders/s under the flood, {calm} before it"
            assert trading.count(Outcome.UNKNOWN) == 0
            views = await client.settled()
            assert len({view["state_hash"] for view in views}) == 1
            print(f"{flood.sent} frames; {calm:.0f} operations/s before, then {paces}")


async def pace(trading: Trading) -> float:
    began, began_s = len(trading.history), time.monotonic()
    await asyncio.sleep(1)
    return (len(trading.history) - began) / (time.monotonic() - began_s)
