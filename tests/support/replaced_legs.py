"""One leg of an OCO makes way for an order of the other side, in a small world with balances."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from raft_exchange.matching.messages import (
    Command,
    CreateAccount,
    CreateMarket,
    Deposit,
    OrderType,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from tests.support.workload import plain_order, rules


def replaced_leg(seed: int) -> Iterator[Command]:
    """Yield commands of which the last replaces a leg by what may meet the other leg."""
    rng = random.Random(seed)
    mine, theirs = rng.sample(list(Side), 2)
    market = rules("ETH-USD", settles=True, maker_fee_e8=99_999, taker_fee_e8=250_001)
    yield from (CreateMarket(market), CreateAccount("ann"), CreateAccount("bob"))
    quote, base = market.tick_size_e18 * market.lot_size_e18, market.lot_size_e18 * 10**18
    yield Deposit("bob", "USD", str(quote * 10**6), "quote")
    yield Deposit("bob", "ETH", str(base * 10**6), "base")
    yield Deposit("ann", "USD", str(quote * rng.randint(600, 2_500)), "quote")
    yield Deposit("ann", "ETH", str(base * rng.randint(5, 25)), "base")

    def order(account: str, side: Side, type_: OrderType, **terms: Any) -> PlaceOrder:
        price = 0 if type_ in (OrderType.MARKET, OrderType.STOP) else rng.randint(95, 105)
        good_for = TimeInForce.IOC if type_ is OrderType.MARKET else TimeInForce.GTC
        drawn = {"type": type_, "time_in_force": good_for, "quantity_lots": rng.randint(1, 9)}
        return plain_order(account, "ETH-USD", side, price, **drawn | terms)

    for _ in range(3):
        yield order("bob", mine, OrderType.LIMIT)
    stop = {"stop_price_ticks": 50 if mine is Side.SELL else 150}
    yield PlaceOco(
        "ann", order("ann", mine, OrderType.LIMIT), order("ann", mine, OrderType.STOP, **stop)
    )
    immediate = {"time_in_force": rng.choice([TimeInForce.IOC, TimeInForce.FOK])}
    new = order("ann", theirs, rng.choice([OrderType.MARKET, OrderType.LIMIT]), **immediate)
    if rng.random() < 0.4:
        by_value = {"quantity_lots": 0, "quote_value": str(rng.randint(100, 2_000))}
        new = order("ann", theirs, OrderType.MARKET, **by_value)
    new = replace(new, self_trade_prevention=rng.choice(list(SelfTradePrevention)))
    yield ReplaceOrder("ann", rng.choice([4, 5]), new)
