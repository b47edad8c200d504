"""One replica is made to differ: it is found, serves nobody, and the others trade on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raft_exchange.matching.messages import CreateAccount
from raft_exchange.raft.applying import Applying
from raft_exchange.raft.elections import Elections
from raft_exchange.raft.hooks import Standing
from raft_exchange.raft.snapshots import OVERDUE
from raft_exchange.sequencer import selfcheck
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.notices import Digest
from raft_exchange.sequencer.outcome import Committed
from raft_exchange.sequencer.selfcheck import SelfCheck
from raft_exchange.sequencer.state import ReplicatedState
from raft_exchange.sequencer.witness import Witness
from tests.sim import test_snapshots
from tests.sim.test_snapshots import pytest_generate_tests, small_chunks  # noqa: F401
from tests.support.history import Clients, check_agreement, check_history
from tests.support.sim_node import SimNode
from tests.support.world import World

CHECKPOINT_ENTRIES = 25
LOG_ENTRIES_MAX = (OVERDUE + 5) * test_snapshots.ENTRIES
"""Two intervals at the most when it is fenced; until it is due, until the leader has a newer one,
and until that is here."""


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "CHECKPOINT_ENTRIES", CHECKPOINT_ENTRIES)


def begin(world: World) -> Clients:
    assert world.run_until(lambda: world.leader() is not None, seconds=10)
    clients = Clients(world, rate_per_s=100, seed=1)
    clients.start()
    world.run(1)
    return clients


def follower(world: World) -> SimNode:
    return next(node for node in world.nodes.values() if node is not world.leader())


def leader(world: World) -> SimNode:
    found = world.leader()
    assert found is not None
    return found


def forget_an_order(applied: Applied, state: ReplicatedState) -> None:
    """Change one order where no event shows it: a bit that flipped in memory."""
    order = next(iter(state.exchange.live.by_id.values()), None)
    if order is not None:
        order.updated_at_us += 1


def act_differently(applied: Applied, state: ReplicatedState) -> None:
    """Apply what is in no log: a bug that one build has."""
    state.exchange.apply(CreateAccount(f"nobody-asked-{applied.index}"))


def once(
    damage: Callable[[Applied, ReplicatedState], None],
) -> Callable[[Applied, ReplicatedState], None]:
    done: list[int] = []

    def corrupt(applied: Applied, state: ReplicatedState) -> None:
        if not done:
            done.append(applied.index)
            damage(applied, state)

    return corrupt


@pytest.mark.parametrize("damage", [forget_an_order, act_differently])
@pytest.mark.parametrize("victim", [follower, leader])
def test_who_differs_is_fenced_by_the_next_checkpoint_and_the_others_trade_on(
    victim: Callable[[World], SimNode], damage: Callable[[Applied, ReplicatedState], None]
) -> None:
    world = test_snapshots.calm_world(1)
    with world.running():
        clients = begin(world)
        node = victim(world)
        node.may_differ = True
        node.corrupt = once(damage)
        applied = node.group.last_applied
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        assert node.witness.standing is Standing.FENCED
        stopped_at = node.group.last_applied
        assert stopped_at <= applied + 3 * CHECKPOINT_ENTRIES
        written = node.snapshots.written if node.snapshots else 0
        world.run(1)
        assert node.group.last_applied == stopped_at, "it applies nothing more"
        world.run(4)
        others = [other for other in world.nodes.values() if other is not node]
        for other in others:
            assert node.id in other.state.selfcheck.fenced
            assert node.id in other.fence.noted
            assert other.witness.standing is Standing.FULL
            assert not other.fence.is_up
        assert world.leader() in others
        assert node.snapshots is not None
        assert node.snapshots.written == written
        order = clients.place(others[0])
        clients.stop()
        world.run(2)
        assert isinstance(order.outcome, Committed)
        assert others[0].state.state_hash() == others[1].state.state_hash()


def test_a_fenced_node_goes_on_storing_the_log_and_never_leads() -> None:
    """What it stores is the log, which does not differ: it counts for what is acknowledged."""
    world = test_snapshots.calm_world(2)
    with world.running():
        clients = begin(world)
        node = follower(world)
        node.corrupt = once(forget_an_order)
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        third = next(o for o in world.nodes.values() if o not in (node, world.leader()))
        third.crash()
        world.run(0.5)
        order = clients.place(leader(world))
        world.run(1)
        assert isinstance(order.outcome, Committed), "leader and fenced node are a majority"
        last = leader(world)
        last.crash()
        third.start()
        clients.stop()
        world.run(5)
        terms_led = {led for term, led in world.leaders.items() if term == node.group.term}
        assert node.id not in terms_led
        assert node.group.role != "leader"


def test_a_fenced_node_keeps_its_log_short_by_snapshots_of_the_leader() -> None:
    world = test_snapshots.calm_world(9)
    with world.running():
        clients = begin(world)
        node = follower(world)
        node.corrupt = once(forget_an_order)
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        assert node.snapshots is not None
        began_at, longest = node.journal.last_index, 0
        for _ in range(40):
            world.run(0.5)
            longest = max(longest, node.journal.last_index - node.journal.base.index)
        assert node.journal.last_index > began_at + 3 * LOG_ENTRIES_MAX, "or it shows nothing"
        assert longest <= LOG_ENTRIES_MAX
        assert node.snapshots.installed >= 2
        assert node.witness.standing is Standing.FENCED, "the operator decides, as before"
        node.crash()
        node.start()
        world.run(2)
        assert node.witness.standing is Standing.FENCED
        assert node.journal.last_index >= leader(world).group.commit_index - 10, "it stores the log"
        clients.stop()


def test_what_a_fenced_node_has_forgotten_of_the_log_it_has_in_a_snapshot() -> None:
    """With the third member away, it alone holds what is lost with the leader."""
    world = test_snapshots.calm_world(10)
    with world.running():
        clients = begin(world)
        node = follower(world)
        node.corrupt = once(forget_an_order)
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        assert node.snapshots is not None
        last = leader(world)
        next(o for o in world.nodes.values() if o not in (node, last)).crash()
        away_at = node.journal.last_index
        world.run(10)
        clients.stop()
        world.run(2)
        assert node.journal.base.index > away_at, "the entries themselves are gone"
        sequence, state_hash = last.state.exchange.sequence, last.state.state_hash()
        world.wipe(last)
        node.crash()
        node.corrupt, node.fence.reason = None, ""  # the operator trusts the leader's snapshot
        node.start()
        world.run(1)
        rest = node.journal.entries_from(
            node.group.last_applied + 1, bytes_max=1 << 20, count_max=100
        )
        for command, index, term in rest:  # that it is committed, nobody is left to say
            node.replica.apply(index, term, command[1:])
        assert node.state.exchange.sequence == sequence
        assert node.state.state_hash() == state_hash


def test_a_restart_does_not_take_the_fence_down() -> None:
    world = test_snapshots.calm_world(3)
    with world.running():
        clients = begin(world)
        node = follower(world)
        node.corrupt = once(forget_an_order)
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        node.crash()
        world.run(1)
        node.corrupt = None
        node.start()
        world.run(5)
        assert node.witness.standing is Standing.FENCED
        clients.stop()


def rebuild(world: World, node: SimNode) -> None:
    """What `raft-exchange rebuild` does: another member's snapshot takes the place of the own."""
    peer = leader(world)
    peer.group.request_snapshot()
    assert peer.snapshots is not None
    written = peer.snapshots.written
    assert world.run_until(lambda: peer.snapshots.written > written, seconds=3)
    newest = peer.snapshots.store.newest
    assert newest is not None
    content = peer.snapshots.store.read(newest, 0, newest.size_bytes)
    folder = node.disk.directory("snapshots/")
    for name in folder.names():
        folder.unlink(name)
    file = folder.create(newest.name, 0)
    folder.write(file, content, 0)
    folder.sync_data(file)
    folder.sync()
    node.fence.reason = ""


