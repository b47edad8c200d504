"""A leader whose disk is nearly full makes way for a member with room, if there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raft_exchange.raft.journal import Journal
from raft_exchange.sequencer.outcome import Committed
from tests.support.disk import Disk
from tests.support.history import Clients, check_agreement, check_history
from tests.support.sim_node import SimNode
from tests.support.world import World


@pytest.fixture
def world() -> Iterator[World]:
    world = World(
        1,
        make_disk=lambda node_id: Disk(int(node_id[1:])),
        open_journal=lambda disk: Journal(disk.directory(), segment_bytes=256 * 1024),
        crash_disk=lambda disk: disk.power_cut(),
    )
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        world.run(1)
        yield world


def leader_of(world: World) -> SimNode:
    leader = world.leader()
    assert leader is not None
    return leader


def test_it_makes_way_under_load_without_failing_an_order(world: World) -> None:
    clients = Clients(world, rate_per_s=300, seed=1)
    clients.start()
    world.run(1)
    full = leader_of(world)
    full.has_room = False
    assert world.run_until(lambda: world.leader() not in (None, full), seconds=1.5)
    world.run(1)
    clients.stop()
    world.run(1)
    assert all(isinstance(o.outcome, Committed) for o in clients.operations)
    check_history(world, clients.operations)
    check_agreement(world)


def test_it_chooses_the_member_with_room(world: World) -> None:
    full = leader_of(world)
    roomy, other = (node for node in world.nodes.values() if node is not full)
    full.has_room = other.has_room = False
    assert world.run_until(lambda: world.leader() is roomy, seconds=1.5)
    world.run(30)
    assert world.leader() is roomy


def test_a_leader_stays_while_nobody_has_room(world: World) -> None:
    leader = leader_of(world)
    for node in world.nodes.values():
        node.has_room = False
    world.run(30)
    assert world.leader() is leader
    assert len(world.leaders) == 1, "no term was wasted"


def test_a_member_that_has_room_but_is_away_is_waited_for(world: World) -> None:
    full = leader_of(world)
    roomy, other = (node for node in world.nodes.values() if node is not full)
    world.cut(*sorted((full.id, roomy.id)))
    world.run(0.2)
    full.has_room = other.has_room = False
    world.run(3)
    assert world.leader() is full
    world.mend(*sorted((full.id, roomy.id)))
    assert world.run_until(lambda: world.leader() is roomy, seconds=12)
