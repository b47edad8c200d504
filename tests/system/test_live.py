"""Live views and the examples on real clusters, whose nodes go away while they are read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raft_exchange import examples
from raft_exchange.client import (
    BookUpdate,
    ExchangeClient,
    ExchangeClientSync,
    FollowedBook,
    NewOrder,
    Resync,
    TradesUpdate,
)
from tests.support.coroutines import eventually, in_loop
from tests.support.node_modules import node_environment
from tests.support.processes import Client, RealCluster
from tests.support.pseudo_terminal import on_terminal

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PROGRAM = [sys.executable, "-m", "raft_exchange"]
ORDERS = 400
EXAMPLES = Path(examples.__file__).parent


@in_loop
async def ready(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()


def order(side: Any, price: object, quantity: object = 1) -> NewOrder:
    return NewOrder(market="BTC-USD", side=side, price=str(price), quantity=str(quantity))


class Reader:
    """Folds a stream; the book raises when an update is missing or its checksum differs."""

    def __init__(self) -> None:
        self.book = FollowedBook()
        self.trades: list[str] = []
        self.resyncs: list[Resync] = []

    async def read(self, client: ExchangeClient) -> None:
        async for update in client.stream(["book:BTC-USD", "trades:BTC-USD"]):
            match update:
                case BookUpdate():
                    self.book.apply(update)
                case TradesUpdate():
                    self.trades += (trade.trade_id for trade in update.trades)
                case Resync():
                    self.resyncs.append(update)


@in_loop
async def test_a_reader_misses_and_repeats_nothing_when_its_node_is_killed(
    cluster: RealCluster,
) -> None:
    """Its book, folded from updates alone, is the exchange's; every trade is told once."""
    async with Client(cluster) as http:
        await http.ready()
    first, *others = cluster.nodes
    urls = [node.url for node in others]
    reader = Reader()
    async with (
        ExchangeClient([first.url, *urls], patience_s=60) as reading,
        ExchangeClient(urls, patience_s=60) as trader,
    ):
        task = asyncio.create_task(reader.read(reading))
        traded = 0
        for n in range(ORDERS):
            placed = await trader.place_order(order("sell" if n % 3 else "buy", 100 + n * 7 % 11))
            traded += len(placed.trades)
            if n == ORDERS // 4:
                await eventually(lambda: len(reader.trades) > 10)
                cluster.kill(first)
        await eventually(lambda: len(reader.trades) >= traded or task.done())
        shown = await trader.get_book("BTC-USD", depth=1000)
        await eventually(lambda: reader.book.checksum() == shown.checksum or task.done())
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert not reader.resyncs
    assert reader.trades == [str(n) for n in range(1, traded + 1)]
    assert (reader.book.bids, reader.book.asks) == (shown.bids, shown.asks)


def test_watch_draws_the_market_and_outlives_its_nodes(cluster: RealCluster) -> None:
    """It goes on at the node that is left, and without any waits until one is back."""
    ready(cluster)
    first, second, _ = cluster.nodes
    watch = [*PROGRAM, "watch", "--timeout", "1", "--url", f"{first.url},{second.url}"]
    with on_terminal(*watch) as terminal, ExchangeClientSync(second.url, patience_s=60) as client:
        terminal.wait_for("the book is empty")
        client.place_orders([order("buy", "99.5"), order("sell", "100.75", 2)])
        at = terminal.wait_for("spread 1.25")
        assert first.url in terminal.screen
        cluster.kill(first)
        client.place_order(order("buy", "100.75", "0.5"))
        terminal.wait_for("volume 0.5", after=at)
        at = terminal.wait_for("1.5", after=at)
        at = terminal.wait_for(second.url, after=at)
        cluster.kill(second)
        at = terminal.wait_for("nothing new for 4 s", after=at)
        cluster.start(second)
        client.place_order(order("sell", "100.5", "0.25"))
        terminal.wait_for("spread 1.0", after=at)
        terminal.press(b"\x03")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.screen


