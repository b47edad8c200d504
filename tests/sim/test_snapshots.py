"""The whole cluster on virtual time, writing a snapshot every few dozen entries.

Chunks are of a few hundred bytes, so that transfers take many round trips and are cut in the
middle. Everything that holds for a cluster that keeps its whole log must hold here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from raft_exchange.raft import snapshot_file, snapshot_sending, snapshots
from raft_exchange.raft.applying import Applying
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.snapshot_store import SUFFIX, SnapshotStore
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.raft.wire import SnapshotChunk
from raft_exchange.sequencer.outcome import Committed
from raft_exchange.sequencer.state import ReplicatedState
from tests.sim import test_cluster
from tests.support.climate import Climate
from tests.support.disk import SimulatedDirectory
from tests.support.history import Clients, check_agreement, check_history
from tests.support.inline_writer import InlineWriter
from tests.support.sim_node import SimNode
from tests.support.world import World

ENTRIES = 50
CHUNK_BYTES = 4_000
RATE_PER_S_MAX = 60.0
FAULTS_S = 20.0
CALM_S = 8.0
SETTLE_S = 4.0
SEEDS_SHARE = 5
"""Of the simulation's seeds, one in so many is lived through again here."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_sending, "CHUNK_BYTES_MAX", CHUNK_BYTES)
    monkeypatch.setattr(snapshot_sending, "WINDOW_BYTES", 3 * CHUNK_BYTES)


