"""What an order would find around it, as the projection knows it: makers, balances, its own side.

The machine's own functions decide (`matching.outlook`, `matching.accounts`); this hands them what
the events told.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Final

from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.accounts import Balance, Funds, Ledger
from raft_exchange.matching.filters import price_band
from raft_exchange.matching.messages import AccountSettings, Order, OrderStatus, Side
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.outlook import Offer, offers
from raft_exchange.matching.risk import fees_e8

MAKERS_LOOKED_AT_MAX: Final = 10_000


def settings_of(marketdata: MarketData, account: str) -> AccountSettings:
    """Return what operators decided of an account; one that is not open yet has no settings."""
    return marketdata.accounts.get(account, AccountSettings())


def last_price_ticks(market: Market) -> int:
    """Return the price of the last trade, 0 before the first."""
    trades = market.trades.newest(1)
    return trades[0].executed.price_ticks if trades else 0


def funds_of(marketdata: MarketData, market: Market, account: str) -> Funds:
    """Return the funds of a market with what an account has; to ask, not to move."""
    rules, ledger = market.rules, Ledger()
    for asset in (rules.base, rules.quote):
        free, held = marketdata.balances.holding(account, asset)
        ledger.restore(account, asset, Balance(int(free), int(held)))
    return Funds(rules, ledger)


def found_by(
    marketdata: MarketData,
    market: Market,
    taker: LiveOrder,
    *,
    leaving_ids: Collection[int] = (),
) -> list[Offer] | None:
    """Return what `taker` would find in the book, but for orders that end before it comes.

    None if that is more than is looked at.

    O(makers within its price), at most `MAKERS_LOOKED_AT_MAX`.
    """
    price_ticks = taker.price_ticks
    if not price_ticks:
        lowest, highest = price_band(market.rules, last_price_ticks(market))
        price_ticks = highest if taker.side is Side.BUY else lowest
    side = Side.SELL if taker.side is Side.BUY else Side.BUY
    makers: list[Order] = []
    for price, _, order_id in islice(market.depth.walk(side), MAKERS_LOOKED_AT_MAX + 1):
        if price > price_ticks if side is Side.SELL else price < price_ticks:
            break
        maker = marketdata.orders.live(order_id)
        assert maker is not None, order_id
        makers.append(maker)
    if len(makers) > MAKERS_LOOKED_AT_MAX:
        return None
    return list(offers(taker, makers, leaving_ids=leaving_ids))


def standing(marketdata: MarketData, order: Order) -> LiveOrder:
    """Return a live order as the machine has it, but for the fee rates: they are today's."""
    rules = marketdata.markets[order.market].rules
    maker_fee_e8, taker_fee_e8 = fees_e8(settings_of(marketdata, order.account), rules)
    return LiveOrder(
        order.order_id,
        order.client_order_id,
        order.account,
        order.market,
        order.side,
        order.type,
        order.time_in_force,
        order.price_ticks,
        order.quantity_lots,
        order.filled_lots,
        int(order.filled_value),
        order.expires_at_us,
        order.post_only,
        order.self_trade_prevention,
        order.created_at_us,
        order.updated_at_us,
        order.sequence,
        maker_fee_e8=maker_fee_e8,
        taker_fee_e8=taker_fee_e8,
        stop_price_ticks=order.stop_price_ticks,
        display_lots=order.display_lots,
        shown_lots=order.shown_lots,
        oco_order_id=order.oco_order_id,
        is_pending=order.status is OrderStatus.PENDING,
    )


def held_by(marketdata: MarketData, order: Order, funds: Funds) -> int:
    """Return what a live order, and the other leg of an OCO with it, hold: what they need."""
    other = marketdata.orders.live(order.oco_order_id) if order.oco_order_id else None
    legs = [order] if other is None else [order, other]
    return max(funds.needs(standing(marketdata, leg)) for leg in legs)
