"""What the metrics show of the exchange, as this node's projection has it.

Prices and quantities become floating point here, for display only.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.messages import Side
from raft_exchange.metrics import ExchangeFigures, MarketFigures

MARKETS_SHOWN_MAX: Final = 20
"""Markets with rows of their own, the first by name: rows cost every scrape."""
LEVELS_COUNTED_MAX: Final = 1_000
E18: Final = 10**18


def exchange_figures(marketdata: MarketData) -> ExchangeFigures:
    """Return what the metrics show of the exchange. O(live orders)."""
    totals = marketdata.totals
    return ExchangeFigures(
        sequence=marketdata.sequence,
        time_us=marketdata.time_us,
        markets=len(marketdata.markets),
        accounts=len(marketdata.accounts),
        live_orders=len(marketdata.orders.live_orders()),
        trades=totals.trades,
        orders={
            (side.name.lower(), type_.name.lower()): count
            for (side, type_), count in totals.orders_accepted.items()
        },
        refusals={code.value: count for code, count in totals.commands_refused.items()},
        shown=[
            _market(name, marketdata.markets[name], marketdata.time_us)
            for name in nsmallest(MARKETS_SHOWN_MAX, marketdata.markets)
        ],
    )


def _market(name: str, market: Market, time_us: int) -> MarketFigures:
    tick, lot = market.rules.tick_size_e18 / E18, market.rules.lot_size_e18 / E18
    bid, ask = market.depth.bests()
    day = market.day.at(time_us)
    levels = {side.name.lower(): market.depth.levels(side, LEVELS_COUNTED_MAX) for side in Side}
    return MarketFigures(
        name=name,
        best_bid=None if bid is None else bid * tick,
        best_ask=None if ask is None else ask * tick,
        levels={side: len(found) for side, found in levels.items()},
        depth={side: sum(lots for _, lots, _ in found) * lot for side, found in levels.items()},
        day_quantity=day.volume_lots * lot,
        day_notional=day.value * tick * lot,
        day_trades=day.trades,
    )
