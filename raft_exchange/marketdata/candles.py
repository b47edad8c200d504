"""Candles of one market: open, high, low, close and volumes by interval of the logged clock.

Rules:
- Intervals begin at whole multiples since 1970-01-01T00:00:00Z, so that days are UTC days.
- An interval without a trade has no candle: nothing is invented, a chart draws the gap as it likes.
- Of each interval length the last `CANDLES_MAX` candles are kept.
- The logged clock never goes back, so that only the newest candle of each length ever changes.
- Trades are counted once, into what is `_open`: the trades of one minute that stand in no length
  yet. It is added to every length when its minute is over or somebody looks; every length is whole
  minutes, and sums, extremes and last prices of the parts are those of the whole.
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
        self._open: Candle | None = None

    def trade(self, price_ticks: int, lots: int, *, time_us: int, sequence: int) -> None:
        """Count a trade into the newest candle of each length."""
        minute_us = time_us - time_us % MINUTE_US
        candle = self._open
        if candle is None or candle.start_us != minute_us:
            self._settle()
            self._open = Candle(
                minute_us,
                *(price_ticks, price_ticks, price_ticks, price_ticks),
                *(lots, price_ticks * lots, 1, sequence),
            )
            return
        if price_ticks > candle.high_ticks:
            candle.high_ticks = price_ticks
        elif price_ticks < candle.low_ticks:
            candle.low_ticks = price_ticks
        candle.close_ticks = price_ticks
        candle.volume_lots += lots
        candle.value += price_ticks * lots
        candle.trades += 1
        candle.sequence = sequence

    def _settle(self) -> None:
        """Add what is open to every length."""
        if self._open is not None:
            for name, candles in self._by_interval.items():
                _extend(candles, self._open, interval_us=INTERVALS_US[name])
            self._open = None

    def _settled(self, interval: str) -> list[Candle]:
        self._settle()
        return self._by_interval[interval]

    def newest(self, interval: str, count: int) -> list[Candle]:
        """Return up to `count` candles, oldest first."""
        return self._settled(interval)[-count:]

    def between(self, interval: str, start_us: int, end_us: int) -> list[Candle]:
        """Return the kept candles that begin at `start_us` or later and before `end_us`."""
        candles = self._settled(interval)
        first = bisect_left(candles, start_us, key=_start_us)
        return candles[first : bisect_left(candles, end_us, lo=first, key=_start_us)]

    def since(self, interval: str, sequence: int) -> list[Candle]:
        """Return the kept candles that changed after `sequence`, oldest first. O(returned)."""
        candles = self._settled(interval)
        first = len(candles)
        while first and candles[first - 1].sequence > sequence:
            first -= 1
        return candles[first:]

    def restore(self, interval: str, candles: list[Candle]) -> None:
        """Fill one empty length at once."""
        assert self._open is None
        assert not self._by_interval[interval]
        self._by_interval[interval] = candles[-CANDLES_MAX:]

    def check(self) -> None:
        """Assert every invariant. O(candles): tests call it after each step."""
        for name, candles in self._by_interval.items():
            starts = [candle.start_us for candle in candles]
            assert starts == sorted(set(starts))
            assert all(start % INTERVALS_US[name] == 0 for start in starts)
            assert len(candles) <= CANDLES_MAX
        if self._open is not None:
            assert self._open.start_us % MINUTE_US == 0
            assert all(
                c[-1].start_us <= self._open.start_us for c in self._by_interval.values() if c
            )


def _extend(candles: list[Candle], part: Candle, *, interval_us: int) -> None:
    """Add the trades of `part`, which are the newest, to their candle of one length."""
    start_us = part.start_us - part.start_us % interval_us
    if not candles or candles[-1].start_us != start_us:
        assert not candles or candles[-1].start_us < start_us, "logged time never goes back"
        candles.append(msgspec.structs.replace(part, start_us=start_us))
        if len(candles) > CANDLES_MAX:
            del candles[0]
        return
    candle = candles[-1]
    candle.high_ticks = max(candle.high_ticks, part.high_ticks)
    candle.low_ticks = min(candle.low_ticks, part.low_ticks)
    candle.close_ticks = part.close_ticks
    candle.volume_lots += part.volume_lots
    candle.value += part.value
    candle.trades += part.trades
    candle.sequence = part.sequence


def _start_us(candle: Candle) -> int:
    return candle.start_us
