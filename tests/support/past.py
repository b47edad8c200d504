"""Made-up history: rows of trades and finished orders, and what an entry that made them held."""

from __future__ import annotations

import random
from bisect import bisect_left

from raft_exchange.history.rows import Page, Row
from raft_exchange.matching.messages import (
    EndReason,
    Event,
    Order,
    OrderEnded,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradeExecuted,
)
from raft_exchange.sequencer.applied import Applied, Result

CLUSTER_ID = "0123456789abcdef" * 2


def trade_row(
    sequence: int,
    index: int,
    *,
    trade_id: int,
    market: str = "BTC-USD",
    maker: str = "ann",
    taker: str = "bob",
    time_us: int = 1_700_000_000_000_000,
) -> Row:
    event = TradeExecuted(market, trade_id, 10_000, 5, Side.BUY, 1, 2, maker, taker)
    return Row(sequence, index, time_us, event)


def order_row(sequence: int, index: int, *, order_id: int, account: str = "ann") -> Row:
    order = Order(
        *(order_id, f"label-{order_id}", account, "BTC-USD", Side.SELL, OrderType.LIMIT),
        *(TimeInForce.GTC, 10_000, 7, 7, "70000", 0, False, SelfTradePrevention.NONE),
        *(OrderStatus.FILLED, 1_600_000_000_000_000, 1_700_000_000_000_000, sequence),
    )
    return Row(sequence, index, 1_700_000_000_000_000, OrderEnded(order, EndReason.FILLED))


class Past:
    """The rows of `sequences` made-up commands, from 1 on; many have none."""

    def __init__(self, *, seed: int, sequences: int) -> None:
        random_ = random.Random(seed)
        self.last = sequences
        self.rows: list[Row] = []
        for sequence in range(1, sequences + 1):
            for index in range(random_.choice((0, 0, 0, 1, 2, 5))):
                number = len(self.rows) + 1
                if random_.random() < 0.5:
                    self.rows.append(trade_row(sequence, index, trade_id=number))
                else:
                    self.rows.append(order_row(sequence, index, order_id=number))

    def pages(self, sequences: int) -> list[Page]:
        """Return the rows in pages of so many sequences each."""
        pages = []
        for first in range(1, self.last + 1, sequences):
            last = min(first + sequences - 1, self.last)
            pages.append(Page(CLUSTER_ID, first, last, self.between(first, last)))
        return pages

    def between(self, first: int, last: int) -> list[Row]:
        """Return the rows of these sequences."""
        start = bisect_left(self.rows, first, key=lambda row: row.sequence)
        end = bisect_left(self.rows, last + 1, key=lambda row: row.sequence)
        return self.rows[start:end]

    def entries(self, commands: int) -> list[Applied]:
        """Return the applied entries that gave these rows, so many commands each."""
        entries = []
        for number, first in enumerate(range(1, self.last + 1, commands), 1):
            results = []
            for sequence in range(first, min(first + commands, self.last + 1)):
                events: list[Event] = [row.event for row in self.between(sequence, sequence)]
                results.append(Result(sequence, tuple(events), 0, 0))
            time_us = 1_700_000_000_000_000
            entries.append(Applied(number, 1, time_us, "n1", 1, number, False, tuple(results)))
        return entries
