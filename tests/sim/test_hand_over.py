"""Leaders are told to hand over, as at each SIGTERM, while everything else breaks."""

from __future__ import annotations

import random
from typing import Any

import pytest

from raft_exchange.raft.group import Group
from raft_exchange.raft.wire import TimeoutNow
from tests.sim.test_cluster import FAULTS_S, live_through
from tests.support.world import World

SEEDS = range(3_000, 3_004)
PAUSE_S = (0.3, 3.0)


def hand_over_again_and_again(world: World) -> None:
    """Until the faults end, whoever leads is told to make way; drawn apart from the climate."""
    draw, end_s = random.Random(world.random.random()), world.now_s + FAULTS_S

    def hand_over() -> None:
        leader = world.leader()
        if leader is not None and not leader.is_stopped:
            leader.group.hand_over()
        if world.now_s < end_s:
            world.at(world.now_s + draw.uniform(*PAUSE_S), hand_over)

    world.at(world.now_s + draw.uniform(*PAUSE_S), hand_over)


@pytest.mark.parametrize("weather", SEEDS)
def test_leaders_that_make_way_lose_and_double_nothing(weather: int) -> None:
    live_through(weather, also=hand_over_again_and_again)


def test_the_simulation_notices_who_leads_at_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is handed the lead has to win the votes for it."""
    real = Group._receive

    def receive(self: Group, node: Any, message: Any) -> None:
        if isinstance(message, TimeoutNow) and message.term == self.term:
            self._elections._lead()
        else:
            real(self, node, message)

    monkeypatch.setattr(Group, "_receive", receive)
    with pytest.raises(AssertionError, match="leaders"):
        live_through(SEEDS[0], also=hand_over_again_and_again)
