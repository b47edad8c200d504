"""What the stock library loses or answers falsely in replication, and our group does not.

Each schedule runs on both, message by message; what comes out on the stock library is the defect.
Nothing here needs a crash of a disk: connections break, processes are slow, leaders change.
"""

from __future__ import annotations

from typing import Any

import pytest

from raft_exchange.raft import leading, snapshot_sending
from raft_exchange.raft.wire import AppendEntries
from tests.support.schedule_members import Member, Ours
from tests.support.schedules import Cluster, on

OTHERS = [b"other %d" % number for number in range(1, 7)]
SIX = [b"order %d" % number for number in range(1, 7)]
STOCK_BATCH_BYTES = 100
"""With the orders above, two entries a message; the stock library chunks longer entries."""


@pytest.fixture(autouse=True)
def _small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "APPEND_ENTRIES_MAX", 2)
    monkeypatch.setattr(snapshot_sending, "CHUNK_BYTES_MAX", 40)


def options(member: type[Member]) -> dict[str, Any]:
    return {} if member is Ours else {"appendEntriesBatchSizeBytes": STOCK_BATCH_BYTES}


@on(stock=SIX[2:], ours=[])
def test_a2_a_snapshot_does_not_commit_what_the_receiver_alone_has(
    member: type[Member], outcome: list[bytes]
) -> None:
    """A2. A deposed leader with four uncommitted orders meets a successor that has compacted.

    On the stock library the first piece of the snapshot carries the commit index, and the old
    leader commits its own tail up to there, answers SUCCESS and then loses it to the snapshot.
    """
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("A")
        for order in SIX[2:]:
            cluster["A"].propose(order)
        cluster.tick("A")
        cluster.elect("B")
        for order in OTHERS:
            cluster["B"].propose(order)
            cluster.run(0.2)
            cluster["B"].compact()
        assert OTHERS[0] not in cluster["B"].log
        cluster.connect("A", "B")
        for _ in range(40):
            cluster.tick("B")
            while cluster.in_flight("B", "A"):
                cluster.deliver("B", "A", 1)
                cluster.tick("A", apart_s=0.001)
            cluster.deliver("A", "B")
        deposed = cluster["A"]
        assert deposed.applied == OTHERS, "it has caught up"
        assert not isinstance(deposed, Ours) or deposed.snapshots.installed == 1
        assert cluster["A"].acknowledged == outcome


@on(stock=SIX[2:], ours=[])
def test_a3_a_leaders_death_between_two_messages_loses_nothing_acknowledged(
    member: type[Member], outcome: list[bytes]
) -> None:
    """A3. A follower answers two messages that it cannot place, after a reconnect.

    On the stock library the second answer makes the leader send everything again after it was
    sent; the acknowledgements of the first time arrive and count; the first message of the second
    time deletes what followed it; and the leader dies before the rest is there.
    """
    with Cluster.of(member, **options(member)) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("C")
        for order in SIX:
            cluster["A"].propose(order)
        cluster.tick("A", times=2)
        cluster.disconnect("A", "B")
        cluster.connect("A", "B")
        cluster.tick("A", times=2)
        cluster.deliver("A", "B")
        cluster.tick("B")
        cluster.deliver("B", "A", 1)
        cluster.tick("A")
        cluster.deliver("A", "B")
        cluster.tick("B")
        cluster.deliver("B", "A", 1)  # stock: the second answer; everything leaves once more
        cluster.tick("A")
        cluster.deliver("B", "A")
        cluster.tick("A", times=2)
        cluster.deliver("A", "B", 1)
        cluster.tick("B", apart_s=0.001)
        cluster.isolate("A")
        cluster.connect("B", "C")
        cluster.elect("B")
        cluster.run(0.3)
        assert cluster["A"].acknowledged == SIX
        assert [order for order in SIX if order not in cluster["C"].applied] == outcome


@on(stock=[], ours=SIX)
def test_a3_what_a_leader_said_before_is_no_reason_to_delete_what_it_said_since(
    member: type[Member], outcome: list[bytes]
) -> None:
    """A3, its core. Every message of the leader's term arrives once more, in order.

    The stock library deletes whatever follows a message's previous entry, equal or not. The
    follower does not know yet that any of it is committed; its answers have left.
    """
    with Cluster.of(member, **options(member)) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        commit_index = cluster["B"].commit_index
        for order in SIX:
            cluster["A"].propose(order)
        while cluster["B"].log != SIX:
            cluster.tick("A")
            cluster.deliver("A", "B")
            cluster.tick("B", apart_s=0.001)
            cluster.deliver("B", "A", 1)
        assert cluster["B"].commit_index == commit_index
        shortest = SIX
        for sender, receiver, message in cluster.messages[:]:
            if (sender, receiver) == ("A", "B"):
                cluster["B"].receive("A", message)
                shortest = min(shortest, cluster["B"].log, key=len)
        assert shortest == outcome