def test_watch_prints_json_lines_for_programs(cluster: RealCluster) -> None:
    ready(cluster)
    watch = [*PROGRAM, "watch", "--json", "--url", cluster.urls[0]]
    with running(*watch) as process:
        assert process.stdout is not None
        snapshot = json.loads(process.stdout.readline())
        assert (snapshot["type"], snapshot["bids"]) == ("snapshot", [])
    refused = subprocess.run(
        [*PROGRAM, "watch", "--url", cluster.urls[0]], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "--json" in refused.stderr
    unknown = subprocess.run(
        [*watch, "--market", "NO-SUCH"], capture_output=True, text=True, timeout=60
    )
    assert unknown.returncode == 1
    assert "unknown_market" in unknown.stderr


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=120)


def test_the_market_maker_and_the_stream_reader_see_the_trades_they_should(
    cluster: RealCluster,
) -> None:
    ready(cluster)
    example = [sys.executable, "-m"]
    reader = [*example, "raft_exchange.examples.stream_reader", *cluster.urls]
    maker = [*example, "raft_exchange.examples.market_maker", *cluster.urls]
    with running(*reader) as reading, running(*maker) as making:
        assert reading.stdout is not None
        assert making.stdout is not None
        lines = iter(reading.stdout.readline, "")
        assert any("1 at 99.5, 1 at 100.5" in line for line in lines)
        with ExchangeClientSync(cluster.urls[-1], account="taker") as client:
            placed = client.place_order(NewOrder(market="BTC-USD", side="buy", quantity=1))
            assert [trade.price for trade in placed.trades] == [100.5]
            assert making.stdout.readline() == "sell 1 at 100.5\n"
            assert any(line == "trade 1: 1 at 100.5\n" for line in lines)
            assert any("1 at 100, 1 at 101" in line for line in lines)
            placed = client.place_order(NewOrder(market="BTC-USD", side="sell", quantity=1))
            assert [trade.price for trade in placed.trades] == [100]
            assert making.stdout.readline() == "buy 1 at 100\n"


@pytest.mark.interop
def test_the_node_js_example_trades(cluster: RealCluster) -> None:
    ready(cluster)
    grape = f"http://127.0.0.1:{cluster.nodes[1].grape_http_port}"
    command = ["node", str(EXAMPLES / "grenache_client.js"), grape]
    environment = node_environment()
    said = ""
    for _ in range(20):  # the service is announced a moment after the node is ready
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        said = done.stdout
        if done.returncode == 0:
            break
        assert "LOOKUP_EMPTY" in done.stderr, done.stderr
    told = json.loads(said)
    assert [(t["price"], t["quantity"]) for t in told["trades"]] == [("100.25", "0.2")]
    with ExchangeClientSync(cluster.urls) as client:
        (trade,) = client.get_trades("BTC-USD")
        assert trade.maker_order_id == told["maker"]["order_id"]
        assert str(client.get_book("BTC-USD").asks[0].quantity) == told["ask"]["quantity"] == "0.3"


def demo_command(*more: str) -> list[str]:
    """The demo on ports below those that the kernel gives to outgoing connections."""
    candidates = range(21_000, 29_000, 20)
    begin = os.getpid() % len(candidates)
    for first in (*candidates[begin:], *candidates[:begin]):
        if all(_is_free(port) for port in range(first, first + 20)):
            names = ("http", "raft", "dht", "grape-http", "pubsub")
            ports = [(f"--{name}-port", str(first + 4 * n)) for n, name in enumerate(names)]
            return [*PROGRAM, "demo", *(text for port in ports for text in port), *more]
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_the_demo_trades_at_every_node_and_all_agree() -> None:
    done = subprocess.run(
        demo_command("--seconds", "3", "--rate", "20"), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done
    assert done.stdout.endswith("All nodes agree.\n")
    told = [line for line in done.stdout.splitlines() if line.startswith("trader-")]
    orders = [int(line.split(": ")[1].split()[0]) for line in told if " at http" in line]
    assert len(orders) == 3
    assert all(count > 5 for count in orders)
    assert all(line.endswith("0 not placed") for line in told if " at http" in line)


def test_the_demo_draws_on_a_terminal_and_ends_at_ctrl_c() -> None:
    with on_terminal(*demo_command("--rate", "20")) as terminal:
        terminal.wait_for("spread")
        terminal.wait_for("trader-3 at http")
        terminal.press(b"\x03")
        assert terminal.end() == 0
        assert "All nodes agree." in terminal.screen
        assert "Traceback" not in terminal.screen
