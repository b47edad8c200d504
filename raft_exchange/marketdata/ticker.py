"""The last 24 hours of one market: a rolling sum over its one-minute candles.

The window is the current minute of the logged clock and the 1,439 before it, so that it moves by
whole minutes and every node has the same at the same sequence. The minutes before the current one
are summed once a minute at most, when somebody asks: a cache, no state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from raft_exchange.marketdata.candles import CANDLES_MAX, MINUTE_US, Candle, Candles

WINDOW_MINUTES: Final = 1_440
assert WINDOW_MINUTES <= CANDLES_MAX, "the minutes of a day are all kept"


class Ticker(NamedTuple):
    """Prices in ticks; all None while nothing traded within the window."""

    open_ticks: int | None
    high_ticks: int | None
    low_ticks: int | None
    last_ticks: int | None
    volume_lots: int
    value: int
    trades: int


NOTHING: Final = Ticker(None, None, None, None, 0, 0, 0)


class RollingDay:
    """The ticker of one market, from its candles."""

    def __init__(self, candles: Candles) -> None:
        self._candles = candles
        self._closed_until_us = -1
        self._closed = NOTHING

    def at(self, time_us: int) -> Ticker:
        """Return the ticker of the window that ends in the minute of `time_us`.

        O(1) in the same minute as before, else O(minutes with trades).
        """
        minute_us = time_us - time_us % MINUTE_US
        if minute_us != self._closed_until_us:
            start_us = minute_us - (WINDOW_MINUTES - 1) * MINUTE_US
            self._closed = _sum(self._candles.between("1m", start_us, minute_us))
            self._closed_until_us = minute_us
        current = self._candles.between("1m", minute_us, minute_us + 1)
        return _add(self._closed, current[0]) if current else self._closed


def _sum(candles: Iterable[Candle]) -> Ticker:
    total = NOTHING
    for candle in candles:
        total = _add(total, candle)
    return total


def _add(total: Ticker, candle: Candle) -> Ticker:
    if total.high_ticks is None or total.low_ticks is None:
        high_ticks, low_ticks, open_ticks = candle.high_ticks, candle.low_ticks, candle.open_ticks
    else:
        high_ticks = max(total.high_ticks, candle.high_ticks)
        low_ticks = min(total.low_ticks, candle.low_ticks)
        open_ticks = total.open_ticks or candle.open_ticks
    return Ticker(
        open_ticks,
        high_ticks,
        low_ticks,
        candle.close_ticks,
        total.volume_lots + candle.volume_lots,
        total.value + candle.value,
        total.trades + candle.trades,
    )
