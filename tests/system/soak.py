"""Feeds a real cluster for a long time and prints what it costs: `python -m tests.system.soak`.

Every few seconds a line: entries, memory and disk of each node, latencies since the line before.
Memory and disk must stay flat. With `--resting N` the nodes begin with N resting orders, from a
snapshot made by the state machine itself; with `--rate` the load is open-loop, so that a pause of
the cluster shows in every order that was due meanwhile. `--orders 43200000` is a day at 500/s;
with `--batch` so many orders go in one request, and with `--history off` the nodes keep none, which
for a day of trades would take more disk than all the rest. At the end: how much of a day it was,
and by how much memory and disk grew since the first tenth of it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from raft_exchange import collector
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.limits import ORDERS_PER_MARKET_MAX
from raft_exchange.matching.messages import (
    Command,
    CreateAccount,
    CreateMarket,
    MarketRules,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.raft.entries import Position
from raft_exchange.raft.snapshot_file import encode, header_of
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.codec import Batch, Request, encode_batch
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.trading import ERRORS

ACCOUNTS = 10
ORDERS_AN_ENTRY = 100
RESTING_MAX = ORDERS_PER_MARKET_MAX - 10_000
"""A full market refuses; there is room left for the orders that are measured."""
ORDERS_A_DAY = 24 * 60 * 60 * 500
BUY_TICKS = range(5_000, 9_000)
SELL_TICKS = range(11_000, 15_000)
MARKET = MarketRules(
    *("BTC-USD", "BTC", "USD", 10**16, 10**10, 1, 10**15, 1, 10**18, 0),
    SelfTradePrevention.NONE,
)


def write_resting(folder: Path, orders: int) -> None:
    """Write a snapshot of an exchange with so many resting orders."""
    draw = random.Random(1)
    replica = Replica(ReplicatedState(), MarketData(), on_applied=lambda applied: None)
    opening: list[Command] = [CreateMarket(MARKET)]
    opening += [CreateAccount(f"a{number}") for number in range(ACCOUNTS)]
    index = log_bytes = 0
    with collector.at_rest():
        while opening:
            index += 1
            requests = [Request(command) for command in opening]
            entry = encode_batch(
                Batch("soak", 1, index, requests),
                time_us=10**15 + index,
                version=replica.state.version,
            )
            log_bytes += len(entry)
            replica.apply(index, 1, entry)
            left = orders - len(replica.state.exchange.live.by_id)
            opening = [_resting(draw) for _ in range(min(left, ORDERS_AN_ENTRY))]
    store = SnapshotStore(Directory.ensure(folder), cluster="exchange")
    file, offset = store.create("soak"), 0
    image = replica.capture()
    header = header_of(
        image,
        cluster="exchange",
        at=Position(index, 1),
        log_bytes=log_bytes,
        configuration=None,  # the founders'
    )
    for piece in encode(header, image.sections):
        store.directory.write(file, piece, offset)
        offset += len(piece)
    store.adopt("soak")


def _resting(draw: random.Random) -> PlaceOrder:
    side = draw.choice(list(Side))
    price_ticks = draw.choice(BUY_TICKS if side is Side.BUY else SELL_TICKS)
    terms = (side, OrderType.LIMIT, TimeInForce.GTC, price_ticks, draw.randrange(1, 10**9))
    return PlaceOrder(f"a{draw.randrange(ACCOUNTS)}", "BTC-USD", *terms, 0, False, None, "")


class Soak:
    """The load and what it measures. Orders come in pairs that trade, so the books stay as big."""

    def __init__(self, client: Client, arguments: argparse.Namespace) -> None:
        self.client = client
        self.arguments = arguments
        self.latencies_ms: list[float] = []
        self.statuses: Counter[int | str] = Counter()
        self.until_s = time.monotonic() + arguments.seconds
        self.orders = 0
        self.costs: list[tuple[float, float]] = []  # memory and disk of all nodes at each line
        self._numbers = itertools.count()

    async def run(self) -> None:
        load = self._open_loop() if self.arguments.rate else self._closed_loop()
        printing = asyncio.create_task(self._print())
        await load
        await printing

    @property
    def _is_over(self) -> bool:
        is_enough = bool(self.arguments.orders) and self.orders >= self.arguments.orders
        return is_enough or time.monotonic() >= self.until_s

    async def _place(self, node: NodeProcess) -> None:
        orders = [self._order() for _ in range(self.arguments.batch)]
        began_s = time.perf_counter()
        path = "/v1/orders" if len(orders) == 1 else "/v1/orders/batch"
        body = orders[0] if len(orders) == 1 else {"orders": orders}
        try:
            status, _ = await self.client.call(node, "POST", path, body)
        except ERRORS as error:  # a starved machine ends no run of hours; the last line tells
            self.statuses[type(error).__name__] += 1
            return
        self.latencies_ms.append(1_000 * (time.perf_counter() - began_s))
        self.statuses[status] += 1
        self.orders += len(orders) * (status in (200, 201))

    def _order(self) -> dict[str, str]:
        side = "buy" if next(self._numbers) % 2 else "sell"
        return {"market": "BTC-USD", "side": side, "type": "limit", "price": "100", "quantity": "1"}

    async def _closed_loop(self) -> None:
        async def trader(node: NodeProcess) -> None:
            while not self._is_over:
                await self._place(node)

        nodes = itertools.cycle(self.client.cluster.nodes)
        count = self.arguments.clients
        await asyncio.gather(*(trader(node) for node, _ in zip(nodes, range(count), strict=False)))

    async def _open_loop(self) -> None:
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                due_s = began_s + number / self.arguments.rate
                if due_s > self.until_s or self._is_over:
                    return
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                tasks.create_task(self._place(self.client.cluster.nodes[number % 3]))

    async def _print(self) -> None:
        before = 0
        while not self._is_over:
            await asyncio.sleep(self.arguments.every)
            nodes = self.client.cluster.nodes
            self.costs.append((sum(map(memory_mib, nodes)), sum(map(disk_mib, nodes))))
            node = self.client.cluster.nodes[0]
            view = (await self.client.call(node, "GET", "/v1/cluster"))[1]
            taken, self.latencies_ms = sorted(self.latencies_ms), []
            accepted, before = self.orders - before, self.orders
            if not taken:
                continue
            share = [taken[min(len(taken) - 1, int(len(taken) * s))] for s in (0.5, 0.99, 1)]
            print(
                f"entry {view['applied_index']:>8}  snapshot {view['snapshot_index']:>8}  "
                f"{accepted / self.arguments.every:6.0f}/s  "
                f"p50 {share[0]:6.1f}  p99 {share[1]:6.1f}  max {share[2]:6.1f} ms  "
                f"memory {_each(self.client.cluster, memory_mib)} MiB  "
                f"disk {_each(self.client.cluster, disk_mib)} MiB",
                flush=True,
            )

    def report(self) -> str:
        """Say how much of a day it was, and whether memory and disk stayed flat."""
        share = 100 * self.orders / ORDERS_A_DAY
        first, last = self.costs[len(self.costs) // 10], self.costs[-1]
        return (
            f"{self.orders:,} orders, {share:.1f} % of a day at 500/s; of all nodes together since "
            f"the first tenth: memory {first[0]:.0f} -> {last[0]:.0f} MiB, "
            f"disk {first[1]:.0f} -> {last[1]:.0f} MiB"
        )


def _each(cluster: RealCluster, measure: object) -> str:
    return "/".join(f"{measure(node):.0f}" for node in cluster.nodes)  # type: ignore[operator]


def memory_mib(node: NodeProcess) -> float:
    """The node's resident memory, without a child that writes a snapshot."""
    assert node.process is not None
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * 4_096 / 1024**2


