"""How much happened since the cluster began: counts for the metrics, bounded label sets."""

from __future__ import annotations

from raft_exchange.matching.messages import OrderType, RejectCode, Side


class Totals:
    """Counts by closed lists; every label is there from the start, at zero."""

    def __init__(self) -> None:
        self.orders_accepted = {(side, type_): 0 for side in Side for type_ in OrderType}
        self.commands_refused = dict.fromkeys(RejectCode, 0)
        self.trades = 0
