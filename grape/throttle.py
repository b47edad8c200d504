"""How much of one source a grape listens to: a token bucket for each IP address."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

SOURCES_MAX: Final = 10_000


class Throttle:
    """Lets `rate_per_s` datagrams of each source through, and as many at once after a pause."""

    def __init__(self, *, rate_per_s: float, burst: float | None = None) -> None:
        assert rate_per_s > 0
        self._rate_per_s = rate_per_s
        self._burst = rate_per_s if burst is None else burst
        self._sources: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, at time

    def __len__(self) -> int:
        return len(self._sources)

    def allows(self, source: str, *, now_s: float) -> bool:
        """Return whether one more of `source` is let through now. O(1)."""
        left, at_s = self._sources.get(source, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._rate_per_s)
        allowed = left >= 1
        self._sources[source] = (left - 1 if allowed else left, now_s)
        self._sources.move_to_end(source)
        if len(self._sources) > SOURCES_MAX:
            self._sources.popitem(last=False)
        return allowed
