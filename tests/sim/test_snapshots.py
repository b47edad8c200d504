"""The whole cluster on virtual time, writing a snapshot every few dozen entries.

Chunks are of a few hundred bytes, so that transfers take many round trips and are cut in the
middle. Everything that holds for a cluster that keeps its whole log must hold here.
"""

from __future__ import annotations

import pytest

from raft_exchange.raft import snapshot_sending
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.sequencer.outcome import Committed
from tests.sim import test_cluster
from tests.support.climate import Climate
from tests.support.history import Clients, check_agreement, check_history
from tests.support.inline_writer import InlineWriter
from tests.support.world import SimNode, World

ENTRIES = 50
CHUNK_BYTES = 4_000
RATE_PER_S_MAX = 60.0
FAULTS_S = 20.0
CALM_S = 8.0
SETTLE_S = 4.0
SEEDS_SHARE = 3
"""Of the simulation's seeds, one in so many is lived through again here."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_sending, "CHUNK_BYTES_MAX", CHUNK_BYTES)
    monkeypatch.setattr(snapshot_sending, "WINDOW_BYTES", 3 * CHUNK_BYTES)


def open_snapshots(node: SimNode) -> Snapshots:
    ids = node.world.ids
    return Snapshots(
        SnapshotStore(node.disk.directory("snapshots/"), cluster="sim"),
        log=node.journal,
        machine=node.replica,
        writer=InlineWriter(),
        pace=Pace(ENTRIES, 1 << 20, ids.index(node.id), len(ids)),
    )


def make_world(seed: int, climate: Climate) -> World:
    world = test_cluster.make_world(seed, climate)
    world.open_snapshots = open_snapshots
    return world


def live_through(seed: int) -> tuple[World, Clients]:
    climate = Climate(seed)
    world = make_world(seed, climate)
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        clients = Clients(world, rate_per_s=min(climate.rate_per_s, RATE_PER_S_MAX), seed=seed)
        clients.start()
        climate.run(world, seconds=FAULTS_S)
        world.heal()
        world.run(CALM_S)
        last = clients.place(world.nodes[world.ids[-1]])
        clients.stop()
        world.run(SETTLE_S)
        assert isinstance(last.outcome, Committed), "a healed cluster takes orders"
        check_history(world, clients.operations)
        check_agreement(world)
        for node in world.nodes.values():
            node.marketdata.check()
            assert len(node.journal) <= 3 * ENTRIES, "the log is short again"
    return world, clients


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "weather" in metafunc.fixturenames:
        count = metafunc.config.getoption("seeds") // SEEDS_SHARE
        metafunc.parametrize("weather", range(1_000, 1_000 + max(1, count)))


def test_no_fault_loses_doubles_or_reorders_an_acknowledged_order(weather: int) -> None:
    """The same promise as without snapshots, whatever is cut, crashed or frozen meanwhile."""
    live_through(weather)
