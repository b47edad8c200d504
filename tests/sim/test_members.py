"""The whole cluster on virtual time while its members change: nothing is lost, nobody differs.

Nodes are added, removed (the leader as well), and lost with their disks and replaced, under the
faults of the climate. The checkers are those of a cluster that never changes.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from raft_exchange.raft.applying import Applying
from raft_exchange.raft.changing import REQUEST_S_MAX, Changes
from raft_exchange.raft.leading import Leadership
from raft_exchange.raft.membership import Configuration, History
from raft_exchange.raft.snapshot_file import Header
from raft_exchange.sequencer.outcome import Committed
from tests.sim import test_cluster, test_snapshots
from tests.support.climate import Climate
from tests.support.history import Clients, check_agreement, check_history
from tests.support.turnover import Turnover
from tests.support.world import World

FAULTS_S = 25.0
SETTLE_S = 40.0
SEEDS_SHARE = 4
"""Of the simulation's seeds, one in so many is lived through here, half of them with snapshots."""


def live_through(seed: int, *, in_a_hurry: bool = False) -> tuple[World, Turnover]:
    """Run one seed; with an operator beside it who asks for two changes at once, if there is."""
    climate = Climate(seed)
    climate.nodes, climate.rate_per_s = 3, min(climate.rate_per_s, 60.0)
    turnover = Turnover(climate)
    make = test_cluster.make_world if seed % 2 else test_snapshots.make_world
    world = make(seed, climate)
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        clients = Clients(world, rate_per_s=climate.rate_per_s, seed=seed)
        clients.start()
        if in_a_hurry:
            turnover.ask_for_two_at_once(world, seed=seed, seconds=FAULTS_S)
        climate.run(world, seconds=FAULTS_S)
        world.heal()
        world.run(REQUEST_S_MAX + 1)  # what was asked for in the storm is decided
        assert turnover.settle(world, seconds=SETTLE_S), "a healed cluster changes its members"
        committed = turnover.committed(world)
        assert committed is not None
        last = clients.place(world.nodes[committed.voters[-1]])
        clients.stop()
        world.run(6)
        assert isinstance(last.outcome, Committed), "a healed cluster takes orders"
        check_history(world, clients.operations)
        check_agreement(world, committed.members)
        for id_ in committed.members:
            assert world.nodes[id_].group.configuration.members == committed.members
        for id_ in committed.removed:
            node = world.nodes[id_]
            assert node.is_gone or node.group.is_removed, f"{id_} was not told that it is out"
    return world, turnover


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "weather" in metafunc.fixturenames:
        first = 2_000 + metafunc.config.getoption("first_seed") // SEEDS_SHARE
        count = max(4, metafunc.config.getoption("seeds") // SEEDS_SHARE)
        metafunc.parametrize("weather", range(first, first + count))


def test_members_that_come_and_go_lose_and_double_nothing(weather: int) -> None:
    live_through(weather)


@pytest.mark.parametrize("seed_", [2_003, 2_005])
def test_who_asks_for_two_changes_at_once_is_kept_waiting_for_the_second(seed_: int) -> None:
    live_through(seed_, in_a_hurry=True)


def test_the_weather_brings_changes_of_every_kind() -> None:
    """Else it proves nothing: some voters that were no founders, some removed, some lost."""
    joined = removed = lost = 0
    for seed in range(2_000, 2_004):
        world, turnover = live_through(seed)
        committed = turnover.committed(world)
        assert committed is not None
        joined += len(set(committed.voters) - set(world.founders))
        removed += len(committed.removed)
        lost += sum(node.is_gone for node in world.nodes.values())
    assert joined >= 3
    assert removed >= 3
    assert lost >= 2


# The simulation itself is tested: each of these breaks one promise, and it must notice. ----------


def _count_learners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits what only a voter and learners store."""
    monkeypatch.setattr(Leadership, "_is_voter", lambda self, node: True)


def _keep_what_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration stays in force though its entry is gone."""
    monkeypatch.setattr(History, "truncate_from", lambda self, index: None)


def _win_with_any_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two votes are enough, however many there are."""
    monkeypatch.setattr(Configuration, "quorum", property(lambda self: min(2, len(self.voters))))


def _change_while_another_is_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes may be under way at once, so that majorities need not overlap."""

    def may_change(self: Changes, lead: Leadership) -> bool:
        return self._seat.commit_index >= lead.first_index

    monkeypatch.setattr(Changes, "_may_change", may_change)


def _forget_the_members_in_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that starts from a snapshot goes by what its log says, or by the founders."""
    real = Applying._jump_to

    def forgetful(self: Applying, restored: Header) -> None:
        real(self, msgspec.structs.replace(restored, configuration=None))

    monkeypatch.setattr(Applying, "_jump_to", forgetful)


MUTATIONS = {  # and a seed that noticed it, to begin with
    _count_learners: 2_043,
    _keep_what_was_cut_off: 2_043,
    _win_with_any_votes: 2_011,
    _change_while_another_is_pending: 2_003,
    _forget_the_members_in_snapshots: 2_004,
}
IN_A_HURRY = (_change_while_another_is_pending,)
"""Chance alone seldom asks for a second change while the first is not committed."""
MUTATION_SEEDS_MAX = 300


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__[1:])
def test_the_simulation_notices(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation that cannot fail proves nothing."""
    mutation(monkeypatch)
    for seed in (MUTATIONS[mutation], *range(2_000, 2_000 + MUTATION_SEEDS_MAX)):
        try:
            live_through(seed, in_a_hurry=mutation in IN_A_HURRY)
        except (AssertionError, RuntimeError):
            return
    pytest.fail(f"unnoticed in {MUTATION_SEEDS_MAX} seeds")
