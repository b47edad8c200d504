"""Members come and go, one at a time, through the log: the stock library and our group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import pytest

from raft_exchange.raft.changing import Changes
from raft_exchange.raft.leading import Leadership
from raft_exchange.raft.members import MemberAddress
from raft_exchange.raft.membership import (
    AddMember,
    Change,
    Configuration,
    Refusal,
    Refused,
    RemoveMember,
)
from tests.support.schedule_members import Member, Ours
from tests.support.schedules import ROUND_S, Cluster, on

ORDER = b"order"


class PowerLost(Exception):
    """In the middle of a tick."""


def _lose_power() -> None:
    raise PowerLost


def add(name: str) -> AddMember:
    return AddMember(MemberAddress(name, f"{name}:7081", f"http://{name}:8081"))


class Asked:
    """A change that was asked for through a member, and what came of it."""

    def __init__(self, member: Member, change: Change) -> None:
        self.outcome: Configuration | Refused | None = None
        member.raft.request_change(change, self._resolve)

    def _resolve(self, outcome: Configuration | Refused) -> None:
        assert self.outcome is None, "answered once"
        self.outcome = outcome


def made(cluster: Cluster, by: str, change: Change) -> Configuration:
    """Ask one member for a change, and wait until it is made."""
    asked = Asked(cluster[by], change)
    assert cluster.run_until(lambda: asked.outcome is not None, seconds=6)
    assert isinstance(asked.outcome, Configuration), asked.outcome
    return asked.outcome


def refusal(cluster: Cluster, by: str, change: Change) -> Refusal:
    asked = Asked(cluster[by], change)
    assert cluster.run_until(lambda: asked.outcome is not None, seconds=6)
    assert isinstance(asked.outcome, Refused), asked.outcome
    return asked.outcome.code


def voters(cluster: Cluster) -> set[str]:
    """Return who votes, by each member that is none of those that were removed."""
    found = {
        "".join(one.raft.configuration.voters)
        for one in cluster.members.values()
        if one.raft.configuration.members and not one.raft.is_removed
    }
    return found


@contextmanager
def three_and_a_joiner(**options: Any) -> Iterator[Cluster]:
    with Cluster.of(Ours, "ABCD", founders="ABC", **options) as cluster:
        cluster.elect("A")
        cluster["A"].propose(ORDER)
        cluster.run(0.3)
        yield cluster


# Coming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["A", "B"], ids=["asking the leader", "asking a follower"])
def test_who_is_added_gets_the_log_and_then_a_vote(by: str) -> None:
    with three_and_a_joiner() as cluster:
        after = made(cluster, by, add("D"))
        assert after.learners == ("D",)
        assert cluster.run_until(lambda: voters(cluster) == {"ABCD"}, seconds=2)
        assert cluster["D"].applied == [ORDER]
        assert cluster["A"].raft.configuration.addresses == (add("D").member,)
        cluster["A"].propose(b"another")
        cluster.run(0.3)
        assert cluster["D"].applied == [ORDER, b"another"]


def test_a_vote_of_the_new_member_counts() -> None:
    with three_and_a_joiner() as cluster:
        made(cluster, "A", add("D"))
        cluster.run_until(lambda: voters(cluster) == {"ABCD"}, seconds=2)
        cluster.run(0.2)
        cluster.isolate("A")
        cluster.elect("D")
        cluster["D"].propose(b"another")
        cluster.run(0.3)
        assert cluster["D"].acknowledged == [b"another"]


@on(stock=False, ours=True)
def test_a_new_member_that_lacks_the_log_holds_up_no_commit(
    member: type[Member], outcome: bool
) -> None:
    """C is down, D is added and is not there yet. Two of three are a majority, two of four are not.

    On the stock library an added member counts at once.
    """
    options: dict[str, Any] = {} if member is Ours else {"dynamicMembershipChange": True}
    with Cluster.of(member, "ABCD", founders="ABC", **options) as cluster:
        cluster.isolate("D")
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("C")
        if member is Ours:
            made(cluster, "A", add("D"))
        else:
            cluster["A"].raft.addNodeToCluster(cluster["D"].raft.selfNode)
            cluster.run(0.3)
        cluster["A"].propose(ORDER)
        cluster.run(0.5)
        assert (cluster["A"].acknowledged == [ORDER]) is outcome
        if member is Ours:
            assert voters(cluster) == {"ABC"}


@on(stock=False, ours=True)
def test_b10_a_node_that_is_not_added_yet_counts_no_terms(
    member: type[Member], outcome: bool
) -> None:
    """B10. It waits ten seconds, is added, and with it would come the term that it has reached."""
    with Cluster.of(member, "ABCD", founders="ABC") as cluster:
        cluster.elect("A")
        cluster.run(10)
        assert (cluster["D"].term == 0) is outcome


def test_a_member_whose_log_does_not_tell_of_the_leader_yet_follows_it_when_it_knows_it() -> None:
    """C was away while D came, and all its connections but D's are slow."""
    with three_and_a_joiner() as cluster:
        cluster.isolate("C")
        made(cluster, "A", add("D"))
        assert cluster.run_until(lambda: "D" in cluster["A"].raft.member_ids, seconds=2)
        cluster.run(0.2)
        cluster.isolate("A")
        cluster["C"].raft.know("D")
        cluster.connect("C", "D")
        cluster.connect("C", "B")
        cluster.elect("D")
        assert cluster.run_until(lambda: "D" in cluster["C"].raft.member_ids, seconds=2)
        assert cluster["C"].applied == [ORDER]


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


