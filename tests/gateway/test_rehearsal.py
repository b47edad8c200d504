"""A dry run says what the exchange then says, book, limits and balances included."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from raft_exchange.decoding.errors import Problem
from raft_exchange.gateway.rehearsal import (
    rehearse_amend,
    rehearse_oco,
    rehearse_place,
    rehearse_replace,
)
from raft_exchange.marketdata import around
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    AccountLimits,
    AmendOrder,
    CancelOrder,
    ChangeAccount,
    Command,
    CommandRefused,
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
    Withdraw,
)
from raft_exchange.matching.versions import VERSIONS
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway
from tests.support.replaced_legs import replaced_leg
from tests.support.workload import rules

MARKET = "ETH-EUR"
ACCOUNTS = ("ann", "bob", "cyd")
STEPS = 1_500


class Floor:
    """An exchange with balances, fees and limits, and the projection of its events."""

    def __init__(self, seed: int) -> None:
        self.exchange, self.marketdata = Exchange(), MarketData()
        self.exchange.version = VERSIONS.newest
        self.random = random.Random(seed)
        market = rules(
            MARKET,
            settles=True,
            maker_fee_e8=100_000,
            taker_fee_e8=250_000,
            price_band_ppm=300_000,
            notional_min=100,
            notional_max=4_000,
            open_orders_max=12,
        )
        self.run(CreateMarket(market))
        for account in ACCOUNTS:
            self.run(CreateAccount(account))
        unit = market.tick_size_e18 * market.lot_size_e18
        self.quote, self.base = unit * 3_000, 10**18 * market.lot_size_e18 * 30
        self.run(ChangeAccount("bob", None, None, 0, (AccountLimits(MARKET, 5, 25, 2_500),)))

    def run(self, command: Command) -> CommandRefused | None:
        events = self.exchange.apply(command)
        self.marketdata.apply(self.exchange.sequence, self.exchange.time_us, events)
        return events[0] if isinstance(events[0], CommandRefused) else None

    def move_money(self, account: str) -> None:
        asset, amount = self.random.choice([("EUR", self.quote), ("ETH", self.base)])
        id_ = f"t{self.exchange.sequence}"
        part = str(self.random.randrange(1, amount))
        kind = Deposit if self.random.random() < 0.6 else Withdraw
        self.run(kind(account, asset, part, id_))

    def order(self, account: str) -> PlaceOrder:
        draw = self.random
        side, type_ = draw.choice(list(Side)), draw.choice([OrderType.LIMIT] * 5 + list(OrderType))
        price = draw.randrange(85, 116) if type_ in (OrderType.LIMIT, OrderType.STOP_LIMIT) else 0
        stop = 0
        if type_ in (OrderType.STOP, OrderType.STOP_LIMIT):
            stop = draw.randrange(85, 116)
        in_force = draw.choice([TimeInForce.GTC] * 4 + [TimeInForce.IOC, TimeInForce.FOK])
        if type_ is OrderType.MARKET:
            in_force = TimeInForce.IOC
        elif stop:
            in_force = TimeInForce.GTC
        lots = draw.randrange(1, 45)
        by_value = type_ is OrderType.MARKET and draw.random() < 0.4
        iceberg = type_ is OrderType.LIMIT and in_force is TimeInForce.GTC and draw.random() < 0.2
        return PlaceOrder(
            account,
            MARKET,
            side,
            type_,
            in_force,
            price,
            0 if by_value else lots,
            0,
            type_ is OrderType.LIMIT and in_force is TimeInForce.GTC and draw.random() < 0.15,
            draw.choice([None, *SelfTradePrevention]),
            draw.choice(["", "", "mine", "yours"]),
            stop_price_ticks=stop,
            display_lots=max(1, lots // 3) if iceberg else 0,
            quote_value=str(draw.randrange(50, 5_000)) if by_value else "",
        )

    def own(self, account: str) -> int:
        mine = [o.order_id for o in self.marketdata.orders.live_orders() if o.account == account]
        return self.random.choice(mine) if mine and self.random.random() < 0.9 else 1

    def command(self) -> Command:
        draw, account = self.random, self.random.choice(ACCOUNTS)
        match draw.choices(range(4), (6, 2, 3, 2))[0]:
            case 0:
                return self.order(account)
            case 1:
                return ReplaceOrder(account, self.own(account), self.order(account))
            case 2:
                return AmendOrder(
                    account,
                    self.own(account),
                    draw.choice([None, draw.randrange(85, 116)]),
                    draw.choice([None, draw.randrange(1, 45)]),
                )
            case _:
                return self.pair(account)

    def pair(self, account: str) -> PlaceOco:
        side, lots = self.random.choice(list(Side)), self.random.randrange(1, 30)
        up, down = self.random.randrange(100, 116), self.random.randrange(85, 101)
        limit_price, stop_price = (down, up) if side is Side.BUY else (up, down)
        gtc = TimeInForce.GTC

        def leg(kind: OrderType, price: int, stop: int) -> PlaceOrder:
            return PlaceOrder(
                account, MARKET, side, kind, gtc, price, lots, 0, False, None, "",
                stop_price_ticks=stop,
            )  # fmt: skip

        kind = self.random.choice([OrderType.STOP, OrderType.STOP_LIMIT])
        at = stop_price if kind is OrderType.STOP_LIMIT else 0
        return PlaceOco(account, leg(OrderType.LIMIT, limit_price, 0), leg(kind, at, stop_price))

    def rehearsed(self, command: Command) -> str | None:
        """Return the code with which a dry run refuses, "" for none; None where there is none."""
        view: Any = self.marketdata
        try:
            match command:
                case PlaceOrder():
                    rehearse_place(command, view, sent={})
                case PlaceOco():
                    rehearse_oco(command, view, sent={})
                case ReplaceOrder():
                    rehearse_replace(command, view, sent={})
                case AmendOrder():
                    order = view.orders.get(command.order_id)
                    if order is None or order.account != command.account:
                        return None  # the route answers that itself
                    rehearse_amend(command, order, view, sent={})
        except Problem as problem:
            return problem.code.value
        return ""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_dry_run_refuses_what_the_exchange_refuses_and_nothing_else(seed: int) -> None:
    floor, seen = Floor(seed), set[tuple[str, str]]()
    for step in range(STEPS):
        if step % 5 == 0:
            floor.move_money(floor.random.choice(ACCOUNTS))
        if step % 7 == 0:
            account = floor.random.choice(ACCOUNTS)
            floor.run(CancelOrder(account, floor.own(account), ""))
        command = floor.command()
        expected = floor.rehearsed(command)
        refused = floor.run(command)
        said = "" if refused is None else refused.code.value
        assert expected in (said, None), (step, command, refused)
        seen.add((type(command).__name__, said))
    floor.marketdata.check()
    assert {code for kind, code in seen if kind == "PlaceOrder"} >= {
        *("", "insufficient_funds", "risk_limit", "price_band", "would_take", "unfillable"),
        *("duplicate_client_order_id", "stop_would_trigger", "min_notional"),
    }
    for kind in ("PlaceOco", "ReplaceOrder", "AmendOrder"):
        assert {(kind, ""), (kind, "insufficient_funds")} <= seen, kind


def test_a_dry_run_of_what_replaces_a_leg_knows_that_the_other_leg_ends_too() -> None:
    """The order that comes is judged by what stands behind that leg, as the exchange judges it."""
    answers: Counter[str] = Counter()
    for seed in range(300):
        floor = Floor(0)
        *opening, replacing = replaced_leg(seed)
        for command in opening:
            floor.run(command)
        expected = floor.rehearsed(replacing)
        refused = floor.run(replacing)
        assert expected == ("" if refused is None else refused.code.value), seed
        answers[expected] += 1
    assert min(answers[""], answers["insufficient_funds"]) > 20


@in_loop
async def test_what_cannot_be_paid_is_refused_in_a_dry_run() -> None:
    async with gateway() as g:
        market = {
            "market": MARKET,
            "base": "ETH",
            "quote": "EUR",
            "tick_size": "1",
            "lot_size": "1",
        }
        assert (await g.call("POST", "/v1/markets", market | {"accounts": "on"})).status == 201
        order = {"market": MARKET, "side": "buy", "type": "limit", "price": "10", "quantity": "5"}
        path = "/v1/orders?dry_run=true"
        await g.call("POST", "/v1/accounts", {"account": "ann"})
        poor = await g.call("POST", path, order, X_Account="ann")
        assert (poor.status, poor.code, poor.body["field"]) == (
            422,
            "insufficient_funds",
            "quantity",
        )
        deposit = {"id": "d", "asset": "EUR", "amount": "50"}
        await g.call("POST", "/v1/accounts/ann/deposits", deposit)
        assert (await g.call("POST", path, order, X_Account="ann")).status == 200
        assert (await g.call("POST", "/v1/orders", order, X_Account="ann")).status == 201
        assert (await g.call("POST", path, order, X_Account="ann")).code == "insufficient_funds"
        replace = "/v1/orders/1/replace?dry_run=true"
        assert (await g.call("POST", replace, order, X_Account="ann")).status == 200
        assert (await g.call("POST", replace, order, X_Account="bob")).code == "unknown_order"
        amend = "/v1/orders/1?dry_run=true"
        more = await g.call("PATCH", amend, {"quantity": "6"}, X_Account="ann")
        assert more.code == "insufficient_funds"
        assert (await g.call("PATCH", amend, {"quantity": "4"}, X_Account="ann")).status == 200
        await g.call("PATCH", "/v1/accounts/ann", {"frozen": True})
        assert (await g.call("POST", path, order, X_Account="ann")).code == "account_frozen"


@in_loop
async def test_a_book_beyond_what_is_looked_at_is_left_to_the_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(around, "MAKERS_LOOKED_AT_MAX", 2)
    async with gateway() as g:
        for _ in range(3):
            await g.place("sell", "100")
        order = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "100"}
        path = "/v1/orders?dry_run=true"
        body = order | {"quantity": "9", "time_in_force": "fok"}
        assert (await g.call("POST", path, body)).status == 200, "nobody looked so far"
        body = order | {"quantity": "1", "post_only": True}
        assert (await g.call("POST", path, body)).code == "would_take"
