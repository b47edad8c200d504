"""Changes of who votes are made one at a time, in the log, and survive what the log survives."""

from __future__ import annotations

from itertools import permutations

import pytest

from raft_exchange.raft.changing import Changes
from raft_exchange.raft.leading import Leadership
from raft_exchange.raft.membership import Configuration, Refusal, Refused, RemoveMember
from tests.support.schedule_changes import ORDER, Asked, add, made, three_and_a_joiner, voters
from tests.support.schedule_members import Ours
from tests.support.schedules import ROUND_S, Cluster


class PowerLost(Exception):
    """In the middle of a tick."""


def _lose_power() -> None:
    raise PowerLost


def test_a_change_waits_for_the_one_before() -> None:
    """The first cannot be committed: the leader is cut off from everybody."""
    with three_and_a_joiner() as cluster:
        cluster.isolate("A")
        first, second = Asked(cluster["A"], add("D")), Asked(cluster["A"], RemoveMember("C"))
        cluster.tick("A", times=5)
        assert cluster["A"].raft.configuration.learners == ("D",)
        assert "C" in cluster["A"].raft.configuration.voters
        cluster.run_until(lambda: second.outcome is not None, seconds=10)
        assert isinstance(first.outcome, Refused)
        assert first.outcome.code is Refusal.UNKNOWN
        assert isinstance(second.outcome, Refused)


def test_a_change_that_was_not_committed_is_undone_where_its_entry_is_cut_off() -> None:
    """The leader alone has it, and is deposed; what counted there is what counted before."""
    with three_and_a_joiner() as cluster:
        cluster.isolate("A")
        asked = Asked(cluster["A"], add("D"))
        cluster.tick("A", times=3)
        assert cluster["A"].raft.configuration.learners == ("D",)
        cluster.elect("B")
        cluster["B"].propose(b"another")
        cluster.run(0.2)
        cluster.join("A")
        assert cluster.run_until(
            lambda: cluster["A"].raft.configuration == cluster["B"].raft.configuration, seconds=2
        )
        assert cluster["A"].raft.configuration.members == ("A", "B", "C")
        cluster.run(0.2)
        assert cluster["A"].applied == cluster["B"].applied == [ORDER, b"another"]
        cluster.run_until(lambda: asked.outcome is not None, seconds=6)
        assert isinstance(asked.outcome, Configuration), "it is asked for again, and made"


def test_a_new_leader_makes_no_change_before_an_entry_of_its_term_is_committed() -> None:
    """Two leaders' changes from one configuration could be committed by disjoint majorities."""
    with three_and_a_joiner() as cluster:
        cluster.isolate("A")
        cluster.win("B", "C")
        Asked(cluster["B"], add("D"))
        cluster.tick("B", times=3)
        assert cluster["B"].raft.configuration.learners == ()


def _change_at_once(self: Changes, lead: Leadership) -> bool:
    """The rule as the thesis had it first: the last change is committed, and that is enough."""
    return self._seat.commit_index >= self._history.index


