"""What the guards let in is what `check` allows: a state that came of commands can be restored."""

from __future__ import annotations

from typing import Final

import pytest
from msgspec.structs import replace

from raft_exchange.matching import (
    administration,
    book,
    entry,
    keys,
    orders,
    snapshot,
    state,
    triggers,
)
from raft_exchange.matching.filters import is_immediate
from raft_exchange.matching.limits import ICEBERGS_PER_ACCOUNT_MARKET_MAX, ICEBERGS_PER_MARKET_MAX
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    Command,
    CommandRefused,
    CreateAccount,
    CreateMarket,
    OrderType,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    ReplaceOrder,
    Side,
)
from tests.support.workload import commands, new_exchange, plain_order, rules

SMALL: Final = {
    "ORDERS_PER_ACCOUNT_MARKET_MAX": 6,
    "ORDERS_PER_MARKET_MAX": 12,
    "ORDERS_MAX": 15,
    "STOPS_PER_ACCOUNT_MARKET_MAX": 2,
    "STOPS_PER_MARKET_MAX": 4,
    "ICEBERGS_PER_ACCOUNT_MARKET_MAX": 2,
    "ICEBERGS_PER_MARKET_MAX": 2,
    "ACCOUNTS_MAX": 6,
    "MARKETS_MAX": 3,
    "KEYS_PER_ACCOUNT_MAX": 3,
    "KEYS_MAX": 10,
}
MODULES: Final = (administration, book, entry, keys, orders, state, triggers)


def of_icebergs(command: Command) -> Command:
    """Return the command with every order that may rest an iceberg."""
    match command:
        case PlaceOco():
            return PlaceOco(command.account, iceberg(command.limit), iceberg(command.stop))
        case ReplaceOrder():
            return replace(command, order=iceberg(command.order))
        case _:
            return command


def iceberg(order: PlaceOrder) -> PlaceOrder:
    if order.type is OrderType.STOP:
        order = replace(order, type=OrderType.STOP_LIMIT, price_ticks=order.stop_price_ticks)
    if order.price_ticks and not is_immediate(order.time_in_force):
        return replace(order, display_lots=order.quantity_lots)
    return order


@pytest.mark.parametrize("seed", [1, 8])
def test_no_command_leads_to_a_state_that_check_refuses(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for a handful of everything, guards and `check` meet all the time."""
    for name, value in SMALL.items():
        users = [module for module in MODULES if hasattr(module, name)]
        assert users, name
        for module in users:
            monkeypatch.setattr(module, name, value)
    exchange, codes = new_exchange(), set[RejectCode]()
    most = 0
    for command in commands(seed, 3_000):
        events = exchange.apply(of_icebergs(command))
        codes |= {event.code for event in events if isinstance(event, CommandRefused)}
        most = max([most, *(market.icebergs.total for market in exchange.markets.values())])
        exchange.check()
    assert {RejectCode.TOO_MANY_ORDERS, RejectCode.LIMIT_REACHED} <= codes
    assert most >= SMALL["ICEBERGS_PER_MARKET_MAX"], "with icebergs at their cap"


def sell(account: str, price_ticks: int = 100, **terms: object) -> PlaceOrder:
    """Return an iceberg."""
    shown: dict[str, object] = {"quantity_lots": 5, "display_lots": 1}
    return plain_order(account, "BTC-USD", Side.SELL, price_ticks, **shown | terms)


def crowded(counts: dict[str, int]) -> Exchange:
    """Return a market with so many icebergs of each account."""
    exchange = new_exchange()
    exchange.apply(CreateMarket(rules("BTC-USD")))
    for account, count in counts.items():
        exchange.apply(CreateAccount(account))
        for _ in range(count):
            exchange.apply(sell(account))
    return exchange


OWN_MAX: Final = ICEBERGS_PER_ACCOUNT_MARKET_MAX


@pytest.mark.parametrize(
    "counts", [{"eve": OWN_MAX - 1}, {**dict.fromkeys("abc", OWN_MAX), "d": OWN_MAX - 1, "eve": 0}]
)
def test_the_last_icebergs_may_be_the_two_legs_of_one_oco(counts: dict[str, int]) -> None:
    """Of an account or of a market; a node restores what was let in, and no other comes in."""
    exchange = crowded(counts)
    stop = sell("eve", 50, type=OrderType.STOP_LIMIT, stop_price_ticks=50)
    oco = PlaceOco("eve", sell("eve"), stop)
    assert not isinstance(exchange.apply(oco)[0], CommandRefused)
    icebergs = exchange.markets["BTC-USD"].icebergs
    assert icebergs.of("eve") == counts["eve"] + 2
    assert (icebergs.of("eve") > OWN_MAX) is not (icebergs.total > ICEBERGS_PER_MARKET_MAX)
    restored = snapshot.decode(snapshot.encode(exchange))
    assert isinstance(restored.apply(sell("eve"))[0], CommandRefused)
