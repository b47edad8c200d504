"""Members come and go, one at a time, through the log: the stock library and our group."""

from __future__ import annotations

from typing import Any

import pytest

from raft_exchange.raft.membership import Refusal, RemoveMember
from tests.support.schedule_changes import ORDER, add, made, refusal, three_and_a_joiner, voters
from tests.support.schedule_members import Member, Ours
from tests.support.schedules import Cluster, on

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
