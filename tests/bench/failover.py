"""How long nobody can trade when the leader goes: `python -m tests.bench.failover --trials 100`.

Three nodes under load from clients at all of them. With `kill` the leader gets kill -9: printed
is the time from there to the first acceptance of an order that was sent afterwards. With `stop` it
gets SIGTERM and hands over: printed are the longest time between two acceptances and every request
that failed; a connection that was refused is none, since nothing was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.trading import Outcome, Trading

CALM_S = 1.0
WATCH_S = 2.5


async def kill(client: Client, leader: NodeProcess, trading: Trading) -> float:
    """Return the seconds from the kill to an order accepted that was sent after it."""
    killed_s = time.monotonic()
    client.cluster.kill(leader)
    while True:
        for operation in reversed(trading.history):
            if operation.invoked_s < killed_s:
                break
            if operation.order is not None and operation.outcome is Outcome.OK:
                assert operation.completed_s is not None
                return operation.completed_s - killed_s
        assert time.monotonic() < killed_s + 30, "nobody leads"
        await asyncio.sleep(0.001)


async def stop(client: Client, leader: NodeProcess, trading: Trading) -> float:
    """Return the longest time without an accepted order around a hand-over."""
    began_s = time.monotonic()
    assert leader.process is not None
    leader.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(WATCH_S)
    code = await asyncio.to_thread(leader.process.wait, 30)
    assert code == 0, leader.log
    leader.process = None
    moments_s = sorted(
        operation.completed_s
        for operation in trading.history
        if operation.order is not None
        and operation.completed_s is not None
        and operation.completed_s > began_s - CALM_S / 2
    )
    return max(b - a for a, b in itertools.pairwise(moments_s))


async def run(folder: Path, how: str, trials: int, clients: int) -> None:
    took_s = []
    with RealCluster(folder) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            trading = Trading(client, clients=clients)
            trading.start()
            for _ in range(trials):
                await asyncio.sleep(CALM_S)
                leader = await client.leader()
                measure = kill if how == "kill" else stop
                took_s.append(await measure(client, leader, trading))
                cluster.start(leader)
                await client.ready()
            await trading.stop()
    report(how, took_s, trading)


def report(how: str, took_s: Sequence[float], trading: Trading) -> None:
    ordered = sorted(1_000 * each for each in took_s)
    share = {p: ordered[min(len(ordered) - 1, int(len(ordered) * p))] for p in (0.5, 0.9, 0.99)}
    what = "kill -9 to accepted again" if how == "kill" else "longest gap around a SIGTERM"
    load = ", ".join(f"{o.value} {trading.count(o)}" for o in Outcome)
    print(
        f"{what}, {len(ordered)} trials: p50 {share[0.5]:.0f} ms, p90 {share[0.9]:.0f} ms, "
        f"p99 {share[0.99]:.0f} ms, max {ordered[-1]:.0f} ms\n"
        f"operations: {load}; requests that failed: {dict(trading.problems)}\n"
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.failover", description=__doc__)
    parser.add_argument("--how", choices=("kill", "stop"), default="kill")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--clients", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="failover-") as folder:
        asyncio.run(run(Path(folder), arguments.how, arguments.trials, arguments.clients))


if __name__ == "__main__":
    main()
