"""The power goes at any moment of a real node's life: what it acknowledged is there afterwards.

A node of a group of one trades, writes snapshots, is killed and started again, while every call
it makes to the system is recorded. Then, for each step of that record, a folder is made as a power
cut at that moment could leave it, and opened by the code that opens it in production. A group of
one has nobody to ask: whatever is missing is lost.

`RAFT_EXCHANGE_TEST_CUTS` of the steps are tried (all where 0), each with several kinds of luck.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raft_exchange.marketdata.view import MarketData
from raft_exchange.raft.identity import IdentityFile
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import REGULAR
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.coroutines import in_loop
from tests.support.disk_trace import STRACE, Answered, Step, TracedDisk, steps_of, strace_missing
from tests.support.inline_writer import InlineWriter
from tests.support.processes import Client, RealCluster
from tests.system.conftest import size

pytestmark = [
    pytest.mark.system,
    pytest.mark.chaos,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif(strace_missing(), reason="needs strace"),
]

SNAPSHOT_ENTRIES = 40
ORDERS_A_LIFE = 150
LIVES = 3
LUCKS = 4
CUTS_DEFAULT = 6


class Trace:
    """One recorded life; recorded once for all tests."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.cuts = [n for n, step in enumerate(steps) if not isinstance(step, Answered)]
        self.cuts.append(len(steps))


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    folder = tmp_path_factory.mktemp("traced")
    record(folder)
    return Trace(steps_of(folder / "trace", folder / "n1"))


@in_loop
async def record(folder: Path) -> None:
    cluster = RealCluster(folder, nodes=1, settings={"snapshot_entries": SNAPSHOT_ENTRIES})
    (node,) = cluster.nodes
    node.launcher = [*STRACE, "-o", str(folder / "trace")]
    labels = itertools.count()

    async def trade(client: Client, orders: int) -> None:
        for number in range(orders):
            label = f"order-{next(labels)}"
            status, _ = await client.place(node, "buy", 1 + number, 1, client_order_id=label)
            assert status == 201

    with cluster:
        for life in range(LIVES):
            async with Client(cluster) as client:
                await client.ready()
                async with asyncio.TaskGroup() as traders:
                    for _ in range(3):
                        traders.create_task(trade(client, ORDERS_A_LIFE // 3))
                # The tracer has seen the end of the last answer when the node did one thing more.
                assert (await client.call(node, "GET", "/livez"))[0] == 200
            if life < LIVES - 1:
                cluster.kill(node)
                cluster.start(node)
        assert cluster.terminate(node) == 0
    await until_written_out(folder)


async def until_written_out(folder: Path) -> None:
    """The tracer ends a moment after what it traces."""
    deadline_s = time.monotonic() + 30
    while not all(path.read_text().endswith("+++\n") for path in folder.glob("trace.*")):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


def recovered_labels(folder: Path) -> set[str]:
    """Open a data folder as a node does; return the labels of all orders it then knows."""
    IdentityFile.open(folder, cluster="exchange", name="n1", node_id="n1", now_us=0)
    journal = Journal(Directory.ensure(folder / "journal"))
    try:
        replica = Replica(ReplicatedState(), MarketData(), on_applied=lambda applied: None)
        snapshots = Snapshots(
            SnapshotStore(Directory.ensure(folder / "snapshots"), cluster="exchange"),
            log=journal,
            machine=replica,
            writer=InlineWriter(),
            pace=Pace(),
        )
        restored = snapshots.recover()
        at = 0 if restored is None else restored.index
        left = journal.last_index - at
        for command, index, term in journal.entries_from(
            at + 1, bytes_max=1 << 30, count_max=max(1, left)
        ):
            if command[:1] == REGULAR:
                replica.apply(index, term, command[1:])
        replica.state.check()
        resting = [order.client_order_id for order in replica.state.exchange.live.by_id.values()]
        assert len(set(resting)) == len(resting), "nothing is applied twice"
        return set(resting)
    finally:
        journal.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where the folders are made: in memory if possible, since what they cost is syncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        dir=memory if os.access(memory, os.W_OK) else tmp_path
    ) as name:
        yield Path(name)


def test_everything_acknowledged_survives_a_power_cut_at_any_step(trace: Trace, root: Path) -> None:
    count = size("CUTS", CUTS_DEFAULT) or len(trace.cuts)
    chosen = set(random.Random(1).sample(trace.cuts, min(count, len(trace.cuts))))
    disk, acknowledged, tried = TracedDisk(), set[str](), 0
    for number in range(len(trace.steps) + 1):
        step = trace.steps[number] if number < len(trace.steps) else None
        for seed in range(LUCKS) if number in chosen else ():
            folder = root / f"{number}-{seed}"
            folder.mkdir()
            disk.power_cut(folder, seed=seed if seed < 2 else number * LUCKS + seed)
            lost = acknowledged - recovered_labels(folder)
            assert not lost, f"step {number} ({step}), luck {seed}: {sorted(lost)} are lost"
            remove(folder)
            tried += 1
        if isinstance(step, Answered):
            acknowledged.update(step.labels)
        elif step is not None:
            disk.take(step)
    assert len(acknowledged) == LIVES * (ORDERS_A_LIFE // 3) * 3
    print(f"{len(trace.steps)} steps, {tried} power cuts, {len(acknowledged)} orders acknowledged")


def test_the_trace_shows_what_the_journal_promises(trace: Trace) -> None:
    """Snapshots were renamed into place, and nothing was acknowledged before its sync."""
    kinds = {type(step).__name__ for step in trace.steps}
    assert kinds == {"Write", "Resize", "Rename", "Sync", "Answered"}
    renamed = [step for step in trace.steps if type(step).__name__ == "Rename"]
    assert sum(".snapshot" in str(step) for step in renamed) > LIVES


def test_a_node_that_syncs_nothing_would_be_noticed(trace: Trace, tmp_path: Path) -> None:
    """The same record without its syncs of data: the cut loses what was acknowledged."""
    disk, acknowledged = TracedDisk(), set[str]()
    for step in trace.steps:
        if isinstance(step, Answered):
            acknowledged.update(step.labels)
        elif not (type(step).__name__ == "Sync" and str(step).find(".journal") >= 0):
            disk.take(step)
    disk.power_cut(tmp_path, seed=1)
    try:
        found = recovered_labels(tmp_path)
    except Exception:
        return  # refused: noticed as well
    assert acknowledged - found


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