def test_a_rebuilt_node_serves_once_the_log_has_found_it_right() -> None:
    """It keeps its log, its term and its vote: what it acknowledged stays true."""
    world = test_snapshots.calm_world(4)
    with world.running():
        clients = begin(world)
        node = follower(world)
        node.corrupt = once(forget_an_order)
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        node.crash()
        node.corrupt = None
        rebuild(world, node)
        stored = node.journal.last_index
        node.start()
        assert node.journal.last_index >= stored
        assert node.witness.standing is Standing.ASIDE, "its state is right, but nobody knows yet"
        assert world.run_until(lambda: node.witness.standing is Standing.FULL, seconds=20)
        assert node.id not in leader(world).state.selfcheck.fenced
        clients.stop()
        world.run(2)
        check_agreement(world)
        check_history(world, clients.operations)


def test_a_node_whose_own_snapshot_is_wrong_is_found_again() -> None:
    """An operator who merely took the fence down gets it back."""
    world = test_snapshots.calm_world(5)
    with world.running():
        clients = begin(world)
        node = follower(world)
        node.corrupt = once(forget_an_order)
        assert node.snapshots is not None
        node.group.request_snapshot()
        assert world.run_until(lambda: node.fence.is_up, seconds=3)
        node.crash()
        node.corrupt = once(forget_an_order)  # what the snapshot holds
        node.fence.reason = ""
        node.start()
        assert world.run_until(lambda: node.fence.is_up, seconds=30)
        clients.stop()


