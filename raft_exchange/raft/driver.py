"""Runs a group's ticks inside the asyncio loop, never in a thread beside it.

Measured: with a thread, a busy loop starves Raft to a handful of orders a second and costs
elections; in the loop it keeps its pace. Whatever wakes the group (a message, a proposal, a synced
write) schedules exactly one tick at the end of the current loop iteration, so that everything that
arrived together shares one sync; a timer adds a tick every `TICK_S` for the deadlines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from raft_exchange.metrics.durations import Durations

TICK_S: Final = 0.01
SLOW_S: Final = 0.05
"""A tick that takes so long is counted: heartbeats are due at such a pace."""
LATELY_S: Final = 60.0


class Driver:
    """Calls `tick` on the running loop; `lags` is how late the timers were.

    `cycles` is how long the ticks took, `cycles_slow` how many took `SLOW_S` or longer.
    """

    def __init__(self) -> None:
        self._tick: Callable[[], None] = _nothing
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = True
        self._ticked_at_s = self._loop.time()
        self.ticks = 0
        self.lags = Durations()
        self.cycles = Durations()
        self.cycles_slow = 0
        self._longest_s = self._longest_before_s = 0.0
        self._lately_s = self._loop.time()

    @property
    def tick_age_s(self) -> float:
        """Return the time since the last tick ended."""
        return self._loop.time() - self._ticked_at_s

    @property
    def cycle_longest_s(self) -> float:
        """Return what the longest tick took in the last one to two times `LATELY_S`."""
        return max(self._longest_s, self._longest_before_s)

    def start(self, tick: Callable[[], None]) -> None:
        """Begin to call `tick`; before, `wake` does nothing."""
        self._tick = tick
        self._is_stopped = False
        self._arm()

    def stop(self) -> None:
        """Stop ticking; `wake` does nothing from now on."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """Tick once soon, however often this is called until then."""
        if not self._is_scheduled and not self._is_stopped:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def _arm(self) -> None:
        due_s = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(due_s, self._on_timer, due_s)

    def _on_timer(self, due_s: float) -> None:
        self.lags.observe(max(0.0, self._loop.time() - due_s))
        self._arm()
        self.wake()

    def _run(self) -> None:
        self._is_scheduled = False
        if not self._is_stopped:
            self.ticks += 1
            began_s = self._loop.time()
            self._tick()
            self._ticked_at_s = self._loop.time()
            self._note_cycle(self._ticked_at_s - began_s)

    def _note_cycle(self, took_s: float) -> None:
        self.cycles.observe(took_s)
        if self._ticked_at_s - self._lately_s > LATELY_S:
            self._longest_before_s, self._longest_s = self._longest_s, 0.0
            self._lately_s = self._ticked_at_s
        self._longest_s = max(self._longest_s, took_s)
        if took_s >= SLOW_S:
            self.cycles_slow += 1


def _nothing() -> None:
    """Stand in for the tick until there is one."""