def disk_mib(node: NodeProcess) -> float:
    """What the node's folder takes, without its text log and the history of trades.

    The history grows with the trades: how long they are kept is its own setting.
    """
    kept = (path for path in node.folder.rglob("*") if not path.name.startswith("history."))
    files = [path for path in kept if path.suffix != ".log"]
    return sum(path.stat().st_blocks * 512 for path in files if path.is_file()) / 1024**2


async def soak(folder: Path, arguments: argparse.Namespace) -> None:
    settings = {"snapshot_entries": arguments.snapshot_entries, "history": arguments.history}
    cluster = RealCluster(folder, settings=settings)
    if arguments.resting:
        write_resting(folder / "resting", arguments.resting)
        for node in cluster.nodes:
            shutil.copytree(folder / "resting", node.folder / "snapshots")
    began_s = time.monotonic()
    with cluster:
        # All nodes restore at once, on one machine.
        async with Client(cluster, ready_s_max=300) as client:
            await client.ready()
            print(f"ready after {time.monotonic() - began_s:.1f} s")
            load = Soak(client, arguments)
            with collector.at_rest():  # the measuring side pauses for nobody either
                await load.run()
            print(load.report())
            print(dict(load.statuses), "hashes", {v["state_hash"] for v in await client.settled()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=10, help="seconds between lines")
    parser.add_argument("--orders", type=int, default=0, help="end after so many")
    parser.add_argument("--batch", type=int, default=1, help="orders in each request")
    parser.add_argument("--clients", type=int, default=24, help="closed loop")
    parser.add_argument("--rate", type=float, default=0, help="orders a second, open loop")
    parser.add_argument("--resting", type=int, default=0, help="resting orders to begin with")
    parser.add_argument("--snapshot-entries", type=int, default=5_000)
    parser.add_argument("--history", choices=("on", "off"), default="on")
    arguments = parser.parse_args()
    if arguments.resting > RESTING_MAX:
        parser.error(f"--resting: {arguments.resting}; allowed: up to {RESTING_MAX}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        asyncio.run(soak(Path(folder), arguments))


if __name__ == "__main__":
    main()
