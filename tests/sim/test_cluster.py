"""The whole cluster on virtual time: whatever breaks, no acknowledged order is lost or doubled."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from raft_exchange.matching.messages import CreateAccount
from raft_exchange.raft import following
from raft_exchange.raft.elections import Elections
from raft_exchange.raft.group import Group
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import CANDIDATE
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.records import TRUNCATE
from raft_exchange.raft.seat import Seat, monotonic_s
from raft_exchange.raft.wire import AppendReply
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.outcome import Committed
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.climate import Climate
from tests.support.disk import Disk
from tests.support.history import Clients, check_agreement, check_history
from tests.support.world import World

SEGMENT_BYTES = 256 * 1024
FAULTS_S = 25.0
CALM_S = 8.0
SETTLE_S = 6.0


def make_world(seed: int, climate: Climate) -> World:
    return World(
        seed,
        nodes=climate.nodes,
        delay_s=climate.delay_s,
        make_disk=lambda node_id: Disk(seed * 10 + int(node_id[1:])),
        open_journal=lambda disk: Journal(disk.directory(), segment_bytes=SEGMENT_BYTES),
        crash_disk=lambda disk: disk.power_cut(),
    )


def live_through(
    seed: int, *, also: Callable[[World], None] = lambda world: None
) -> tuple[World, Clients]:
    """Run one seed: a safety phase with faults, then a healed one that must converge.

    `also` is called at the begin of the first, to have more happen in it.
    """
    climate = Climate(seed)
    world = make_world(seed, climate)
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        clients = Clients(world, rate_per_s=climate.rate_per_s, seed=seed)
        clients.start()
        also(world)
        climate.run(world, seconds=FAULTS_S)
        world.heal()
        world.run(CALM_S)
        last = clients.place(world.nodes[world.ids[-1]])
        clients.stop()
        world.run(SETTLE_S)
        assert isinstance(last.outcome, Committed), "a healed cluster takes orders"
        check_history(world, clients.operations)
        check_agreement(world)
    return world, clients


def test_no_fault_loses_doubles_or_reorders_an_acknowledged_order(seed: int) -> None:
    """One truth for all, one leader a term, every answer true, every order in real-time order."""
    live_through(seed)


def test_a_seed_reproduces_everything() -> None:
    first, again = (live_through(7)[0] for _ in range(2))
    assert first.truth == again.truth
    assert first.leaders == again.leaders


def test_a_calm_cluster_answers_everything_and_keeps_its_leader() -> None:
    climate = Climate(0)
    climate.nodes, climate.delay_s = 3, (0.0002, 0.001)
    world = make_world(0, climate)
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)
        clients = Clients(world, rate_per_s=200, seed=0)
        clients.start()
        world.run(10)
        clients.stop()
        world.run(1)
        assert len(world.leaders) == 1
        assert all(isinstance(o.outcome, Committed) for o in clients.operations)
        check_history(world, clients.operations)
        check_agreement(world)


def test_a_node_back_from_a_partition_does_not_depose_the_leader() -> None:
    """Pre-vote: the node asks before it disturbs anybody with a new term."""
    world = make_world(1, Climate(1))
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)
        leader = world.leader()
        assert leader is not None
        term = leader.group.term
        lonely = next(node_id for node_id in world.ids if node_id != leader.id)
        for other in world.ids:
            if other != lonely:
                world.cut(lonely, other)
        world.run(20)
        world.heal()
        world.run(3)
        assert world.leader() is leader
        assert leader.group.term == term


def test_a_leader_without_a_majority_stops_leading() -> None:
    world = make_world(2, Climate(2))
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)
        leader = world.leader()
        assert leader is not None
        for other in world.ids:
            if other != leader.id:
                world.cut(leader.id, other)
        assert world.run_until(lambda: not leader.group.is_leader, seconds=1.5)


def test_a_hand_over_fails_no_order_and_takes_less_than_a_third_of_a_second() -> None:
    climate = Climate(0)
    climate.nodes, climate.delay_s = 3, (0.0002, 0.001)
    world = make_world(3, climate)
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)
        clients = Clients(world, rate_per_s=500, seed=3)
        clients.start()
        world.run(2)
        old = world.leader()
        assert old is not None
        old.group.hand_over()
        handed_over = world.run_until(
            lambda: world.leader() not in (None, old) and not old.group.is_leader, seconds=2
        )
        assert handed_over
        world.run(1)
        clients.stop()
        world.run(1)
        assert all(isinstance(o.outcome, Committed) for o in clients.operations)
        slowest_s = max(o.completed_s - o.invoked_s for o in clients.operations if o.completed_s)
        assert slowest_s < 0.3
        check_history(world, clients.operations)


def test_the_lead_goes_to_the_member_that_is_named_and_to_nobody_else() -> None:
    world = make_world(5, Climate(0))
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)
        world.run(1)
        for node_id in (*world.ids, *reversed(world.ids)):
            old = world.leader()
            assert old is not None
            old.group.hand_over(to="n9")
            assert not old.group.is_handing_over, "it is no member"
            old.group.hand_over(to=node_id)
            if old.id != node_id:
                named = world.nodes[node_id]
                assert world.run_until(lambda named=named: world.leader() is named, seconds=2)
            world.run(1)
            assert world.leader() is world.nodes[node_id]


def test_a_replica_made_to_apply_one_entry_differently_is_caught_by_its_hash() -> None:
    world = make_world(4, Climate(4))
    with world.running():
        world.run_until(lambda: world.leader() is not None, seconds=10)

        def corrupt(applied: Applied, state: ReplicatedState) -> None:
            if applied.index == 40:
                state.exchange.apply(CreateAccount("nobody-asked"))

        world.nodes["n2"].corrupt = corrupt
        clients = Clients(world, rate_per_s=100, seed=4)
        clients.start()
        with pytest.raises(AssertionError, match=r"n2 applies .* others applied|replicas differ"):
            _run_and_compare(world, clients)


def _run_and_compare(world: World, clients: Clients) -> None:
    world.run(3)
    clients.stop()
    world.run(3)
    check_agreement(world)


# The simulation itself is tested: each of these breaks one promise, and it must notice. ----------


def _never_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledges what only the page cache holds."""
    monkeypatch.setattr(Journal, "sync", lambda self: None)
    monkeypatch.setattr(Journal, "pending", property(lambda self: False))