def open_snapshots(node: SimNode, *, place: int | None = None) -> Snapshots:
    ids = node.world.ids
    if place is None:
        place = ids.index(node.id)
    return Snapshots(
        SnapshotStore(node.disk.directory("snapshots/"), cluster="sim"),
        log=node.journal,
        machine=node.replica,
        writer=InlineWriter(),
        pace=Pace(ENTRIES, 1 << 20, place, len(ids)),
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
        first = 1_000 + metafunc.config.getoption("first_seed") // SEEDS_SHARE
        count = max(1, metafunc.config.getoption("seeds") // SEEDS_SHARE)
        metafunc.parametrize("weather", range(first, first + count))


def test_no_fault_loses_doubles_or_reorders_an_acknowledged_order(weather: int) -> None:
    """The same promise as without snapshots, whatever is cut, crashed or frozen meanwhile."""
    live_through(weather)


def calm_world(seed: int) -> World:
    climate = Climate(seed)
    climate.nodes, climate.delay_s = 3, (0.0002, 0.001)
    return make_world(seed, climate)


def test_a_node_that_was_away_is_sent_a_snapshot_and_then_entries() -> None:
    world = calm_world(1)
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)
        clients = Clients(world, rate_per_s=200, seed=1)
        clients.start()
        world.run(1)
        leader = world.leader()
        assert leader is not None
        away = next(node for node in world.nodes.values() if node is not leader)
        away.crash()
        world.run(5)
        assert leader.journal.base.index > away.journal.last_index
        away.start()
        world.run(5)
        clients.stop()
        world.run(2)
        assert away.snapshots is not None
        assert away.snapshots.installed == 1
        assert len(world.leaders) == 1, "a transfer disturbs nobody"
        check_history(world, clients.operations)
        check_agreement(world)


def test_a_transfer_that_is_cut_goes_on_where_it_was() -> None:
    world = calm_world(2)
    with world.running():
        away, leader = _left_behind(world)
        sent: list[int] = []
        _watch_chunks(world, away, sent)
        world.heal()
        for _ in range(6):
            world.run(0.02)
            world.disconnect(leader.id, away.id, again_in_s=0.05)
            world.run(0.1)
        world.run(3)
        assert away.snapshots is not None
        assert away.snapshots.installed == 1
        with_data = [offset for offset in sent if offset >= 0]
        repeated = len(with_data) - len(set(with_data))
        assert len(set(with_data)) > 20
        assert repeated < len(with_data) // 2, "chunks that had arrived were not sent again"
        check_agreement(world)


def _left_behind(world: World) -> tuple[SimNode, SimNode]:
    """Cut one node off until the others' logs begin after its own; return it and the leader."""
    world.run_until(lambda: world.leader() is not None, seconds=10)
    leader = world.leader()
    assert leader is not None
    away = next(node for node in world.nodes.values() if node is not leader)
    for other in world.ids:
        if other != away.id:
            world.cut(away.id, other)
    clients = Clients(world, rate_per_s=300, seed=2)
    clients.start()
    world.run(6)
    clients.stop()
    world.run(6)
    return away, leader


def _watch_chunks(world: World, away: SimNode, offsets: list[int]) -> None:
    assert away.snapshots is not None
    real = away.snapshots.receive

    def receive(chunk: SnapshotChunk, *, have_index: int) -> Any:
        offsets.append(chunk.offset if chunk.data else -1)
        return real(chunk, have_index=have_index)

    away.snapshots.receive = receive  # type: ignore[method-assign]


def test_a_damaged_transfer_is_refused_and_repeated() -> None:
    """Nothing of it is applied; the next attempt brings the node back."""
    world = calm_world(3)
    with world.running():
        away, _ = _left_behind(world)
        _rot_once(away)
        world.heal()
        world.run(10)
        assert away.snapshots is not None
        assert (away.snapshots.failures, away.snapshots.installed) == (1, 1)
        check_agreement(world)


def _rot_once(node: SimNode) -> None:
    """Change one byte of the first chunk that arrives."""
    assert node.snapshots is not None
    real, rotten = node.snapshots.receive, []

    def receive(chunk: SnapshotChunk, *, have_index: int) -> Any:
        if chunk.data and not rotten:
            rotten.append(chunk)
            data = chunk.data[:-1] + bytes([chunk.data[-1] ^ 1])
            chunk = msgspec.structs.replace(chunk, data=data)
        return real(chunk, have_index=have_index)

    node.snapshots.receive = receive  # type: ignore[method-assign]


def test_nodes_write_the_same_bytes_at_the_same_index() -> None:
    """Leader or follower, restarted or not, restored by a snapshot or not."""
    world = calm_world(4)
    world.open_snapshots = lambda node: open_snapshots(node, place=0)
    written: dict[str, dict[str, bytes]] = {}
    with world.running():
        _left_behind(world)
        world.heal()
        clients = Clients(world, rate_per_s=100, seed=4)
        clients.start()
        for number in range(40):
            world.run(0.3)
            if number % 10 == 5:
                restarted = world.nodes[world.ids[number // 10 % 3]]
                restarted.crash()
                restarted.start()
            for node in world.nodes.values():
                for name, file in node.disk.files.items():
                    if name.endswith(SUFFIX):
                        written.setdefault(name, {})[node.id] = bytes(file.written)
        clients.stop()
        assert world.restores > 0
    shared = [files for files in written.values() if len(files) == 3]
    assert len(shared) > 10
    assert all(len(set(files.values())) == 1 for files in shared)


# The simulation itself is tested: each of these breaks one promise, and it must notice. ----------


def _install_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes whatever came for a snapshot that holds; one byte of it had changed on the way."""
    real = snapshots.SnapshotReceiving.take

    def rot(self: Any, chunk: SnapshotChunk) -> None:
        if chunk.offset == CHUNK_BYTES:
            data = bytearray(chunk.data)
            position = data.find(b"BTC-USD")
            data[position if position >= 0 else 0] ^= 1
            chunk = msgspec.structs.replace(chunk, data=bytes(data))
        real(self, chunk)

    monkeypatch.setattr(snapshots.SnapshotReceiving, "take", rot)
    monkeypatch.setattr(snapshot_file, "crc32", lambda data: 0)
    monkeypatch.setattr(snapshot_file.hashlib, "sha256", lambda data=b"": _SameSum())


class _SameSum:
    def update(self, data: bytes) -> None:
        pass

    def digest(self) -> bytes:
        return bytes(32)

    def hexdigest(self) -> str:
        return "00" * 32


def _compact_beyond_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets entries that no durable snapshot stands for."""
    real = Journal.compact_to
    monkeypatch.setattr(Journal, "compact_to", lambda self, index: real(self, self.last_index))


def _never_sync_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames, and forgets log, on account of bytes that only the page cache holds."""

    def poll(self: InlineWriter) -> bool | None:
        pieces, self._pieces = self._pieces, None
        for piece in pieces or []:
            self._directory.write(self._file, piece, self._offset)
            self._offset += len(piece)
        return True

    monkeypatch.setattr(InlineWriter, "poll", poll)


def _never_sync_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compacts the log before the snapshot's name is durable."""
    real = SimulatedDirectory.sync

    def sync(self: SimulatedDirectory) -> None:
        if not self.prefix:
            real(self)

    monkeypatch.setattr(SimulatedDirectory, "sync", sync)


def _snapshot_what_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names an index that the content does not reach."""
    real = Snapshots.tick

    def tick(self: Snapshots, *, index: int, **rest: Any) -> None:
        real(self, index=self._log.last_index, **rest)

    monkeypatch.setattr(Snapshots, "tick", tick)


def _forget_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restored node knows no session: a batch sent again is applied again, there only."""
    real = ReplicatedState.adopt

    def adopt(self: ReplicatedState, restored: ReplicatedState) -> None:
        restored._sessions = {}
        real(self, restored)

    monkeypatch.setattr(ReplicatedState, "adopt", adopt)


def _commit_the_tail_with_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stock library does: a chunk raises the commit index over the member's own tail."""
    real = Applying.receive

    def commit_all(self: Applying, node: Any, message: SnapshotChunk) -> None:
        real(self, node, message)
        self._seat.commit(self._seat.log.last_index)

    monkeypatch.setattr(Applying, "receive", commit_all)


MUTATIONS = {  # and a seed that noticed it, to begin with
    _install_without_looking: 1_013,
    _compact_beyond_the_snapshot: 0,
    _never_sync_a_snapshot: 1,
    _never_sync_the_name: 2,
    _snapshot_what_is_not_applied: 0,
    _forget_sessions: 0,
    _commit_the_tail_with_the_snapshot: 8,
}
MUTATION_SEEDS_MAX = 300


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__[1:])
def test_the_simulation_notices(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation that cannot fail proves nothing."""
    mutation(monkeypatch)
    for seed in (MUTATIONS[mutation], *range(MUTATION_SEEDS_MAX)):
        try:
            live_through(seed)
        except (AssertionError, RuntimeError):
            return
    pytest.fail(f"unnoticed in {MUTATION_SEEDS_MAX} seeds")
