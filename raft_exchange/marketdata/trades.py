"""The last trades of one market: a bounded ring, newest last."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

import msgspec

from raft_exchange.matching.messages import TradeExecuted

TRADES_PER_MARKET_MAX: Final = 1_000


class Trade(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trade, and the command and logged time that made it."""

    executed: TradeExecuted
    time_us: int
    sequence: int


class TradeTape:
    """The last `TRADES_PER_MARKET_MAX` trades; older ones are forgotten."""

    def __init__(self) -> None:
        self._ring: deque[Trade] = deque(maxlen=TRADES_PER_MARKET_MAX)

    def __len__(self) -> int:
        return len(self._ring)

    def append(self, trade: Trade) -> None:
        """Remember `trade`, the newest; drop the oldest if the ring is full."""
        assert not self._ring or trade.executed.trade_id > self._ring[-1].executed.trade_id
        self._ring.append(trade)

    def oldest_first(self) -> list[Trade]:
        """Return every remembered trade, oldest first. O(trades)."""
        return list(self._ring)

    def newest(self, count: int, *, before: int | None = None) -> list[Trade]:
        """Return up to `count` trades, newest first, of those older than trade id `before`."""
        trades = reversed(self._ring)
        if before is None:
            return list(islice(trades, count))
        older = (trade for trade in trades if trade.executed.trade_id < before)
        return list(islice(older, count))