def _vote_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets that it has voted in this term."""
    monkeypatch.setattr(Seat, "vote", None)


def _vote_for_shorter_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a candidate win that lacks committed entries."""
    monkeypatch.setattr(Seat, "is_up_to_date", lambda self, term, index: True)


def _commit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts itself as a majority."""
    real = Group._advance_commit

    def alone(self: Group, lead: Any) -> None:
        real(self, lead)
        if self._log.term_at(self._log.last_index) == self.term:
            self._seat.commit(self._log.last_index)

    monkeypatch.setattr(Group, "_advance_commit", alone)


def _acknowledge_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower confirms entries it was only told to exist."""
    real = Outbox.send_after_sync

    def boast(self: Outbox, node: Any, message: Any) -> None:
        if isinstance(message, AppendReply) and not message.success:
            message = AppendReply(
                message.term, message.previous_index, True, message.previous_index
            )
        real(self, node, message)

    monkeypatch.setattr(Outbox, "send_after_sync", boast)


def _keep_conflicting_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips entries it has at that index, whatever their term."""

    def lax(log: Journal, commit_index: int, message: Any, history: Any) -> int:
        for entry in message.entries:
            if entry.index > log.last_index:
                log.add(entry.command, entry.index, entry.term)
        return int(message.previous_index + len(message.entries))

    monkeypatch.setattr(following, "append_missing", lax)


def _forget_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applies every repeat of a batch again."""
    monkeypatch.setattr(ReplicatedState, "_is_next", lambda self, batch: True)


def _lose_the_vote_on_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts without the term and the vote of its former life."""
    monkeypatch.setattr(Journal, "getCurrentTerm", lambda self: 0)
    monkeypatch.setattr(Journal, "getVotedForNodeId", lambda self: None)


def _forget_truncations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts its log in memory only: after a restart the cut entries are back."""
    real = Journal._collect

    def selective(self: Journal, *parts: bytes) -> None:
        if parts[0][0] != TRUNCATE:
            real(self, *parts)

    monkeypatch.setattr(Journal, "_collect", selective)


def _never_truncate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends behind what the leader does not have."""
    monkeypatch.setattr(Journal, "truncate_from", lambda self, index: None)


def _acknowledge_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets out what speaks of entries and votes, and syncs a moment later."""
    real = Group._sync_and_release

    def hasty(self: Group) -> None:
        self._outbox.release()
        if monotonic_s() % 0.2 < 0.01:
            real(self)

    monkeypatch.setattr(Group, "_sync_and_release", hasty)


def _lose_the_last_entry_on_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finds one entry less than it had synced."""
    real = Journal._open

    def forgetful(self: Journal) -> None:
        real(self)
        if self.last_index > max(1, self.base.index):
            self._entries.truncate_from(self.last_index)
            self._commit_index = min(self._commit_index, self.last_index)

    monkeypatch.setattr(Journal, "_open", forgetful)


def _lead_without_a_majority_of_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads as soon as it stands."""
    real = Elections.start_election

    def eager(self: Elections) -> None:
        real(self)
        if self._seat.role == CANDIDATE:
            self._lead()

    monkeypatch.setattr(Elections, "start_election", eager)


MUTATIONS = {  # and a seed that noticed it, to begin with
    _never_sync: 1,
    _vote_for_everybody: 1,
    _vote_for_shorter_logs: 4,
    _commit_alone: 2,
    _acknowledge_what_it_lacks: 7,
    _keep_conflicting_entries: 2,
    _forget_sessions: 1,
    _forget_truncations: 2,
    _never_truncate: 1,
    _acknowledge_before_the_sync: 5,
    _lose_the_last_entry_on_restart: 1,
    _lead_without_a_majority_of_votes: 4,
}
MUTATION_SEEDS_MAX = 500


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


def restart_the_voter(world: World) -> None:
    """Two that cannot hear each other ask the third for its vote, which restarts all the time."""
    draw, end_s = random.Random(world.random.random()), world.now_s + FAULTS_S

    def restart() -> None:
        voter = world.nodes["n3"]
        world.cut("n1", "n2")
        if voter.is_running:
            voter.crash()
            voter.start()
        if world.now_s < end_s:
            world.at(world.now_s + draw.uniform(0.02, 0.15), restart)

    restart()


def test_a_voter_that_restarts_between_two_candidates_votes_once() -> None:
    live_through(1, also=restart_the_voter)


def test_the_simulation_notices_a_vote_that_is_lost_on_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two seldom stand at once any more, so that chance alone takes long to show it."""
    _lose_the_vote_on_restart(monkeypatch)
    with pytest.raises(AssertionError, match=r"one vote in a term|has leaders"):
        live_through(1, also=restart_the_voter)
