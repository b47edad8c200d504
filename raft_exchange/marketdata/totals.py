"""How much happened since the cluster began: counts for the metrics, bounded label sets."""

from __future__ import annotations

from collections.abc import Sequence

from raft_exchange.matching.messages import (
    CommandRefused,
    Event,
    OrderAccepted,
    OrderType,
    RejectCode,
    Side,
    TradeExecuted,
)


class Totals:
    """Counts by closed lists; every label is there from the start, at zero."""

    def __init__(self) -> None:
        self.orders_accepted = {(side, type_): 0 for side in Side for type_ in OrderType}
        self.commands_refused = dict.fromkeys(RejectCode, 0)
        self.trades = 0

    def count(self, events: Sequence[Event]) -> None:
        """Count the events of one command."""
        for event in events:
            kind = type(event)
            if kind is TradeExecuted:
                self.trades += 1
            elif isinstance(event, OrderAccepted):
                self.orders_accepted[event.order.side, event.order.type] += 1
            elif isinstance(event, CommandRefused):
                self.commands_refused[event.code] += 1
