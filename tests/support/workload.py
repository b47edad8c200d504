"""Seeded streams of commands: the same seed gives the same commands, everywhere.

A generator plays along on a machine of its own, only to know which orders live: so its cancels
and amends mostly name orders that are there, and a stream does not run dry.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AdvanceTime,
    AmendOrder,
    CancelAll,
    CancelOrder,
    ChangeMarket,
    Command,
    CreateAccount,
    CreateMarket,
    Deposit,
    MarketRules,
    MarketStatus,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
    Withdraw,
)
from raft_exchange.matching.versions import VERSIONS

MARKETS: Final = ("BTC-USD", "ETH-USD")
FUNDED_MARKET: Final = "ETH-USD"
ACCOUNTS: Final = (ANONYMOUS, "ann", "bob", "cyd")
PRICE_TICKS: Final = {Side.BUY: range(90, 103), Side.SELL: range(98, 111)}
QUANTITY_LOTS: Final = range(1, 20)

ABSURD_INTEGERS: Final = (
    *(-(2**63), -(10**15), -1, 0, 1, 2, 10**15, 10**15 + 1, 10**18, 10**18 + 1),
    *(253_402_300_799_999_999, 253_402_300_800_000_000, 2**63 - 1, 2**63, 2**64 - 1),
)
ABSURD_STRINGS: Final = (
    *("", " ", "\x00", "BTC-USD", "btc-usd", "ann", "a" * 64, "a" * 65, "a" * 10_000),
    *("-x", "a b", "naïve", "٣", "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT ONE}", "x\n", "../ann"),
)

WEIGHTS: Final = {
    "place": 600,
    "cancel": 90,
    "amend": 160,
    "time": 60,
    "cancel_all": 4,
    "change_market": 15,
    "create": 5,
    "transfer": 30,
    "absurd": 40,
}
"""How often each kind of command comes in `commands`, out of their sum."""


def rules(market: str, **changes: object) -> MarketRules:
    """Return the rules of a market that takes whatever the vocabulary allows, but `changes`."""
    base, _, quote = market.partition("-")
    fields: dict[str, object] = {
        "market": market,
        "base": base,
        "quote": quote,
        "tick_size_e18": 10**16,
        "lot_size_e18": 10**10,
        "price_ticks_min": 1,
        "price_ticks_max": 10**15,
        "quantity_lots_min": 1,
        "quantity_lots_max": 10**18,
        "notional_min": 0,
        "self_trade_prevention": SelfTradePrevention.EXPIRE_TAKER,
    }
    return MarketRules(**(fields | changes))  # type: ignore[arg-type]


def commands(seed: int, count: int) -> Iterator[Command]:
    """Yield `count` commands of every kind, sane and absurd, from a small crowded world.

    The first few open the markets and accounts, so that every stream is complete in itself.
    """
    trader = _Trader(seed)
    opening: list[Command] = [CreateMarket(_opening_rules(market)) for market in MARKETS]
    opening += [CreateAccount(name) for name in ACCOUNTS if name != ANONYMOUS]
    makers: dict[str, Callable[[], Command]] = {
        "place": trader.place,
        "cancel": trader.cancel,
        "amend": trader.amend,
        "time": trader.time,
        "cancel_all": trader.cancel_all,
        "change_market": trader.change_market,
        "create": trader.create,
        "transfer": trader.transfer,
        "absurd": trader.absurd,
    }
    kinds = trader.random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    for number in range(count):
        command = opening[number] if number < len(opening) else makers[kinds[number]]()
        trader.shadow.apply(command)
        yield command


def new_exchange() -> Exchange:
    """Return an exchange in the newest version: everything may be asked of it."""
    exchange = Exchange()
    exchange.version = VERSIONS.newest
    return exchange


def _opening_rules(market: str) -> MarketRules:
    if market != FUNDED_MARKET:
        return rules(market)
    # Sizes and fees that leave no amount round.
    odd: dict[str, object] = {"tick_size_e18": 37 * 10**13, "lot_size_e18": 13 * 10**11 + 1}
    return rules(market, settles=True, maker_fee_e8=99_999, taker_fee_e8=250_001, **odd)


class _Trader:
    """All the traders, operators and vandals of a small world, driven by one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.shadow = new_exchange()

    def place(self) -> PlaceOrder:
        rng = self.random
        market_order = rng.random() < 0.08
        time_in_force = rng.choices(list(TimeInForce), (10, 3, 3, 4))[0]
        if market_order:
            time_in_force = rng.choice((TimeInForce.IOC, TimeInForce.FOK))
        side = rng.choice(list(Side))
        resting = time_in_force in (TimeInForce.GTC, TimeInForce.GTD)
        gtd = time_in_force is TimeInForce.GTD
        return PlaceOrder(
            account=rng.choice(ACCOUNTS),
            market=rng.choices(MARKETS, (1, 1))[0],
            side=side,
            type=OrderType.MARKET if market_order else OrderType.LIMIT,
            time_in_force=time_in_force,
            price_ticks=0 if market_order else rng.choice(PRICE_TICKS[side]),
            quantity_lots=rng.choice(QUANTITY_LOTS),
            expires_at_us=self.shadow.time_us + rng.randint(0, 400) if gtd else 0,
            post_only=resting and rng.random() < 0.15,
            self_trade_prevention=rng.choice((None, None, *SelfTradePrevention)),
            client_order_id=rng.choice(("", "", "", f"label {rng.randint(0, 9)}")),
        )

    def cancel(self) -> CancelOrder:
        if self.random.random() < 0.2:
            label = f"label {self.random.randint(0, 9)}"
            return CancelOrder(self.random.choice(ACCOUNTS), 0, label)
        account, order_id = self._target()
        return CancelOrder(account, order_id, "")

    def amend(self) -> AmendOrder:
        rng = self.random
        account, order_id = self._target()
        price = rng.choice((None, rng.choice(PRICE_TICKS[rng.choice(list(Side))])))
        quantity = rng.choice((None, rng.choice(QUANTITY_LOTS)))
        return AmendOrder(account, order_id, price, quantity)

    def time(self) -> AdvanceTime:
        return AdvanceTime(max(0, self.shadow.time_us + self.random.randint(-3, 12)))

    def cancel_all(self) -> CancelAll:
        rng = self.random
        return CancelAll(
            rng.choice(ACCOUNTS), rng.choice((None, *MARKETS)), rng.choice((None, *Side))
        )

    def change_market(self) -> ChangeMarket:
        rng = self.random
        return ChangeMarket(
            market=rng.choice(MARKETS),
            status=rng.choices((None, *MarketStatus), (1, 20, 1, 1))[0],
            price_ticks_min=rng.choice((None, 1, 95)),
            price_ticks_max=rng.choice((None, 105, 10**15)),
            quantity_lots_min=rng.choice((None, 1, 1, 1, 3)),
            quantity_lots_max=rng.choice((None, 15, 10**18, 10**18)),
            notional_min=rng.choice((None, 0, 0, 0, 300)),
            self_trade_prevention=rng.choice((None, *SelfTradePrevention)),
            maker_fee_e8=rng.choice((None, None, 0, 150_000)),
            taker_fee_e8=rng.choice((None, None, 0, 100_000)),
        )

    def transfer(self) -> Command:
        rng = self.random
        kind = Deposit if rng.random() < 0.7 else Withdraw
        asset = rng.choice(("ETH", "USD", "USD", "DOGE"))
        unit = 13 * 10**29 if asset == "ETH" else 37 * 10**27
        amount = str(rng.choice((1, 5, 40, 800)) * unit + rng.randint(0, 1))
        return kind(rng.choice(ACCOUNTS), asset, amount, f"transfer {rng.randint(0, 3_000)}")

    def create(self) -> Command:
        if self.random.random() < 0.5:
            return CreateAccount(f"extra{self.random.randint(0, 5)}")
        return CreateMarket(rules(self.random.choice((*MARKETS, "LTC-USD", "LTC-EUR"))))

    def absurd(self) -> Command:
        """A command of a valid shape, any field of which may hold nonsense."""
        integer, text, rng = self._integer, self._text, self.random
        kind = rng.randrange(9)
        if kind == 0:
            # The clock is left near now: nothing would be live ten thousand years on.
            return AdvanceTime(rng.choice([n for n in ABSURD_INTEGERS if n < 10**9 or n > 10**18]))
        if kind == 1:
            return CreateAccount(text())
        if kind == 2:
            return CreateMarket(rules(text(), price_ticks_max=integer(), notional_min=integer()))
        if kind == 3:
            return ChangeMarket(text(), None, integer(), None, None, integer(), integer(), None)
        if kind == 4:
            return AmendOrder(text(), integer(), integer(), rng.choice((None, integer())))
        if kind == 5:
            return CancelOrder(text(), integer(), text())
        if kind == 6:
            return CancelAll(text(), text(), None)
        if kind == 7:
            amount = rng.choice(("0", "-1", "1", "1e3", "9" * 73, "9" * 72, "1" * 5_000, text()))
            transfer_id = rng.choice(("x", text()))
            account = rng.choice((*ACCOUNTS, text()))
            return rng.choice((Deposit, Withdraw))(account, "USD", amount, transfer_id)
        return PlaceOrder(
            account=rng.choice((*ACCOUNTS, text())),
            market=rng.choice((*MARKETS, text())),
            side=rng.choice(list(Side)),
            type=rng.choice(list(OrderType)),
            time_in_force=rng.choice(list(TimeInForce)),
            price_ticks=rng.choice((100, integer())),
            quantity_lots=rng.choice((5, integer())),
            expires_at_us=rng.choice((0, self.shadow.time_us + 10, integer())),
            post_only=rng.choice((False, True)),
            self_trade_prevention=rng.choice((None, *SelfTradePrevention)),
            client_order_id=text(),
        )

    def _integer(self) -> int:
        return self.random.choice(ABSURD_INTEGERS)

    def _text(self) -> str:
        return self.random.choice(ABSURD_STRINGS)

    def _target(self) -> tuple[str, int]:
        """An order to cancel or amend: mostly a live one and its owner, sometimes neither."""
        rng, shadow = self.random, self.shadow
        if shadow.live.by_id and rng.random() < 0.85:
            order_id = rng.choice(sorted(shadow.live.by_id))
            account = shadow.live.by_id[order_id].account
            return account if rng.random() < 0.95 else rng.choice(ACCOUNTS), order_id
        return rng.choice(ACCOUNTS), shadow.order_id + rng.randint(-20, 3)


