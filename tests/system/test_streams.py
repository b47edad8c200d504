"""Readers of streams cost the others little, and one that stands still nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.stream_reader import BookReader, EventReader, event_reader
from tests.system.conftest import size

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent.parent
MARKET = "BTC-USD"
BOOK = f"/v1/stream?channels=book:{MARKET}"
CHANNELS = f"book:{MARKET},trades:{MARKET},ticker:{MARKET},candles:{MARKET}:1m"
EVERYTHING = (
    CHANNELS + "".join(f",candles:{MARKET}:{i}" for i in ("5m", "15m", "1h", "1d")) + ",orders"
)
READERS = size("STREAM_READERS", 10)
ALTERNATIONS = size("STREAM_ALTERNATIONS", 1)
SECONDS = size("STREAM_SECONDS", 2)
RATE = 200
RESTING = 4_000


@contextmanager
def readers(node: NodeProcess, path: str, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.system.stream_readers", str(node.http_port), path]
    process = subprocess.Popen(
        [*command, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "reading\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    out, _ = process.communicate(input="", timeout=30)
    found: dict[str, object] = json.loads(out)
    return found


async def offer(client: Client, nodes: list[NodeProcess], seconds: float) -> list[float]:
    """Offer `RATE` orders a second, whatever becomes of them; return milliseconds of each."""
    rng = random.Random(1)
    latencies: list[float] = []

    async def one(number: int) -> None:
        side = rng.choice(("buy", "sell"))
        started_s = time.perf_counter()
        status, _ = await client.place(
            nodes[number % len(nodes)], side, f"{rng.randrange(9_500, 10_500) / 100:.2f}", 1
        )
        assert status == 201
        latencies.append((time.perf_counter() - started_s) * 1_000)

    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with asyncio.TaskGroup() as orders:
        for number in range(int(RATE * seconds)):
            await asyncio.sleep(max(0.0, begun_s + number / RATE - loop.time()))
            orders.create_task(one(number))
    return latencies


def p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]


async def cut_off(client: Client, node: NodeProcess) -> int:
    async with client._session.get(f"{node.url}/metrics") as answer:
        text = await answer.text()
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("raft_exchange_stream_readers_cut_off_total")
    ]
    return int(float(line.split()[-1]))


@pytest.mark.timeout(900)
@in_loop
async def test_orders_do_not_wait_for_readers_and_a_frozen_one_is_cut_off(tmp_path: Path) -> None:
    """`RAFT_EXCHANGE_TEST_STREAM_READERS=200`, `…_ALTERNATIONS=11`: the figure in DESIGN.md."""
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            node = await client.leader()
            await offer(client, cluster.nodes, 2)
            without, beside = [], []
            for _ in range(ALTERNATIONS):
                without.append(p99(await offer(client, cluster.nodes, SECONDS)))
                before = await cut_off(client, node)
                with (
                    readers(node, f"/v1/stream?channels={CHANNELS}", READERS) as reading,
                    readers(node, f"/v1/stream?channels={EVERYTHING}", 1) as frozen,
                ):
                    os.kill(frozen.pid, signal.SIGSTOP)
                    beside.append(p99(await offer(client, cluster.nodes, SECONDS)))
                    deadline_s = time.monotonic() + 90
                    while await cut_off(client, node) == before:
                        assert time.monotonic() < deadline_s, "the frozen reader is still there"
                        await offer(client, cluster.nodes, 1)
                    found = finish(reading)
                    assert (found["ended"], found["faults"]) == (0, [])
                    os.kill(frozen.pid, signal.SIGCONT)
            medians = statistics.median(without), statistics.median(beside)
            print(
                f"p99 of an order at {RATE} orders/s offered: {medians[0]:.1f} ms without readers, "
                f"{medians[1]:.1f} ms beside {READERS} and a frozen one; each {without} {beside}"
            )
            if ALTERNATIONS >= 5:
                assert medians[1] <= 1.5 * medians[0]


@pytest.mark.timeout(300)
@in_loop
async def test_a_reader_of_events_does_not_bring_the_exchange_to_a_stop(tmp_path: Path) -> None:
    """The seed managed 59 orders a second at 4,000 resting orders."""
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            node = await client.leader()
            await rest(client, node)
            with readers(node, "/events", 1) as reading:
                url = ",".join(n.url for n in cluster.nodes)
                command = [sys.executable, "-m", "raft_exchange", "bench", "--url", url]
                bench = await asyncio.create_subprocess_exec(
                    *command, "--seconds", str(SECONDS), stdout=asyncio.subprocess.PIPE
                )
                out, _ = await bench.communicate()
                found = finish(reading)
            print(out.decode(), found)
            assert found["faults"] == []
            assert int(str(found["bytes"])) > 100 * RESTING
            if size("STREAM_SECONDS", 0):
                assert int(out.decode().split(" ")[0].replace(",", "")) >= 590


async def rest(client: Client, node: NodeProcess) -> None:
    """Fill the book with orders that the bench's, from 95 to 105, never reach."""
    for begin in range(0, RESTING, 500):
        orders = [
            {
                "market": MARKET,
                "type": "limit",
                "quantity": "1",
                "side": "buy" if number % 2 else "sell",
                "price": f"{50 - number / 100:.2f}" if number % 2 else f"{150 + number / 100:.2f}",
            }
            for number in range(begin, begin + 500)
        ]
        status, _ = await client.call(node, "POST", "/v1/orders/batch", {"orders": orders})
        assert status == 200


@pytest.mark.timeout(240)
@in_loop
async def test_a_reader_of_a_killed_node_goes_on_at_another_which_says_when_it_stops(
    tmp_path: Path,
) -> None:
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            first, second, third = cluster.nodes
            book = BookReader()
            async with event_reader(first.http_port, BOOK) as reader:
                position = await read_on(client, third, reader, book, first_price=1)
            cluster.kill(first)
            path = f"{BOOK}&from_sequence={position}"
            async with event_reader(second.http_port, path) as reader:
                await read_on(client, third, reader, book, first_price=11)
                assert [row[0] for row in book.levels("bids")] == ["13", "12", "11", "3", "2", "1"]
                assert await asyncio.to_thread(cluster.terminate, second) == 0
                types = []
                while (event := await reader.next()) is not None:
                    types.append(event.data["type"])
                assert types[-1] == "going_away"


async def read_on(
    client: Client,
    place_at: NodeProcess,
    reader: EventReader,
    book: BookReader,
    *,
    first_price: int,
) -> int:
    """Place three orders elsewhere and read until they are seen; return the last id."""
    for price in range(first_price, first_price + 3):
        status, placed = await client.place(place_at, "buy", price, 1)
        assert status == 201
    position = 0
    while book.sequence is None or book.sequence < placed["sequence"]:
        (event,) = await reader.take(1)
        if event.kind == "book":
            assert (event.data["type"] == "snapshot") == (book.sequence is None)
            book.take(event.data)
        position = event.id or position
    return position
