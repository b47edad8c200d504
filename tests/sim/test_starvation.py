"""Nodes that hardly run: a leader is found, it goes on leading, and orders are accepted.

Three processes that get a few hundredths of a core each answer after seconds, when whoever asked
has long lost patience: with usual patience each second brings a term, and hardly one a leader.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_exchange.sequencer.outcome import Committed
from tests.sim import test_cluster
from tests.support.climate import Climate
from tests.support.history import Clients, check_history
from tests.support.sim_node import SimNode
from tests.support.world import World

WORLDS = 3
FIND_S = 60.0
"""Until patience suits the circumstances."""
KEEP_S = 60.0
TERMS_MAX = 4
"""In so long; a silence may be longer than any before it. With usual patience there are dozens."""
ACCEPTED_SHARE_MIN = 0.8
RECOVERED_S = 40.0


def make_world(seed: int) -> World:
    climate = Climate(seed)
    climate.nodes, climate.delay_s = 3, (0.0002, 0.001)
    return test_cluster.make_world(seed, climate)


def let_run_at_times(world: World, node: SimNode, *, run_s: float, period_s: float) -> None:
    """From now on the process runs for `run_s` of about each `period_s`, when it is its turn."""

    def run() -> None:
        node.is_stopped = False
        world.at(world.now_s + run_s, stop)

    def stop() -> None:
        node.is_stopped = True
        pause_s = (period_s - run_s) * world.random.uniform(0.8, 1.2)
        world.at(world.now_s + pause_s, run)

    stop()


def of_each_second_thirty_milliseconds(world: World) -> None:
    """As a scheduler does with processes that have used up their share."""
    for node in world.nodes.values():
        let_run_at_times(world, node, run_s=0.03, period_s=1.0)


def every_tick_half_a_second_late(world: World) -> None:
    """As where one tick takes so long, because the process gets so little."""
    for node in world.nodes.values():
        node.lag_s = 0.5


def the_followers_only(world: World) -> None:
    """The leader has all the time in the world, and nobody who answers soon."""
    leader = world.leader()
    assert leader is not None
    for node in world.nodes.values():
        if node is not leader:
            let_run_at_times(world, node, run_s=0.02, period_s=1.5)


@pytest.mark.parametrize("number", range(WORLDS))
@pytest.mark.parametrize(
    "starved",
    [of_each_second_thirty_milliseconds, every_tick_half_a_second_late, the_followers_only],
    ids=lambda starved: starved.__name__,
)
def test_starved_nodes_find_a_leader_keep_it_and_take_orders(
    number: int, starved: Callable[[World], None]
) -> None:
    world = make_world(number)
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        starved(world)
        world.run(FIND_S)
        terms = max(node.group.term for node in world.nodes.values())
        clients = Clients(world, rate_per_s=10, seed=number)
        clients.start()
        world.run(KEEP_S)
        clients.stop()
        terms = max(node.group.term for node in world.nodes.values()) - terms
        world.run(10)
        check_history(world, clients.operations)
        accepted = sum(isinstance(one.outcome, Committed) for one in clients.operations)
        print(number, starved.__name__, terms, accepted, len(clients.operations))
        assert terms <= TERMS_MAX
        assert accepted >= ACCEPTED_SHARE_MIN * len(clients.operations) > 0


def test_patience_is_as_usual_soon_after_the_machine_recovered() -> None:
    """Whoever died then is missed as soon as ever."""
    world = make_world(0)
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        every_tick_half_a_second_late(world)
        world.run(FIND_S)
        assert max(node.group.patience.stretch for node in world.nodes.values()) > 1, (
            "it was needed"
        )
        for node in world.nodes.values():
            node.lag_s = 0.0
        world.run(RECOVERED_S)
        assert {node.group.patience.stretch for node in world.nodes.values()} == {1}
