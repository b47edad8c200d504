"""What the metrics show of the exchange, as this node's projection has it.

Prices and quantities become floating point here, for display only.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from typing import Final

from raft_exchange.gateway.streams import ALL_QUEUES_BYTES_MAX, SUBSCRIBERS_MAX
from raft_exchange.gateway.subscribers import QUEUE_BYTES_MAX
from raft_exchange.marketdata.changes import CHANGES_BYTES_MAX, CHANGES_MAX
from raft_exchange.marketdata.fills import FILLS_MAX
from raft_exchange.marketdata.orders import FINISHED_ORDERS_MAX
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.messages import Side
from raft_exchange.metrics import ExchangeFigures, MarketFigures, StreamFigures

MARKETS_SHOWN_MAX: Final = 20
"""Markets with rows of their own, the first by name: rows cost every scrape."""
LEVELS_SUMMED_MAX: Final = 50
E18: Final = 10**18


def exchange_figures(marketdata: MarketData) -> ExchangeFigures:
    """Return what the metrics show of the exchange. O(markets)."""
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
    sides = {side.name.lower(): side for side in Side}
    nearest = {name: market.depth.levels(side, LEVELS_SUMMED_MAX) for name, side in sides.items()}
    newest = market.trades.newest(1)
    return MarketFigures(
        name=name,
        best_bid=None if bid is None else bid * tick,
        best_ask=None if ask is None else ask * tick,
        levels={name: market.depth.level_count(side) for name, side in sides.items()},
        orders={name: market.depth.order_count(side) for name, side in sides.items()},
        depth={name: sum(lots for _, lots, _ in found) * lot for name, found in nearest.items()},
        trades=newest[0].executed.trade_id if newest else 0,
        day_quantity=day.volume_lots * lot,
        day_notional=day.value * tick * lot,
        day_trades=day.trades,
    )


def bounds_used(marketdata: MarketData, streams: StreamFigures) -> Mapping[str, float]:
    """Return how much of the bounds of projection and streams is used."""
    return {
        "finished_orders": len(marketdata.orders.finished_orders()) / FINISHED_ORDERS_MAX,
        "fills": len(marketdata.fills) / FILLS_MAX,
        "stream_changes": streams.history_changes / CHANGES_MAX,
        "stream_changes_bytes": streams.history_bytes / CHANGES_BYTES_MAX,
        "stream_subscribers": sum(streams.subscribers.values()) / SUBSCRIBERS_MAX,
        "stream_queue_bytes": streams.queue_bytes_longest / QUEUE_BYTES_MAX,
        "stream_queues_bytes": streams.queued_bytes / ALL_QUEUES_BYTES_MAX,
    }