def realistic(seed: int, count: int) -> Iterator[Command]:
    """Yield `count` commands of a busy market: 70 % rest, 15 % cross, 15 % cancel.

    For measuring; the market and the account it needs come first, on top of `count`.
    """
    rng = random.Random(seed)
    shadow = Exchange()
    opening = (CreateMarket(rules("BTC-USD")), CreateAccount("ann"), CreateAccount("bob"))
    for first in opening:
        shadow.apply(first)
        yield first
    for _ in range(count):
        kind = rng.random()
        recent = [
            rng.randint(max(1, shadow.order_id - 2_000), shadow.order_id + 1) for _ in "12345678"
        ]
        live = [order_id for order_id in recent if order_id in shadow.live.by_id]
        command: Command
        if kind < 0.15 and live:
            command = CancelOrder(shadow.live.by_id[live[0]].account, live[0], "")
        else:
            command = _busy_order(rng, crosses=0.15 <= kind < 0.30)
        shadow.apply(command)
        yield command


def _busy_order(rng: random.Random, *, crosses: bool) -> PlaceOrder:
    side = rng.choice(list(Side))
    away_ticks = -400 if crosses else 2 + int(rng.expovariate(1 / 60))
    return PlaceOrder(
        rng.choice(("ann", "bob")),
        "BTC-USD",
        side,
        OrderType.LIMIT,
        TimeInForce.IOC if crosses else TimeInForce.GTC,
        10_000 + away_ticks * (-1 if side is Side.BUY else 1),
        rng.randint(1, 100),
        0,
        False,
        SelfTradePrevention.NONE,
        "",
    )
