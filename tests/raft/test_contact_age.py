"""How old what a member shows may be, and what it must not take for fresh."""

from __future__ import annotations

from pysyncobj.node import Node

from raft_exchange.raft.attention import CATCH_UP_S, PAUSE_S_MAX
from raft_exchange.raft.wire import SnapshotChunk
from tests.support.schedule_members import Ours
from tests.support.schedules import Cluster


def age_s(cluster: Cluster, name: str) -> float:
    found = cluster[name].raft.contact_age_s()
    assert found is not None
    return float(found)


def test_where_all_is_well_every_member_is_as_fresh_as_its_heartbeats() -> None:
    with Cluster.of(Ours) as cluster:
        assert all(one.raft.contact_age_s() is None for one in cluster.members.values())
        cluster.elect("A")
        cluster.run(0.5)
        assert all(age_s(cluster, name) < 0.1 for name in "ABC")


def test_who_gets_a_snapshot_is_as_old_as_what_it_has_applied() -> None:
    """It hears its leader all the time, and lacks by any amount what that has committed."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.5)
        cluster.isolate("C")
        for number in range(3):
            cluster["A"].propose(b"%d" % number)
            cluster.run(0.1)
            cluster["A"].compact()
        cluster.hold("C", "A")  # so that the transfer does not end
        cluster.join("C")
        cluster.run(5)
        heard = [m for sender, to, m in cluster.messages if (sender, to) == ("A", "C")]
        assert isinstance(heard[-1], SnapshotChunk)
        assert cluster["C"].raft.leader_id == "A"
        assert age_s(cluster, "C") >= 5
        cluster.release("C", "A")
        cluster.run(1)
        assert cluster["C"].applied == cluster["A"].applied
        assert age_s(cluster, "C") < 0.1


def test_a_new_leader_is_as_old_as_before_until_its_term_has_committed() -> None:
    """What the leader before it had committed, it may not have applied yet."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("A")
        cluster.win("B", "C")
        cluster.tick("B", times=2)
        cluster.deliver("B", "C")
        cluster.tick("C")
        assert age_s(cluster, "B") >= 1
        assert age_s(cluster, "C") >= 1
        cluster.release("C", "B")
        cluster.run(0.2)
        assert age_s(cluster, "B") < 0.1
        assert age_s(cluster, "C") < 0.1


def test_a_refusal_makes_a_new_leader_no_fresher() -> None:
    """A majority is heard, and what it had acknowledged under another is not applied here yet."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("C")
        cluster["A"].propose(b"acknowledged")
        for sender, receiver in ("AB", "BA"):
            cluster.tick(sender)
            cluster.deliver(sender, receiver)
            cluster.tick(receiver)
        assert cluster["A"].acknowledged == [b"acknowledged"]
        cluster.isolate("A")
        cluster.connect("B", "C")
        cluster.win("B", "C")
        cluster.tick("B")
        cluster.deliver("B", "C")
        cluster.tick("C")
        cluster.deliver("C", "B")
        cluster.tick("B", apart_s=0)
        assert cluster["B"].raft.leadership.progress[Node("C")].heard_at_s == cluster.now_s
        assert cluster["B"].applied == []
        assert age_s(cluster, "B") >= 1
        cluster.release("C", "B")
        cluster.run(0.2)
        assert cluster["B"].applied == [b"acknowledged"]
        assert age_s(cluster, "B") < 0.1


def test_what_a_leader_reads_after_a_pause_does_not_make_it_fresh() -> None:
    """Others have a leader of their own by then, and have gone on."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.5)
        cluster.tick("A")
        for name in "BC":
            cluster.deliver("A", name)
            cluster.tick(name)
            cluster.hold(name, "A")
        cluster.still.add("A")
        unread = cluster.in_flight("B", "A")
        cluster.run(10)
        other = next(name for name in "BC" if cluster[name].is_leader)
        cluster[other].propose(b"gone on")
        cluster.run(0.5)
        cluster["A"].tick()
        cluster.deliver("B", "A", unread)
        cluster["A"].tick()
        assert age_s(cluster, "A") >= 10
        cluster.disconnect("A", "B")
        cluster.disconnect("A", "C")
        for _ in range(10):
            cluster.tick("A", apart_s=PAUSE_S_MAX / 2)
            assert age_s(cluster, "A") >= 10


def test_what_a_follower_reads_after_a_pause_does_not_make_it_fresh() -> None:
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.5)
        cluster.tick("A")  # a heartbeat, that stays in C's socket
        cluster.hold("A", "C")
        cluster.still.add("C")
        unread = cluster.in_flight("A", "C")
        cluster.run(10)
        cluster.deliver("A", "C", unread)
        cluster["C"].tick()
        assert age_s(cluster, "C") >= 10
        cluster.release("A", "C")
        cluster.still.clear()
        cluster.run(CATCH_UP_S + 0.2)
        assert age_s(cluster, "C") < 0.1
