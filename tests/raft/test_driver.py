"""The driver: however often it is woken, one tick follows; without waking, the timer ticks."""

from __future__ import annotations

import asyncio
import time

from raft_exchange.raft.driver import SLOW_S, TICK_S, Driver
from tests.support.coroutines import in_loop


@in_loop
async def test_many_wakes_in_one_turn_of_the_loop_make_one_tick() -> None:
    ticks: list[int] = []
    driver = Driver()
    driver.start(lambda: ticks.append(1))
    for _ in range(100):
        driver.wake()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(ticks) == 1
    driver.stop()


@in_loop
async def test_a_wake_within_a_tick_makes_another() -> None:
    done = asyncio.Event()
    driver = Driver()

    def tick() -> None:
        if driver.ticks >= 5:
            done.set()
        else:
            driver.wake()

    driver.start(tick)
    driver.wake()
    async with asyncio.timeout(TICK_S * 0.9 + 1):
        await done.wait()
    driver.stop()


@in_loop
async def test_the_timer_ticks_an_idle_group() -> None:
    done = asyncio.Event()
    driver = Driver()
    driver.start(lambda: done.set() if driver.ticks >= 3 else None)
    async with asyncio.timeout(5):
        await done.wait()
    driver.stop()


@in_loop
async def test_nothing_ticks_before_the_start_or_after_the_stop() -> None:
    ticks: list[int] = []
    driver = Driver()
    driver.wake()
    await asyncio.sleep(0)
    driver.start(lambda: ticks.append(1))
    driver.wake()
    driver.stop()
    driver.wake()
    await asyncio.sleep(2 * TICK_S)
    assert not ticks


@in_loop
async def test_a_slow_tick_is_counted_and_remembered_as_the_longest() -> None:
    driver, done = Driver(), asyncio.Event()

    def tick() -> None:
        if driver.ticks == 2:
            time.sleep(SLOW_S)
        if driver.ticks == 4:
            done.set()
        driver.wake()

    driver.start(tick)
    driver.wake()
    async with asyncio.timeout(5):
        await done.wait()
    driver.stop()
    assert driver.cycles_slow >= 1
    assert SLOW_S <= driver.cycle_longest_s < 5
    assert driver.cycles.sum_s >= driver.cycle_longest_s
