"""A hundred grapes in one process on loopback: look-ups are quick, also when one in ten is gone."""

import random
import statistics
import time

from grape import Grape
from tests.support.coroutines import in_loop
from tests.support.grapes import LOOPBACK, grapes

GRAPES = 100
SERVICES = 50
LOOKUPS = 300
MEDIAN_MS_MAX = 20.0


async def lookup_ms(source: random.Random, asked: list[Grape]) -> float:
    """How long a look-up took, of a grape and a service taken at random; it must be right."""
    number = source.randrange(SERVICES)
    begun_s = time.perf_counter()
    found = await source.choice(asked).lookup(f"svc{number}")
    taken_ms = (time.perf_counter() - begun_s) * 1_000
    assert found == [(LOOPBACK, 1_000 + number)]
    return taken_ms


async def lookups_ms(source: random.Random, asked: list[Grape]) -> list[float]:
    """How long look-ups took, one after another."""
    return sorted([await lookup_ms(source, asked) for _ in range(LOOKUPS)])


def told(words: str, taken_ms: list[float]) -> str:
    p99 = taken_ms[len(taken_ms) * 99 // 100]
    median = statistics.median(taken_ms)
    return f"{words}: median {median:.1f} ms, p99 {p99:.1f} ms, worst {taken_ms[-1]:.1f} ms"


@in_loop
async def test_a_hundred_grapes_answer_within_20_ms_and_miss_nothing_when_ten_die() -> None:
    """The figures are printed (`-s`) and recorded in grape/DESIGN.md."""
    source = random.Random(1)
    async with grapes(GRAPES, with_api=False) as everyone:
        for number in range(SERVICES):
            assert await source.choice(everyone).announce(f"svc{number}", 1_000 + number) == 20
        healthy_ms = await lookups_ms(source, everyone)
        print(told("100 grapes", healthy_ms))
        assert statistics.median(healthy_ms) < MEDIAN_MS_MAX
        dead = source.sample(everyone, GRAPES // 10)
        for grape in dead:
            await grape.stop()
        alive = [grape for grape in everyone if grape not in dead]
        wounded_ms = await lookups_ms(source, alive)
        print(told("10 of them dead", wounded_ms))
        assert wounded_ms[-1] < 2_000