def test_where_all_differ_all_are_fenced() -> None:
    world = test_snapshots.calm_world(6)
    with world.running():
        clients = begin(world)
        for number, node in enumerate(world.nodes.values()):
            node.corrupt = once(_by(number + 1))
        assert world.run_until(
            lambda: all(node.fence.is_up for node in world.nodes.values()), seconds=5
        )
        world.run(3)
        assert world.leader() is None
        assert "no majority" in world.nodes["n1"].fence.reason
        clients.stop()


def test_two_that_differ_while_the_third_is_away_do_not_wait_for_it_for_ever() -> None:
    world = test_snapshots.calm_world(7)
    with world.running():
        clients = begin(world)
        follower(world).crash()
        world.run(1)
        pair = [node for node in world.nodes.values() if node.is_running]
        pair[0].corrupt = once(forget_an_order)
        assert world.run_until(lambda: all(node.fence.is_up for node in pair), seconds=15)
        clients.stop()


def _by(microseconds: int) -> Callable[[Applied, ReplicatedState], None]:
    def damage(applied: Applied, state: ReplicatedState) -> None:
        next(iter(state.exchange.live.by_id.values())).updated_at_us += microseconds

    return damage


def test_no_weather_makes_a_sound_replica_differ(weather: int) -> None:
    """Crashes, cuts, snapshots and replays: nobody is ever fenced, and checkpoints are agreed."""
    world, _ = test_snapshots.live_through(weather)
    for node in world.nodes.values():
        assert not node.fence.is_up, node.fence.reason
        check = node.state.selfcheck
        assert not check.fenced
        for digest in Digest:
            assert check.agreed[digest].index > 10 * CHECKPOINT_ENTRIES


def test_a_node_that_hears_the_agreed_value_first_still_says_its_own() -> None:
    """Else only it would know that it differs, and the others would count on it."""
    world = test_snapshots.calm_world(8)
    with world.running():
        clients = begin(world)
        node = leader(world)  # what it proposes as it makes way is lost
        node.witness._hasher = _Slow(node.witness._hasher)
        node.corrupt = once(forget_an_order)
        assert world.run_until(lambda: node.fence.is_up, seconds=5)
        world.run(2)
        clients.stop()
        assert node.id in leader(world).state.selfcheck.fenced


class _Slow:
    """A hasher whose answers come when the others have long agreed."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._polls = 0

    def start(self, index: int, encode: Callable[[], bytes]) -> bool:
        return bool(self._real.start(index, encode))

    def poll(self) -> tuple[int, bytes] | None:
        self._polls += 1
        return self._real.poll() if self._polls % 50 == 0 else None  # type: ignore[no-any-return]

    def stop(self) -> None:
        self._real.stop()


# The simulation itself is tested: each of these breaks one promise, and it must notice. ----------


def _never_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody holds its own hashes against what is agreed."""
    monkeypatch.setattr(Witness, "_compare", lambda self: None)


def _judge_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who differs fences itself, but the log does not say so to the others."""
    monkeypatch.setattr(SelfCheck, "_judge", lambda self, ballot, node: None)


def _lead_though_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence does not keep a node from standing for election, nor a leader from leading."""
    monkeypatch.setattr(Elections, "_may_stand", property(lambda self: True))
    monkeypatch.setattr(Elections, "stand_aside", lambda self, connected: None)


def _apply_though_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that differs goes on with its wrong state, and writes snapshots of it."""
    monkeypatch.setattr(Applying, "_is_fenced", property(lambda self: False))


@pytest.mark.parametrize(
    "mutation",
    [_never_compare, _judge_nobody, _lead_though_fenced, _apply_though_fenced],
    ids=lambda mutation: mutation.__name__[1:],
)
def test_the_simulation_notices(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that cannot fail proves nothing."""
    mutation(monkeypatch)
    with pytest.raises(AssertionError):
        _make_both_differ()


def _make_both_differ() -> None:
    claim = test_who_differs_is_fenced_by_the_next_checkpoint_and_the_others_trade_on
    for victim in (follower, leader):
        claim(victim, forget_an_order)
