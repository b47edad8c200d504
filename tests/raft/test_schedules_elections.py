"""Who leads, who believes to, and who has a say in it: the stock library and our group.

Each schedule runs on both; what comes out on the stock library is the defect.
"""

from __future__ import annotations

from typing import Any

import pytest

from raft_exchange.raft.hooks import Timing
from raft_exchange.raft.wire import PreVoteReply, RequestPreVote
from tests.support.schedule_members import Member, Ours, Stock
from tests.support.schedules import Cluster, on

ORDER = b"order"


@on(stock=30.0, ours=Timing().quorum_contact_s_max)
def test_b9_a_leader_cut_off_from_everybody_stops_leading(
    member: type[Member], outcome: float
) -> None:
    """B9. The others elect another; the old leader answers reads from its stale state.

    On the stock library with its default settings for half a minute.
    """
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("A")
        cut_at_s = cluster.now_s
        assert cluster.run_until(lambda: not cluster["A"].is_leader, seconds=60)
        assert cluster.now_s - cut_at_s == pytest.approx(outcome, abs=0.1)
        assert cluster["B"].is_leader or cluster["C"].is_leader


@on(stock=True, ours=False)
def test_b10_a_member_that_cannot_hear_the_leader_does_not_disturb_the_others(
    member: type[Member], outcome: bool
) -> None:
    """B10. One of three connections is cut; the leader still has its majority through the other.

    On the stock library the member without a leader enters term after term and deposes it.
    """
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.disconnect("A", "B")
        cluster.run(20)
        was_disturbed = cluster.leaders != {1: {"A"}} or not cluster["A"].is_leader
        assert was_disturbed is outcome


@on(stock=True, ours=False)
def test_b10_a_member_that_comes_back_does_not_depose_the_leader(
    member: type[Member], outcome: bool
) -> None:
    """B10. Two of five are cut off together, long enough to try often, and then come back."""
    with Cluster.of(member, "ABCDE") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        for lost in "DE":
            for other in "ABC":
                cluster.disconnect(lost, other)
        cluster.run(10)
        assert cluster.leaders == {1: {"A"}}
        for lost in "DE":
            cluster.join(lost)
        cluster.run(3)
        assert (cluster.leaders != {1: {"A"}}) is outcome
        assert len({one.term for one in cluster.members.values()}) == 1


