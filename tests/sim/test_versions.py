"""A cluster that is upgraded node by node, and one that is not finished.

The later release of these tests knows one command more than the earlier: `CancelAll` stands for
what version 2 brought.
"""

from __future__ import annotations

import pytest

from raft_exchange.matching.messages import ANONYMOUS, CancelAll
from raft_exchange.matching.versions import NewerVersion, Versions
from raft_exchange.sequencer.codec import Batch, Request, encode_batch
from raft_exchange.sequencer.outcome import Committed, Outcome
from tests.sim import test_snapshots
from tests.support.history import Clients, check_agreement, check_history
from tests.support.sim_node import SimNode
from tests.support.world import World

RELEASE_1 = Versions(1, {})
RELEASE_2 = Versions(2, {CancelAll: 2})
CANCEL = Request(CancelAll(ANONYMOUS, None, None), "the key of a new command")


def begin(world: World) -> Clients:
    assert world.run_until(lambda: world.leader() is not None, seconds=10)
    clients = Clients(world, rate_per_s=50, seed=1)
    clients.start()
    world.run(1)
    return clients


def upgrade(world: World, node: SimNode) -> None:
    node.crash()
    world.run(0.5)
    node.versions = RELEASE_2
    node.start()
    world.run(3)


def submitted(world: World, node: SimNode, request: Request) -> list[Outcome]:
    outcomes: list[Outcome] = []
    node.submit([request], outcomes.extend)
    world.run(2)
    return outcomes


def mixed_world() -> World:
    world = test_snapshots.calm_world(1)
    for node in world.nodes.values():
        node.versions = RELEASE_1
    return world


def test_the_last_node_upgraded_moves_the_whole_cluster_at_one_entry() -> None:
    world = mixed_world()
    with world.running():
        clients = begin(world)
        for upgraded, node in enumerate(world.nodes.values(), start=1):
            assert {n.state.version for n in world.nodes.values()} == {1}
            assert world.truth, "it trades all along"
            upgrade(world, node)
            check_history(world, clients.operations)
            assert (node.state.version == 2) == (upgraded == len(world.nodes))
        assert {n.state.version for n in world.nodes.values()} == {2}
        (outcome,) = submitted(world, world.nodes["n2"], CANCEL)
        assert isinstance(outcome, Committed)
        clients.stop()
        world.run(2)
        check_history(world, clients.operations)
        check_agreement(world)


def test_while_one_node_is_of_the_old_release_the_others_write_what_it_reads() -> None:
    """Snapshots and entries of a mixed cluster are the same bytes on both releases."""
    world = mixed_world()
    with world.running():
        clients = begin(world)
        upgrade(world, world.nodes["n1"])
        upgrade(world, world.nodes["n2"])
        world.run(5)
        clients.stop()
        world.run(2)
        assert all(node.snapshots.written for node in world.nodes.values() if node.snapshots)
        captured = [node.replica.capture() for node in world.nodes.values()]
        assert captured[0] == captured[1] == captured[2]


def test_a_node_of_the_old_release_back_in_an_upgraded_cluster_stops_and_says_why() -> None:
    """It leaves its folder as it is: the later release goes on from there."""
    world = mixed_world()
    with world.running():
        clients = begin(world)
        for node in world.nodes.values():
            upgrade(world, node)
        old = world.nodes["n3"]
        old.crash()
        old.versions = RELEASE_1
        with pytest.raises(NewerVersion, match=r"version 2; this release reads versions up to 1"):
            _run_on(world, old)
        old.crash()
        old.versions = RELEASE_2
        old.start()
        world.run(3)
        clients.stop()
        world.run(2)
        check_agreement(world)


def _run_on(world: World, node: SimNode) -> None:
    node.start()
    world.run(5)


def test_an_entry_of_a_version_that_is_not_active_is_not_admitted() -> None:
    """However it came to be proposed, it would stop the nodes that cannot read it."""
    world = mixed_world()
    with world.running():
        clients = begin(world)
        clients.stop()
        upgrade(world, world.nodes["n1"])
        world.run(2)
        leader = world.leader()
        assert leader is not None
        applied = leader.group.last_applied
        batch = Batch("", 0, 0, [])
        leader.group.propose(encode_batch(batch, version=2, versions=RELEASE_2))
        world.run(1)
        assert leader.group.last_applied == applied
