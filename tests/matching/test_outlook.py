"""How far an order is followed into the book before it is let in: as far as its owner could pay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from raft_exchange.matching import matcher
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    Command,
    CommandRefused,
    CreateAccount,
    CreateMarket,
    Deposit,
    OrderType,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    ReplaceOrder,
    Side,
    TradeExecuted,
)
from raft_exchange.matching.outlook import Offer, offers
from tests.support.workload import new_exchange, plain_order, rules

MAKERS: Final = 200
RULES: Final = rules("ETH-USD", settles=True, taker_fee_e8=100_000)
QUOTE: Final = RULES.tick_size_e18 * RULES.lot_size_e18
BASE: Final = RULES.lot_size_e18 * 10**18


def order(account: str, side: Side, price_ticks: int = 0, **terms: object) -> PlaceOrder:
    return plain_order(account, "ETH-USD", side, price_ticks, **terms)


BIG: Final = {
    "a buy of many lots": order("ann", Side.BUY, quantity_lots=10**6),
    "a buy for much": order("ann", Side.BUY, quote_value=str(10**9)),
    "a sell for much": order("ann", Side.SELL, quote_value=str(10**9)),
}


@pytest.fixture
def exchange() -> Exchange:
    """A market of many small makers on both sides; ann has nothing."""
    exchange = new_exchange()
    exchange.apply(CreateMarket(RULES))
    for account in ("ann", "bob"):
        exchange.apply(CreateAccount(account))
    exchange.apply(Deposit("bob", "ETH", str(BASE * 10**6), "base"))
    exchange.apply(Deposit("bob", "USD", str(QUOTE * 10**9), "quote"))
    for number in range(MAKERS):
        exchange.apply(order("bob", Side.BUY, 90 - number % 5))
        exchange.apply(order("bob", Side.SELL, 110 + number % 5))
    return exchange


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Offer]:
    """The offers that were looked at."""
    seen: list[Offer] = []

    def noted(*args: Any, **terms: Any) -> Iterator[Offer]:
        for offer in offers(*args, **terms):
            seen.append(offer)
            yield offer

    monkeypatch.setattr(matcher, "offers", noted)
    return seen


def is_unpaid(exchange: Exchange, command: Command) -> bool:
    refused = exchange.apply(command)[0]
    return isinstance(refused, CommandRefused) and refused.code is RejectCode.INSUFFICIENT_FUNDS


@pytest.mark.parametrize("what", BIG)
def test_who_has_nothing_is_refused_at_the_first_maker(
    what: str, exchange: Exchange, read: list[Offer]
) -> None:
    assert is_unpaid(exchange, BIG[what])
    assert len(read) <= 2


@pytest.mark.parametrize("what", BIG)
def test_who_has_little_is_followed_as_far_as_it_reaches(
    what: str, exchange: Exchange, read: list[Offer]
) -> None:
    exchange.apply(Deposit("ann", "USD", str(QUOTE * 1_100), "quote"))
    exchange.apply(Deposit("ann", "ETH", str(BASE * 10), "base"))
    assert is_unpaid(exchange, BIG[what])
    assert 10 < len(read) <= 12


@pytest.mark.parametrize("is_leg", [False, True])
def test_what_a_replaced_order_sets_free_counts(
    is_leg: bool, exchange: Exchange, read: list[Offer]
) -> None:
    """And no more than that, with one leg of an OCO as with a plain order."""
    exchange.apply(Deposit("ann", "USD", str(QUOTE * 1_111), "quote"))
    placed: Command = order("ann", Side.BUY, 100, quantity_lots=11)
    if is_leg:
        leg = {"type": OrderType.STOP_LIMIT, "stop_price_ticks": 120, "quantity_lots": 9}
        placed = PlaceOco("ann", placed, order("ann", Side.BUY, 120, **leg))
    old_id = exchange.order_id + 1
    exchange.apply(placed)
    many = order("ann", Side.BUY, quantity_lots=10**6)
    assert is_unpaid(exchange, ReplaceOrder("ann", old_id, many))
    assert 10 < len(read) <= 24
    events = exchange.apply(ReplaceOrder("ann", old_id, order("ann", Side.BUY, quantity_lots=10)))
    assert sum(isinstance(event, TradeExecuted) for event in events) == 10