@pytest.mark.parametrize("is_lost", [False, True], ids=["ours", "without that rule"])
def test_two_leaders_that_change_one_configuration_have_a_voter_in_common(
    is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule of the correction to the thesis, with an order that it loses.

    A makes a fifth voter of E, and only E hears of it. B, elected by C and D, removes A: with C it
    is a majority of three. With D and E, A is a majority of five.
    """
    if is_lost:
        monkeypatch.setattr(Changes, "_may_change", _change_at_once)
    with Cluster.of(Ours, "ABCDE", founders="ABCD") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.hold("E", "A")
        made(cluster, "A", add("E"))
        for name in "BCD":
            cluster.hold("A", name)
        cluster.release("E", "A")
        assert cluster.run_until(lambda: "E" in cluster["E"].raft.configuration.voters, seconds=0.2)
        cluster.isolate("A")
        cluster.isolate("E")

        cluster.win("B", "CD")
        cluster.isolate("D")  # it voted, and got nothing of B's
        cluster.release("C", "B")
        Asked(cluster["B"], RemoveMember("A"))
        cluster["B"].propose(ORDER)
        cluster.run(0.2)
        assert cluster["B"].acknowledged == ([ORDER] if is_lost else [])

        cluster.isolate("B")
        cluster.isolate("C")
        for a, b in ("AD", "AE", "DE"):
            cluster.connect(a, b)
            cluster.release(a, b)
        majority = [cluster[name] for name in "ADE"]
        assert cluster.run_until(lambda: any(one.is_leader for one in majority), seconds=5)
        leader = next(one for one in majority if one.is_leader)
        leader.propose(b"another")
        cluster.run(0.3)
        assert leader.acknowledged == [b"another"]
        assert all(one.applied == [b"another"] for one in majority)


@pytest.mark.parametrize("with_snapshot", [False, True], ids=["the log", "a snapshot"])
def test_who_the_members_are_survives_the_end_of_all_processes_in(with_snapshot: bool) -> None:
    with three_and_a_joiner() as cluster:
        made(cluster, "A", add("D"))
        cluster.run_until(lambda: voters(cluster) == {"ABCD"}, seconds=2)
        made(cluster, "A", RemoveMember("B"))
        cluster.run(0.3)
        for name in "ACD" if with_snapshot else "":
            cluster["A"].propose(b"more")
            cluster[name].compact()
            cluster[name].propose(b"and more")
            cluster.run(0.3)
            cluster[name].compact()
        cluster.power_cut("A", "C", "D")
        for name in "ACD":
            configuration = cluster[name].raft.configuration
            assert (configuration.voters, configuration.removed) == (("A", "C", "D"), ("B",))


def test_a_joiner_that_is_sent_a_snapshot_learns_from_it_who_the_members_are() -> None:
    with three_and_a_joiner() as cluster:
        made(cluster, "A", RemoveMember("C"))
        for count in range(3):
            cluster["A"].propose(b"%d" % count)
            cluster.run(0.2)
            cluster["A"].compact()
        assert cluster["A"].journal.first_index > 3, "the log has forgotten the beginning"
        made(cluster, "A", add("D"))
        assert cluster.run_until(lambda: voters(cluster) == {"ABD"}, seconds=3)
        assert cluster["D"].applied == cluster["A"].applied
        assert cluster["D"].raft.configuration.removed == ("C",)


# With one voter ---------------------------------------------------------------------------------


def test_the_only_voter_leads_in_no_term_that_a_power_cut_could_take_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leaves voters B and learner C, and tells B to stand; B asks nobody, and loses its power.

    What it sent in its term must not be sent again with something else in it.
    """
    monkeypatch.setattr("raft_exchange.raft.changing.PROMOTION_LAG_MAX", -1)  # C only listens
    with Cluster.of(Ours, "ABC", founders="AB") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        made(cluster, "A", add("C"))
        cluster.run(0.3)
        Asked(cluster["A"], RemoveMember("A"))
        while not cluster["B"].is_leader:
            cluster.now_s += ROUND_S
            for name in "ABC":
                cluster.tick(name, apart_s=0)
            for sender, receiver in permutations("ABC", 2):
                if not cluster["B"].is_leader:
                    cluster.deliver(sender, receiver)
        cluster["B"].propose(b"X")
        monkeypatch.setattr(cluster["B"].journal, "sync", _lose_power)
        with pytest.raises(PowerLost):
            cluster.tick("B", apart_s=0)
        monkeypatch.undo()
        cluster.deliver("B", "C")
        cluster.tick("C")
        cluster.power_cut("B")
        cluster.isolate("A")
        cluster.connect("B", "C")
        assert cluster.run_until(lambda: cluster["B"].is_leader, seconds=10)
        cluster["B"].propose(b"Y")
        cluster.run(2)
        assert cluster["B"].applied == cluster["C"].applied


def test_nobody_is_told_that_it_was_removed_before_that_is_synced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two voters one is left, whose own log alone commits it."""
    with Cluster.of(Ours, "AB") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        leader, before = cluster["A"], cluster["A"].journal.last_index
        real = leader.journal.sync
        committed: list[int] = []  # at each sync, before it is done

        def sync() -> None:
            committed.append(leader.raft.commit_index)
            real()

        monkeypatch.setattr(leader.journal, "sync", sync)
        asked = Asked(cluster["B"], RemoveMember("B"))
        assert cluster.run_until(lambda: asked.outcome is not None, seconds=6)
        assert committed[0] == before
