"""Rounds of a workload, a nemesis and a checker on a real cluster (Jepsen's division)."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.support.namespaces import NamespacedCluster
from tests.support.nemeses import DISK_MIB, RESERVE_MIB, Battlefield, Nemesis, strike
from tests.support.processes import Client
from tests.support.small_disk import small_disks
from tests.support.trading import Outcome, Trading
from tests.support.verdict import judge, judge_order_in_time

SNAPSHOT_ENTRIES = 500
CALM_S = 0.7
CALL_S = 0.05


class Tally(msgspec.Struct):
    """What happened in all rounds so far."""

    rounds: Counter[str] = msgspec.field(default_factory=Counter)
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    problems: Counter[str] = msgspec.field(default_factory=Counter)
    whole_again_s: list[float] = msgspec.field(default_factory=list)


async def fight(
    folder: Path,
    nemeses: Sequence[Nemesis],
    *,
    seed: int,
    tally: Tally,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """One cluster lives through one round of each nemesis, in turn; then everything is judged.

    Snapshots are small and frequent, so that every fault also meets one.
    """
    settings = {"snapshot_entries": SNAPSHOT_ENTRIES, "disk_reserve_mib": RESERVE_MIB}
    made = NamespacedCluster(folder, settings=settings)
    with small_disks([node.folder for node in made.nodes], mib=DISK_MIB), made as cluster:
        async with Client(cluster) as client:
            await client.ready()
            trading = Trading(client, seed=seed)
            trading.start()
            field = Battlefield(cluster, client, seed)
            try:
                for nemesis in nemeses:
                    await asyncio.sleep(CALM_S)
                    took_s = await strike(nemesis, field)
                    tally.rounds[nemesis.__name__] += 1
                    tally.whole_again_s.append(took_s)
                    tell(f"{nemesis.__name__}: whole again after {took_s:.2f} s")
                await asyncio.sleep(CALM_S)
            finally:
                await trading.stop()
            views = await client.settled()
            assert len({view["state_hash"] for view in views}) == 1, views
        for node in cluster.nodes:
            code = await asyncio.to_thread(cluster.terminate, node)
            assert code == 0, f"{node.name} exited with {code}:\n{node.log}"
        judge(cluster.nodes, trading.history, views[0])
        judge_order_in_time(trading.history)
        tally.problems += trading.problems
        for outcome in Outcome:
            tally.outcomes[outcome.value] += trading.count(outcome)


def run_rounds(
    nemeses: Sequence[Nemesis],
    rounds: int,
    *,
    per_cluster: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Tally:
    """Run so many rounds, the nemeses in turn, on a new cluster every `per_cluster` rounds."""
    tally = Tally()
    turns = itertools.islice(itertools.cycle(nemeses), rounds)
    for number in itertools.count():
        chosen = list(itertools.islice(turns, per_cluster))
        if not chosen:
            return tally
        with tempfile.TemporaryDirectory(prefix="rounds-") as folder:
            asyncio.run(fight(Path(folder), chosen, seed=seed + number, tally=tally, tell=tell))
        tell(f"{tally.rounds.total()} rounds judged: {dict(tally.outcomes)}")
    raise AssertionError("unreachable")
