"""Everybody killed: how long until they trade again: `python -m tests.bench.restart`.

The log has so many entries of one order each; snapshots stand for some of them as the default has
it, or for none with `--replay-all`. Three nodes get kill -9 under load at the same moment and are
started again at once; printed is the time from their start to the first acceptance of an order,
and to the readiness of all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

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
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import NO_OP, REGULAR
from raft_exchange.raft.snapshots import Pace
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.codec import RELEASE, Batch, Request, encode_batch
from raft_exchange.sequencer.notices import Reads, Roster
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.trading import ERRORS, Trading

OPENING = 3
"""The entry that opens the market; one order in each entry after it."""
SLOWEST_PER_S = 500
"""A machine on which the nodes replay fewer entries a second than that is broken."""
MARKET = MarketRules(
    *("BTC-USD", "BTC", "USD", 10**16, 10**10, 1, 10**15, 1, 10**18, 0),
    SelfTradePrevention.NONE,
)


def write_log(folder: Path, entries: int) -> None:
    """Write the journal of a node that has sequenced so many single orders.

    A cluster begins in version 1 and goes to the newest as soon as all its members say that they
    read it; this log begins with that, so that its orders are of the version that clusters run.
    """
    first, newest = ReplicatedState().version, RELEASE.newest
    said = Batch("", 0, 0, [], (Roster(("bench",)), Reads("bench", newest)))
    draw = random.Random(1)
    folder.mkdir(parents=True)
    journal = Journal(Directory.ensure(folder / "journal"))
    journal.setCurrentTerm(1, None)
    journal.add(NO_OP, 1, 1)
    journal.add(REGULAR + encode_batch(said, time_us=10**15, version=first), 2, 1)
    for index in range(OPENING, entries + 1):
        batch = Batch("bench", 1, index - OPENING + 1, _requests(index, draw))
        journal.add(REGULAR + encode_batch(batch, time_us=10**15 + index), index, 1)
    journal.setRaftCommitIndex(entries)
    journal.close()


def _requests(index: int, draw: random.Random) -> list[Request]:
    if index == OPENING:
        opening: list[Command] = [CreateMarket(MARKET), CreateAccount("anonymous")]
        return [Request(command) for command in opening]
    terms = (draw.choice(list(Side)), OrderType.LIMIT, TimeInForce.GTC)
    amounts = (draw.randrange(9_500, 10_500), draw.randrange(1, 1_000))
    order = PlaceOrder("anonymous", "BTC-USD", *terms, *amounts, 0, False, None, "")
    return [Request(order, f"written-{index}")]


async def trial(cluster: RealCluster, client: Client, seed: int) -> tuple[float, float]:
    """Kill and start everybody; return the seconds to an accepted order and to readiness."""
    trading = Trading(client, seed=seed)
    trading.start()
    await asyncio.sleep(1)
    for node in cluster.nodes:
        cluster.kill(node)
    await trading.stop()
    began_s = time.monotonic()
    for node in cluster.nodes:
        cluster.start(node)
    while not await _is_taken(client, cluster):
        for node in cluster.nodes:
            node.assert_running()
        assert time.monotonic() < began_s + client.ready_s_max, "no order is accepted"
        await asyncio.sleep(0.01)
    accepted_s = time.monotonic() - began_s
    await client.ready()
    return accepted_s, time.monotonic() - began_s


async def _is_taken(client: Client, cluster: RealCluster) -> bool:
    try:
        status, _ = await client.place(cluster.nodes[0], "buy", 1, 1)
    except ERRORS:
        return False
    return status == 201


async def until_snapshots(client: Client, cluster: RealCluster, entries: int) -> None:
    """Wait until each node has written the last snapshot that its log asks for."""
    for place, node in enumerate(cluster.nodes):  # as their ids are sorted, which begin with names
        pace = Pace(place=place, members=len(cluster.nodes))
        deadline_s = time.monotonic() + client.ready_s_max
        while pace.is_due((await _snapshot_index(client, node), 0), (entries, 0)):
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)


async def _snapshot_index(client: Client, node: NodeProcess) -> int:
    index: int = (await client.call(node, "GET", "/v1/cluster"))[1]["snapshot_index"]
    return index


async def run(
    folder: Path, entries: int, trials: int, *, replay_all: bool
) -> list[tuple[float, float]]:
    settings = {"snapshot_entries": 10_000_000} if replay_all else {}
    cluster = RealCluster(folder, settings=settings)
    for node in cluster.nodes:
        node.folder.rmdir()
        write_log(node.folder, entries)
    with cluster:
        async with Client(cluster, ready_s_max=60 + entries / SLOWEST_PER_S) as client:
            await client.ready()
            if not replay_all:
                await until_snapshots(client, cluster, entries)
            return [await trial(cluster, client, number) for number in range(trials)]


def main(given: Sequence[str] | None = None) -> float:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restart", description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--replay-all", action="store_true", help="write no snapshots")
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="restart-") as folder:
        found = asyncio.run(
            run(
                Path(folder),
                arguments.entries,
                arguments.trials,
                replay_all=arguments.replay_all,
            )
        )
    accepted_s, ready_s = (statistics.median(figures) for figures in zip(*found, strict=True))
    print(
        f"kill -9 of all three with {arguments.entries:,} single-order entries, "
        f"{'no' if arguments.replay_all else 'default'} snapshots, "
        f"{arguments.trials} trials: accepted again after {accepted_s:.2f} s "
        f"(longest {max(a for a, _ in found):.2f}), all ready after {ready_s:.2f} s (medians); "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )
    return accepted_s


if __name__ == "__main__":
    main()
