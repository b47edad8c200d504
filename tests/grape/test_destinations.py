"""The choice among announced nodes: healthy first, then evenly, and never nothing."""

import random
from collections import Counter

import pytest

import grape.destinations
from grape.destinations import AVOID_S_MAX, AVOID_S_MIN, DESTINATIONS_MAX, Destinations

EIGHT = [f"10.0.0.{n}:1" for n in range(8)]


class World:
    """Destinations with a clock that is turned by hand."""

    def __init__(self, seed: int = 1) -> None:
        self.now_s = 0.0
        self.destinations = Destinations(clock_s=lambda: self.now_s, rng=random.Random(seed))

    def call(self, candidates: list[str], *, healthy: bool | None = True) -> str:
        """One whole call; returns who got it."""
        chosen = self.destinations.choose(candidates)
        self.destinations.start(chosen)
        self.destinations.finish(chosen, healthy=healthy)
        return chosen


@pytest.mark.parametrize("seed", range(5))
def test_calls_in_sequence_go_round_evenly(seed: int) -> None:
    world = World(seed)
    counts = Counter(world.call(EIGHT) for _ in range(800))
    assert counts == {each: 100 for each in EIGHT}


@pytest.mark.parametrize("seed", range(5))
def test_a_newcomer_gets_its_share_and_no_flood(seed: int) -> None:
    world = World(seed)
    for _ in range(700):
        world.call(EIGHT[:7])
    counts = Counter(world.call(EIGHT) for _ in range(80))
    assert counts == {each: 10 for each in EIGHT}


def test_clients_that_start_together_start_apart() -> None:
    starts = {World(seed).call(EIGHT) for seed in range(50)}
    assert len(starts) == len(EIGHT)


def test_who_has_fewer_calls_in_flight_is_chosen() -> None:
    """A slow node holds its calls longer, and so gets fewer."""
    world = World()
    slow, fast = "10.0.0.1:1", "10.0.0.2:1"
    world.destinations.start(slow)
    assert {world.call([slow, fast]) for _ in range(10)} == {fast}


def test_a_dead_one_is_avoided_after_its_first_failure() -> None:
    world = World()
    dead = world.call(EIGHT, healthy=False)
    assert world.destinations.is_avoided(dead)
    counts = Counter(world.call(EIGHT) for _ in range(700))
    assert counts == {each: 100 for each in EIGHT if each != dead}


def test_avoidance_doubles_with_each_failure_up_to_its_bound() -> None:
    world = World()
    expected_s = AVOID_S_MIN
    for _ in range(20):
        world.call(["10.0.0.1:1"], healthy=False)
        world.now_s += expected_s - 0.001
        assert world.destinations.is_avoided("10.0.0.1:1")
        world.now_s += 0.001
        assert not world.destinations.is_avoided("10.0.0.1:1")
        expected_s = min(AVOID_S_MAX, 2 * expected_s)


def test_after_its_time_it_gets_one_call_on_trial() -> None:
    world = World()
    failed, other = "10.0.0.1:1", "10.0.0.2:1"
    world.call([failed], healthy=False)
    world.call([other])
    world.now_s += AVOID_S_MIN
    assert world.destinations.choose([failed, other]) == failed
    world.destinations.start(failed)
    for _ in range(5):
        world.destinations.start(other)
        assert world.destinations.choose([failed, other]) == other, "the trial is not over"
    world.destinations.finish(failed, healthy=True)
    assert world.destinations.choose([failed, other]) == failed, "it is healthy again"


def test_when_all_failed_the_one_due_first_is_tried() -> None:
    world = World()
    first, second = "10.0.0.1:1", "10.0.0.2:1"
    world.call([second], healthy=False)
    world.now_s += 0.5
    world.call([first], healthy=False)
    assert world.destinations.choose([first, second]) == second


def test_a_call_that_was_given_up_says_nothing_about_health() -> None:
    world = World()
    world.call(["10.0.0.1:1"], healthy=None)
    assert not world.destinations.is_avoided("10.0.0.1:1")
    world.call(["10.0.0.1:1"], healthy=False)
    world.call(["10.0.0.1:1"], healthy=None)
    assert world.destinations.is_avoided("10.0.0.1:1")


def test_excluded_ones_are_chosen_only_when_nothing_else_is_left() -> None:
    world = World()
    assert world.destinations.choose(EIGHT, excluded=EIGHT[:7]) == EIGHT[7]
    assert world.destinations.choose(EIGHT, excluded=EIGHT) in EIGHT


def test_what_is_remembered_is_bounded_and_never_forgets_a_call_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert DESTINATIONS_MAX >= grape.destinations.DESTINATIONS_PER_NAME_MAX
    monkeypatch.setattr(grape.destinations, "DESTINATIONS_MAX", 2)
    world = World()
    world.destinations.start("10.0.0.1:1")
    for destination in EIGHT[2:]:
        world.call([destination], healthy=False)
    assert not world.destinations.is_avoided(EIGHT[2]), "forgotten"
    assert world.destinations.is_avoided(EIGHT[7]), "remembered"
    world.destinations.finish("10.0.0.1:1", healthy=False)
    assert world.destinations.is_avoided("10.0.0.1:1")