def test_nobody_is_told_that_it_was_removed_before_that_is_synced() -> None:
    """Of two voters one is left, whose own log alone commits it."""
    with Cluster.of(Ours, "AB") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        real = cluster["A"].journal.sync
        told: list[bool] = []

        def sync() -> None:
            told.append(cluster["A"].raft.commit_index > synced_to)
            real()

        synced_to = cluster["A"].journal.last_index
        cluster["A"].journal.sync = sync
        asked = Asked(cluster["B"], RemoveMember("B"))
        assert cluster.run_until(lambda: asked.outcome is not None, seconds=6)
        assert told[0] is False, "committed before it was synced"


# Going ------------------------------------------------------------------------------------------


@on(stock=False, ours=True)
def test_who_is_removed_is_told_and_stands_for_no_election_any_more(
    member: type[Member], outcome: bool
) -> None:
    """On the stock library it does not learn of it, and enters term after term for ever."""
    options: dict[str, Any] = {} if member is Ours else {"dynamicMembershipChange": True}
    with Cluster.of(member, **options) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        if member is Ours:
            made(cluster, "A", RemoveMember("C"))
        else:
            cluster["A"].raft.removeNodeFromCluster(cluster["C"].raft.selfNode)
        cluster.run(0.3)
        term = cluster["C"].term
        cluster.run(5)
        assert (cluster["C"].term == term) is outcome
        if member is Ours:
            assert cluster["C"].raft.is_removed
            assert voters(cluster) == {"AB"}


def test_who_was_away_when_it_was_removed_is_told_when_it_comes_back() -> None:
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("C")
        made(cluster, "A", RemoveMember("C"))
        cluster.run(3)
        term = cluster["A"].term
        cluster.join("C")
        assert cluster.run_until(lambda: cluster["C"].raft.is_removed, seconds=2)
        cluster.run(3)
        assert cluster["A"].term == term, "and it disturbed nobody"
        cluster.kill("C")
        cluster.join("C")
        assert cluster.run_until(lambda: cluster["C"].raft.is_removed, seconds=2)


@on(stock=False, ours=True)
def test_a_leader_may_remove_itself_and_goes_when_that_is_committed(
    member: type[Member], outcome: bool
) -> None:
    """The stock library refuses."""
    options: dict[str, Any] = {} if member is Ours else {"dynamicMembershipChange": True}
    with Cluster.of(member, **options) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        if member is Ours:
            made(cluster, "B", RemoveMember("A"))
        else:
            cluster["A"].raft.removeNodeFromCluster(cluster["A"].raft.selfNode)
        gone = cluster.run_until(
            lambda: (
                not cluster["A"].is_leader and (cluster["B"].is_leader or cluster["C"].is_leader)
            ),
            seconds=1,
        )
        assert gone is outcome
        if member is Ours:
            assert cluster.run_until(lambda: cluster["A"].raft.is_removed, seconds=1)
            assert voters(cluster) == {"BC"}


def test_the_last_but_one_may_go_and_the_last_leads_alone() -> None:
    with Cluster.of(Ours, "AB") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        made(cluster, "A", RemoveMember("B"))
        cluster["A"].propose(ORDER)
        cluster.run(0.1)
        assert cluster["A"].acknowledged == [ORDER]
        assert refusal(cluster, "A", RemoveMember("A")) is Refusal.NO_QUORUM


def test_a_removed_id_never_returns() -> None:
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        made(cluster, "A", RemoveMember("C"))
        assert refusal(cluster, "B", add("C")) is Refusal.ID_REMOVED
        made(cluster, "A", RemoveMember("C"))


def test_a_member_without_whom_no_majority_is_in_reach_is_not_removed() -> None:
    """C is away. Without B there were A of two."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("C")
        cluster.run(0.1)
        assert refusal(cluster, "A", RemoveMember("B")) is Refusal.NO_QUORUM
        made(cluster, "A", RemoveMember("C"))
        assert voters(cluster) >= {"AB"}


def test_nobody_who_is_no_member_can_be_removed() -> None:
    with three_and_a_joiner() as cluster:
        assert refusal(cluster, "B", RemoveMember("X")) is Refusal.NOT_A_MEMBER


# One at a time, in the log ----------------------------------------------------------------------


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
        cluster.end_patience("B")
        cluster.hold("C", "B")
        cluster.tick("B")
        cluster.deliver("B", "C")
        cluster.deliver("C", "B")  # pre-vote
        cluster.tick("B")
        cluster.deliver("B", "C")
        cluster.tick("C")
        cluster.deliver("C", "B")  # vote
        assert cluster["B"].is_leader
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

        cluster.end_patience("B")
        for name in "CD":
            cluster.hold(name, "B")
        for _ in ("pre-vote", "vote"):
            cluster.tick("B")
            for name in "CD":
                cluster.deliver("B", name)
                cluster.tick(name)
                cluster.deliver(name, "B")
        assert cluster["B"].is_leader
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
