"""The oracle's purse: what everybody owns, and what is held of it by counting all live orders.

Nothing is ever held or released here. An account's `held` is the sum, made anew each time, of what
its live orders need; its `free` is what it owns less that.
"""

from __future__ import annotations

import re

from raft_exchange.matching.messages import (
    ANONYMOUS,
    MarketRules,
    Order,
    OrderType,
    Side,
    TradeExecuted,
)

Balances = dict[tuple[str, str], tuple[int, int]]


def amount_of(text: str) -> int:
    """Return the amount, 0 for what is none."""
    if re.fullmatch(r"[1-9][0-9]*", text) is None or len(text) > 73:
        return 0
    return int(text) if int(text) <= 10**72 else 0


class Purse:
    """Who owns how much of what, in units of 10^-36."""

    def __init__(self) -> None:
        self.owned: dict[tuple[str, str], int] = {}
        self.rates: dict[int, tuple[int, int]] = {}  # maker's and taker's, of each order
        self.inside: dict[str, int] = {}

    def copy(self) -> Purse:
        other = Purse()
        other.owned, other.rates = dict(self.owned), dict(self.rates)
        other.inside = dict(self.inside)
        return other

    def give(self, account: str, asset: str, amount: int) -> None:
        """Give, or take where negative; nobody's purse but `anonymous`'s is counted."""
        if account == ANONYMOUS:
            self.inside[asset] = self.inside.get(asset, 0) - amount
        else:
            self.owned[account, asset] = self.owned.get((account, asset), 0) + amount

    def fees(self, rules: MarketRules, trade: TradeExecuted) -> tuple[int, int]:
        """Return what maker and taker owe for a trade."""
        paid = money(rules, trade.price_ticks, trade.quantity_lots)
        maker_rate = self.rates[trade.maker_order_id][0]
        taker_rate = self.rates[trade.taker_order_id][1]
        return paid * maker_rate // 10**8, paid * taker_rate // 10**8

    def trade(self, rules: MarketRules, trade: TradeExecuted) -> None:
        """Move what a trade moves."""
        if not rules.settles:
            return
        maker_fee, taker_fee = self.fees(rules, trade)
        paid = money(rules, trade.price_ticks, trade.quantity_lots)
        things = goods(rules, trade.quantity_lots)
        sign = 1 if trade.taker_side == Side.BUY else -1
        self.give(trade.taker_account, rules.base, sign * things)
        self.give(trade.taker_account, rules.quote, -sign * paid - taker_fee)
        self.give(trade.maker_account, rules.base, -sign * things)
        self.give(trade.maker_account, rules.quote, sign * paid - maker_fee)
        self.give("fees", rules.quote, maker_fee + taker_fee)

    def needs(self, rules: MarketRules, order: Order) -> int:
        """Return what an order with a price, or a sell, needs for what is left of it."""
        rest = order.quantity_lots - order.filled_lots
        if not rules.settles or order.account == ANONYMOUS:
            return 0
        if order.side == Side.SELL:
            return goods(rules, rest)
        if order.price_ticks == 0:
            assert order.type == OrderType.STOP, "a stop that will be a market buy: nothing yet"
            return 0
        return self.price(rules, order, money(rules, order.price_ticks, rest))

    def price(self, rules: MarketRules, order: Order, paid: int) -> int:
        """Return what buying for `paid` may cost an order at most."""
        maker_rate, taker_rate = self.rates[order.order_id]
        rate = maker_rate if order.post_only else max(maker_rate, taker_rate)
        if order.price_ticks == 0:
            rate = taker_rate
        return paid + paid * rate // 10**8

    def with_fee(self, rules: MarketRules, taker: Order, value: int) -> int:
        """Return what a taker's purchases cost, the fee on their sum included."""
        paid = money(rules, value, 1)
        return paid + paid * self.rates[taker.order_id][1] // 10**8

    def balances(self, rules: dict[str, MarketRules], live: dict[int, Order]) -> Balances:
        """Return (free, held) of each account and asset, in units of 10^-36."""
        held: dict[tuple[str, str], int] = {}
        for order in live.values():
            market = rules[order.market]
            key = order.account, market.quote if order.side == Side.BUY else market.base
            needs = self.needs(market, order)
            if order.oco_order_id in live:  # two legs hold what the larger needs
                other = self.needs(market, live[order.oco_order_id])
                first = order.order_id < order.oco_order_id
                needs = max(needs, other) if first else 0
            held[key] = held.get(key, 0) + needs
        return {
            key: (owned - held.get(key, 0), held.get(key, 0)) for key, owned in self.owned.items()
        }


def money(rules: MarketRules, price_ticks: int, lots: int) -> int:
    return price_ticks * lots * rules.tick_size_e18 * rules.lot_size_e18


def goods(rules: MarketRules, lots: int) -> int:
    return lots * rules.lot_size_e18 * 10**18