@on(stock=[b"late 1", b"late 2", b"late 3"], ours=[])
def test_a4_an_acknowledgement_of_an_earlier_leadership_counts_for_nothing(
    member: type[Member], outcome: list[bytes]
) -> None:
    """A4. Five members; one follower's answers are slow, and its leader loses and regains the lead.

    In the first term B stores six orders of A; in the second, D's, it drops them again; in the
    third A leads once more and three new orders are with A and C only. Then B's answer of the
    first term arrives: on the stock library A tells three clients that their orders are safe.
    """
    with Cluster.of(member, "ABCDE") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.hold("B", "A")
        cluster.deliver("B", "A")
        for follower in "CDE":
            cluster.disconnect("A", follower)
        for order in SIX:
            cluster["A"].propose(order)
        cluster.tick("A", times=2)
        cluster.deliver("A", "B")
        cluster.tick("B")
        early_answers = cluster.in_flight("B", "A")
        assert early_answers
        assert cluster["B"].log == SIX
        cluster.elect("D")
        cluster.join("A")
        assert cluster.run_until(lambda: cluster["A"].log == cluster["B"].log == [], seconds=3)
        cluster.isolate("D")
        cluster.elect("A")
        cluster.disconnect("A", "E")
        for number in range(1, 4):
            cluster["A"].propose(b"late %d" % number)
        for _ in range(3):
            cluster.tick("A")
            cluster.deliver("A", "C")
            cluster.tick("C")
            cluster.deliver("C", "A")
        cluster.deliver("B", "A", early_answers)
        cluster.tick("A", times=2)
        assert cluster["C"].log == cluster["A"].log, "two of five have them"
        assert cluster["B"].log == []
        assert cluster["A"].acknowledged == outcome
        cluster.isolate("A")
        cluster.isolate("C")
        for member_of_the_rest in "BE":
            cluster.connect("D", member_of_the_rest)
        cluster.elect("E")
        cluster.run(0.3)
        assert cluster["E"].commit_index == cluster["B"].commit_index > 3
        assert cluster["E"].log == [], "the majority that is left goes on without them"


def test_a2_a_heartbeat_commits_only_what_was_compared_with_the_leaders_log() -> None:
    """A2, its core, on ours. A leader far ahead meets a log with a tail of its own."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        commit_index = cluster["A"].commit_index
        cluster.isolate("A")
        for order in SIX:
            cluster["A"].propose(order)
        cluster.tick("A")
        assert cluster["A"].log == SIX
        heartbeat = AppendEntries(
            cluster["A"].term + 1,
            commit_index=commit_index + len(SIX),
            previous_index=commit_index,
            previous_term=cluster["A"].term,
            entries=[],
        )
        cluster["A"].receive("B", heartbeat)
        cluster.tick("A")
        assert cluster["A"].commit_index == commit_index
        assert cluster["A"].applied == []


def test_an_entry_of_an_earlier_term_does_not_commit_by_being_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Raft's figure 8, on ours; right in the library, and to stay so where we do it ourselves.

    A's order of term 1 is with A and B, then E leads term 2 with another one of its own, then A
    leads term 3 and brings its old order to C as well. That is a majority, but E can still win.
    """
    monkeypatch.setattr(leading, "APPEND_ENTRIES_MAX", 1)
    old, other = SIX[0], OTHERS[0]
    with Cluster.of(Ours, "ABCDE") as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.still |= set("CDE")  # else they have another leader at once
        for follower in "CDE":
            cluster.disconnect("A", follower)
        cluster["A"].propose(old)
        cluster.run(0.2)
        assert [cluster[name].log for name in "ABC"] == [[old], [old], []]
        cluster.still.clear()
        cluster.isolate("A")
        cluster.isolate("B")
        cluster.elect("E")
        for follower in "CD":
            cluster.disconnect("E", follower)  # its first entry is with E only
        cluster["E"].propose(other)
        cluster.tick("E", times=2)
        for voter in "BC":
            cluster.connect("A", voter)
        for _ in range(2):  # the first attempt tells A the term
            cluster.end_patience("A")
            cluster.run_until(lambda: cluster["A"].is_leader, seconds=0.2)
        assert cluster["A"].is_leader
        for _ in range(20):
            if cluster["C"].log == [old]:
                break
            for follower in "BC":
                cluster.deliver("A", follower, 1)
                cluster.tick(follower, apart_s=0.001)
                cluster.deliver(follower, "A")
            cluster.tick("A", apart_s=0.001)
        assert [cluster[name].log for name in "ABC"] == [[old]] * 3
        assert cluster["C"].raft._log.last_index < cluster["A"].raft._log.last_index
        cluster.tick("A", times=2, apart_s=0.001)
        assert cluster["A"].acknowledged == []
        cluster.run(0.3)
        assert cluster["A"].acknowledged == [old], "the first entry of its own term brings it in"


def test_a2_a_snapshot_of_ones_own_commits_nothing_behind_it() -> None:
    """A2, on ours. A deposed leader with a tail that never committed restarts from a snapshot."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster["A"].propose(SIX[0])
        cluster.run(0.3)
        cluster["A"].compact()
        commit_index = cluster["A"].commit_index
        cluster.isolate("A")
        for order in SIX[1:]:
            cluster["A"].propose(order)
        cluster.tick("A")
        cluster.kill("A")
        cluster.tick("A")
        assert cluster["A"].log == SIX
        assert cluster["A"].commit_index == commit_index
        assert cluster["A"].applied == SIX[:1]
