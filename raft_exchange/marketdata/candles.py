"""Candles of one market: open, high, low, close and volumes by interval of the logged clock.

Rules:
- Intervals begin at whole multiples since 1970-01-01T00:00:00Z, so that days are UTC days.
- An interval without a trade has no candle: nothing is invented, a chart draws the gap as it likes.
- Of each interval length the last `CANDLES_MAX` candles are kept.
- The logged clock never goes back, so that only the newest candle of each length ever changes.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

MINUTE_US: Final = 60_000_000
INTERVALS_US: Final = {
    "1m": MINUTE_US,
    "5m": 5 * MINUTE_US,
    "15m": 15 * MINUTE_US,
    "1h": 60 * MINUTE_US,
    "1d": 1_440 * MINUTE_US,
}
CANDLES_MAX: Final = 1_440


class Candle(msgspec.Struct):
    """One interval; prices in ticks. `value` sums price_ticks x quantity_lots.

    `sequence` is that of the command which traded last in it. Sums may exceed 64 bits.
    """

    start_us: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    value: int
    trades: int
    sequence: int


class Candles:
    """The candles of one market, by name of the interval, oldest first."""

    def __init__(self) -> None:
        self._by_interval: dict[str, list[Candle]] = {name: [] for name in INTERVALS_US}

    def trade(self, price_ticks: int, lots: int, *, time_us: int, sequence: int) -> None:
        """Count a trade into the newest candle of each length."""
        value = price_ticks * lots
        for name, candles in self._by_interval.items():
            start_us = time_us - time_us % INTERVALS_US[name]
            if candles and candles[-1].start_us == start_us:
                candle = candles[-1]
                candle.high_ticks = max(candle.high_ticks, price_ticks)
                candle.low_ticks = min(candle.low_ticks, price_ticks)
                candle.close_ticks = price_ticks
                candle.volume_lots += lots
                candle.value += value
                candle.trades += 1
                candle.sequence = sequence
                continue
            assert not candles or candles[-1].start_us < start_us, "logged time never goes back"
            candles.append(
                Candle(
                    start_us,
                    *(price_ticks, price_ticks, price_ticks, price_ticks),
                    *(lots, value, 1, sequence),
                )
            )
            if len(candles) > CANDLES_MAX:
                del candles[0]

    def newest(self, interval: str, count: int) -> list[Candle]:
        """Return up to `count` candles, oldest first."""
        return self._by_interval[interval][-count:]

    def between(self, interval: str, start_us: int, end_us: int) -> list[Candle]:
        """Return the kept candles that begin at `start_us` or later and before `end_us`."""
        candles = self._by_interval[interval]
        first = bisect_left(candles, start_us, key=_start_us)
        return candles[first : bisect_left(candles, end_us, lo=first, key=_start_us)]

    def since(self, interval: str, sequence: int) -> list[Candle]:
        """Return the kept candles that changed after `sequence`, oldest first. O(returned)."""
        candles = self._by_interval[interval]
        first = len(candles)
        while first and candles[first - 1].sequence > sequence:
            first -= 1
        return candles[first:]

    def restore(self, interval: str, candles: list[Candle]) -> None:
        """Fill one empty length at once."""
        assert not self._by_interval[interval]
        self._by_interval[interval] = candles[-CANDLES_MAX:]

    def check(self) -> None:
        """Assert every invariant. O(candles): tests call it after each step."""
        for name, candles in self._by_interval.items():
            starts = [candle.start_us for candle in candles]
            assert starts == sorted(set(starts))
            assert all(start % INTERVALS_US[name] == 0 for start in starts)
            assert len(candles) <= CANDLES_MAX


def _start_us(candle: Candle) -> int:
    return candle.start_us
