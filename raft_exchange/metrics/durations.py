"""How long things took: counts in buckets, for whoever must not know the client library."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from typing import Final

APPLY_BUCKETS_S: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
"""Of what the machine does: from 10 microseconds."""
WAIT_BUCKETS_S: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Of what waits for disks, networks or turns of the loop."""
SNAPSHOT_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Of what a process of its own does beside the trading."""


@cache
def _texts(bounds_s: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(repr, map(float, bounds_s)), "+Inf")


class Durations:
    """A histogram; `bounds_s` are the upper bounds of its buckets, growing."""

    __slots__ = ("_bounds_s", "_counts", "_sum_s")

    def __init__(self, bounds_s: tuple[float, ...] = WAIT_BUCKETS_S) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration. O(log buckets)."""
        self._counts[bisect_left(self._bounds_s, duration_s)] += 1
        self._sum_s += duration_s

    @property
    def sum_s(self) -> float:
        """Return all of them together."""
        return self._sum_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many were not longer), the last bound being `+Inf`."""
        total, found = 0, []
        for bound, count in zip(_texts(self._bounds_s), self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found
