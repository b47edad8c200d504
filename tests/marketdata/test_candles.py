"""Candles and the rolling day: what a dumb sum over all trades says, at any moment."""

from __future__ import annotations

import random

import pytest

from raft_exchange.marketdata.candles import CANDLES_MAX, INTERVALS_US, MINUTE_US, Candles
from raft_exchange.marketdata.ticker import NOTHING, WINDOW_MINUTES, RollingDay

DAY_US = 1_440 * MINUTE_US


class Oracle:
    """Every trade there was, as (time_us, price_ticks, lots, sequence)."""

    def __init__(self) -> None:
        self.trades: list[tuple[int, int, int, int]] = []

    def candles(self, interval_us: int) -> list[tuple[int, ...]]:
        starts = sorted({time_us // interval_us * interval_us for time_us, *_ in self.trades})
        return [self._candle(start, start + interval_us) for start in starts][-CANDLES_MAX:]

    def _candle(self, start_us: int, end_us: int) -> tuple[int, ...]:
        inside = [trade for trade in self.trades if start_us <= trade[0] < end_us]
        prices = [trade[1] for trade in inside]
        return (
            *(start_us, prices[0], max(prices), min(prices), prices[-1]),
            *(sum(trade[2] for trade in inside), sum(trade[1] * trade[2] for trade in inside)),
            *(len(inside), inside[-1][3]),
        )

    def day(self, now_us: int) -> tuple[int | None, ...]:
        start_us = now_us // MINUTE_US * MINUTE_US - (WINDOW_MINUTES - 1) * MINUTE_US
        if not any(trade[0] >= start_us for trade in self.trades):
            return NOTHING
        _, first, high, low, last, lots, value, count, _ = self._candle(start_us, now_us + 1)
        return first, high, low, last, lots, value, count


@pytest.mark.parametrize("seed", range(4))
def test_candles_and_day_are_sums_over_the_trades(seed: int) -> None:
    """Random gaps from microseconds to days, so that every interval rolls and some are empty."""
    rng = random.Random(seed)
    oracle, candles = Oracle(), Candles()
    day = RollingDay(candles)
    now_us = 1_700_000_000_000_000
    for sequence in range(1, 400):
        now_us += rng.choice((0, 1, MINUTE_US // 3, MINUTE_US, 7 * MINUTE_US, DAY_US // 5, DAY_US))
        price, lots = rng.randrange(1, 10**15), rng.randrange(1, 10**18)
        oracle.trades.append((now_us, price, lots, sequence))
        candles.trade(price, lots, time_us=now_us, sequence=sequence)
        candles.check()
        later_us = now_us + rng.choice((0, MINUTE_US, DAY_US - MINUTE_US, DAY_US))
        for asked_us in (now_us, later_us, now_us):
            assert tuple(day.at(asked_us)) == oracle.day(asked_us)
    for name, interval_us in INTERVALS_US.items():
        found = [
            tuple(getattr(c, f) for f in c.__struct_fields__) for c in candles.newest(name, 10**6)
        ]
        assert found == oracle.candles(interval_us)


@pytest.mark.parametrize("seed", range(4))
def test_who_looks_and_when_changes_no_candle(seed: int) -> None:
    """Trades of the open minute are added up when somebody looks: never twice, none is lost."""
    rng = random.Random(seed)
    watched, alone = Candles(), Candles()
    now_us = 1_700_000_000_000_000
    for sequence in range(1, 600):
        now_us += rng.choice((0, 0, 1, MINUTE_US // 5, MINUTE_US, 20 * MINUTE_US))
        price, lots = rng.randrange(1, 50), rng.randrange(1, 10**18)
        for candles in (watched, alone):
            candles.trade(price, lots, time_us=now_us, sequence=sequence)
            candles.check()
        if rng.random() < 0.3:
            name = rng.choice(tuple(INTERVALS_US))
            looks = (
                watched.newest(name, 1),
                watched.since(name, sequence - 1),
                watched.between(name, now_us - INTERVALS_US[name] + 1, now_us + 1),
            )
            assert looks[0] == looks[1] == looks[2]
            assert (looks[0][-1].sequence, looks[0][-1].close_ticks) == (sequence, price)
            watched.check()
    for name in INTERVALS_US:
        assert watched.newest(name, CANDLES_MAX) == alone.newest(name, CANDLES_MAX)


def test_the_oldest_candles_are_forgotten() -> None:
    candles = Candles()
    for minute in range(CANDLES_MAX + 5):
        candles.trade(1, 1, time_us=minute * MINUTE_US, sequence=minute + 1)
    kept = candles.newest("1m", 10**6)
    assert (len(kept), kept[0].start_us) == (CANDLES_MAX, 5 * MINUTE_US)


def test_between_takes_its_start_and_leaves_its_end() -> None:
    candles = Candles()
    for minute in range(10):
        candles.trade(1, 1, time_us=minute * MINUTE_US + 5, sequence=minute + 1)
    starts = [c.start_us // MINUTE_US for c in candles.between("1m", 2 * MINUTE_US, 5 * MINUTE_US)]
    assert starts == [2, 3, 4]


def test_since_gives_what_changed_after_a_sequence() -> None:
    candles = Candles()
    for minute in range(10):
        candles.trade(1, 1, time_us=minute * MINUTE_US, sequence=10 * minute + 1)
    assert [c.sequence for c in candles.since("1m", 71)] == [81, 91]
    assert candles.since("1m", 91) == []
    assert len(candles.since("1m", 0)) == 10