@pytest.mark.parametrize("name", ["A", "B"], ids=["who leads", "who hears the leader"])
def test_b10_nobody_who_knows_a_leader_encourages_another(name: str) -> None:
    """B10, on ours. The log of the one who asks is as good as any, and its term would be next."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        before = len(cluster.messages)
        last_index = cluster["A"].commit_index
        cluster[name].receive("C", RequestPreVote(1, 2, last_index, 1))
        assert cluster.messages[before:] == [(name, "C", PreVoteReply(1, 2, granted=False))]


@on(stock=True, ours=False)
def test_b10_a_deposed_leader_learns_it_from_the_first_who_knows(
    member: type[Member], outcome: bool
) -> None:
    """B10. A leader stands still while the others elect another, and goes on with its own term.

    The stock library's members ignore it silently, so it believes on until its successor happens
    to reach it; ours answer with their term.
    """
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.still.add("A")
        cluster.isolate("A")
        cluster.elect("B", after_s=0.1)
        cluster.connect("A", "C")
        cluster.still.discard("A")
        cluster.tick("A", times=2)
        assert cluster["A"].is_leader, "it still believes so"
        cluster.deliver("A", "C")
        cluster.tick("C", apart_s=0.001)
        cluster.deliver("C", "A")
        assert cluster["A"].is_leader is outcome


def test_b11_a_member_without_a_list_of_peers_acknowledges_alone_on_stock() -> None:
    """B11. A process is started before the list of its peers is known, or with an empty one."""
    with Cluster.of(Stock, "A") as cluster:
        cluster.run(1.5)
        cluster["A"].propose(ORDER)
        cluster.run(0.2)
        assert cluster["A"].acknowledged == [ORDER]


def test_b11_a_member_without_a_list_of_peers_waits_to_be_told_on_ours() -> None:
    """B11. Whoever did not found the group learns from its log who votes, and until then nobody."""
    with Cluster.of(Ours, "A", founders="") as cluster:
        cluster.run(30)
        cluster["A"].propose(ORDER)
        assert cluster["A"].term == 0
        assert cluster["A"].log == []


def test_b11_a_member_that_reaches_nobody_neither_leads_nor_acknowledges() -> None:
    """B11, on ours. What counts is the list, not who happens to be connected."""
    with Cluster.of(Ours) as cluster:
        cluster.isolate("A")
        for _ in range(100):
            cluster["A"].propose(ORDER)
            cluster.tick("A", apart_s=0.1)
        assert not cluster["A"].is_leader
        assert cluster["A"].term == 0
        assert cluster["A"].log == []


@pytest.mark.parametrize("member", [Stock, Ours], ids=["stock", "ours"])
def test_a_member_that_lacks_what_is_committed_is_not_elected(member: type[Member]) -> None:
    """Right in the library, and to stay so where we do it ourselves (Raft section 5.4.1)."""
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("C")
        cluster["A"].propose(ORDER)
        cluster.run(0.3)
        assert cluster["A"].acknowledged == [ORDER]
        cluster.isolate("A")
        cluster.connect("B", "C")
        cluster.end_patience("C")
        assert not cluster.run_until(lambda: cluster["C"].is_leader, seconds=0.2)
        assert cluster.run_until(lambda: cluster["C"].applied == [ORDER], seconds=3)
        assert cluster["B"].is_leader


@on(stock={2, 3}, ours={2})
def test_two_that_stand_at_once_do_not_split_the_votes(
    member: type[Member], outcome: set[int]
) -> None:
    """The leader dies and both others lose patience at the same moment.

    The stock library's vote for themselves, and a second term is needed, half a second later.
    """
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("A")
        cluster.still.add("A")
        cluster.end_patience("B", after_s=0)
        for name in "BC":
            cluster[name].raft._SyncObj__raftElectionDeadline = cluster.now_s
        assert cluster.run_until(
            lambda: cluster["C"].is_leader or cluster["B"].is_leader, seconds=3
        )
        assert set(range(2, max(cluster["B"].term, cluster["C"].term) + 1)) == outcome


def test_who_refuses_a_shorter_log_stands_at_once_itself() -> None:
    """On ours. B asked too early, when C still heard the leader; now C asks, and B's log is longer.

    Were B to wait for its next turn, nobody could lead until then.
    """
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.hold("A", "C")
        cluster["A"].propose(ORDER)
        cluster.run(0.1)
        cluster.isolate("A")
        cluster.still.add("A")
        assert (len(cluster["B"].log), len(cluster["C"].log)) == (1, 0)
        cluster.end_patience("C", after_s=0)
        assert cluster.run_until(lambda: cluster["B"].is_leader, seconds=0.1)


def candidate_with_one_vote(cluster: Cluster) -> Any:
    """Let A, of five, stand for term 1 and get B's vote; return that vote."""
    cluster.end_patience("A")
    while cluster["A"].term == 0:
        cluster.tick("A", apart_s=0.001)
        if cluster["A"].term == 0:  # ours: first it asks whether it might win
            for other in "BCDE":
                cluster.deliver("A", other)
                cluster.deliver(other, "A")
    cluster.tick("A", apart_s=0.001)
    cluster.deliver("A", "B")
    cluster.tick("B", apart_s=0.001)
    cluster.deliver("B", "A")
    sender, receiver, vote = cluster.messages[-1]
    assert (sender, receiver) == ("B", "A")
    assert not cluster["A"].is_leader, "it has two votes of five"
    return vote


@on(stock=True, ours=False)
@pytest.mark.parametrize("voters", ["BB", "XY"], ids=["the same member", "strangers"])
def test_b12_only_members_have_a_vote_and_each_has_one(
    member: type[Member], outcome: bool, voters: str
) -> None:
    """B12. A candidate needs three votes of five and has two when more arrive.

    The stock library counts answers, not members.
    """
    with Cluster.of(member, "ABCDE") as cluster:
        vote = candidate_with_one_vote(cluster)
        for voter in voters:
            cluster["A"].receive(voter, vote)
        assert cluster["A"].is_leader is outcome


def test_b12_the_question_before_the_vote_counts_members_too() -> None:
    """B12, on ours. One member's yes, heard often, and strangers' do not start an election."""
    with Cluster.of(Ours, "ABCDE") as cluster:
        cluster.end_patience("A")
        cluster.tick("A", apart_s=0.001)
        for sender in "BBBXY":
            cluster["A"].receive(sender, PreVoteReply(0, 1, granted=True))
        cluster.tick("A", apart_s=0.001)
        assert cluster["A"].term == 0
        cluster["A"].receive("C", PreVoteReply(0, 1, granted=True))
        assert cluster["A"].term == 1
