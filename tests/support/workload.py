"""Seeded streams of commands: the same seed gives the same commands, everywhere.

A generator plays along on a machine of its own, only to know which orders live: so its cancels
and amends mostly name orders that are there, and a stream does not run dry.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    ANONYMOUS,
    STOP_TYPES,
    AccountLimits,
    AdvanceTime,
    AmendOrder,
    CancelAfter,
    CancelAll,
    CancelOrder,
    ChangeAccount,
    ChangeMarket,
    Command,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    KeyKind,
    MarketRules,
    MarketStatus,
    OrderType,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    RevokeKey,
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
    "place": 680,
    "cancel": 90,
    "amend": 160,
    "oco": 30,
    "replace": 40,
    "cancel_after": 2,
    "time": 60,
    "cancel_all": 4,
    "change_market": 15,
    "create": 5,
    "transfer": 30,
    "operate": 25,
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


def plain_order(
    account: str, market: str, side: Side, price_ticks: int = 0, **terms: object
) -> PlaceOrder:
    """Return a limit order, without a price a market order, of one lot and nothing special.

    `terms` are fields that are otherwise.
    """
    fields: dict[str, object] = {
        "account": account,
        "market": market,
        "side": side,
        "type": OrderType.LIMIT if price_ticks else OrderType.MARKET,
        "time_in_force": TimeInForce.GTC if price_ticks else TimeInForce.IOC,
        "price_ticks": price_ticks,
        "quantity_lots": 0 if "quote_value" in terms else 1,
        "expires_at_us": 0,
        "post_only": False,
        "self_trade_prevention": None,
        "client_order_id": "",
    }
    return PlaceOrder(**(fields | terms))  # type: ignore[arg-type]


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
        "oco": trader.oco,
        "replace": trader.replace,
        "cancel_after": trader.cancel_after,
        "time": trader.time,
        "cancel_all": trader.cancel_all,
        "change_market": trader.change_market,
        "create": trader.create,
        "transfer": trader.transfer,
        "operate": trader.operate,
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
        market = rng.choice(MARKETS)
        return self._order(rng.choice(ACCOUNTS), market, rng.choice(list(Side)))

    def _order(self, account: str, market: str, side: Side) -> PlaceOrder:
        kind = self.random.choices(list(OrderType), (80, 8, 7, 9))[0]
        return self._of_type(kind, account, market, side)

    def _of_type(self, kind: OrderType, account: str, market: str, side: Side) -> PlaceOrder:
        rng = self.random
        immediate = (TimeInForce.IOC, TimeInForce.FOK)
        times = {
            OrderType.LIMIT: rng.choices(list(TimeInForce), (10, 3, 3, 4)),
            OrderType.MARKET: [rng.choice(immediate)],
            OrderType.STOP: [rng.choice((TimeInForce.GTC, TimeInForce.GTD))],
            OrderType.STOP_LIMIT: rng.choices(list(TimeInForce), (10, 3, 0, 4)),
        }
        time_in_force = times[kind][0]
        lots = rng.choice(QUANTITY_LOTS)
        rests = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) and time_in_force not in immediate
        by_quote = kind is OrderType.MARKET and time_in_force is TimeInForce.IOC
        by_quote = by_quote and rng.random() < 0.5
        return PlaceOrder(
            account=account,
            market=market,
            side=side,
            type=kind,
            time_in_force=time_in_force,
            price_ticks=rng.choice(PRICE_TICKS[side]) if "LIMIT" in kind.name else 0,
            quantity_lots=0 if by_quote else lots,
            expires_at_us=self._soon() if time_in_force is TimeInForce.GTD else 0,
            post_only=rests and kind is OrderType.LIMIT and rng.random() < 0.15,
            self_trade_prevention=rng.choice((None, None, *SelfTradePrevention)),
            client_order_id=rng.choice(("", "", "", f"label {rng.randint(0, 9)}")),
            stop_price_ticks=self._stop_price(market, side) if kind in STOP_TYPES else 0,
            display_lots=rng.randint(1, lots) if rests and rng.random() < 0.25 else 0,
            quote_value=str(rng.randint(50, 2_000)) if by_quote else "",
        )

    def _soon(self) -> int:
        return self.shadow.time_us + self.random.randint(0, 400)

    def _stop_price(self, market: str, side: Side) -> int:
        known = self.shadow.markets.get(market)
        last = (known.book.last_price_ticks if known else 0) or 100
        away = self.random.choice((-1, 0, 1, 1, 1, 2, 2, 3, 4))
        return last + away if side is Side.BUY else max(last - away, 1)

    def oco(self) -> PlaceOco:
        rng = self.random
        account, side = rng.choice(ACCOUNTS), rng.choice(list(Side))
        market = rng.choice(MARKETS)
        limit = self._of_type(OrderType.LIMIT, account, market, side)
        stop = self._of_type(rng.choice(sorted(STOP_TYPES)), account, market, side)
        if rng.random() < 0.05:
            stop = self.place()
        return PlaceOco(account, limit, stop)

    def replace(self) -> ReplaceOrder:
        rng = self.random
        account, order_id = self._target()
        market = rng.choice(MARKETS)
        old = self.shadow.live.by_id.get(order_id)
        order = self._order(account, market, rng.choice(list(Side)))
        if old is not None and rng.random() < 0.3:
            order = msgspec.structs.replace(order, client_order_id=old.client_order_id)
        return ReplaceOrder(account, order_id, order)

    def cancel_after(self) -> CancelAfter:
        rng = self.random
        return CancelAfter(rng.choice(ACCOUNTS), rng.choice((0, rng.randint(1, 300))))

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
        order = self.shadow.live.by_id.get(order_id)
        stop_price = None
        if order is not None and rng.random() < (0.6 if order.is_pending else 0.03):
            stop_price = self._stop_price(order.market, order.side)
            price = price if order.price_ticks else None
        return AmendOrder(account, order_id, price, quantity, stop_price)

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
            price_band_ppm=rng.choice((None, 0, 0, 0, 60_000)),
            open_orders_max=rng.choice((None, 0, 0, 0, 40)),
            notional_max=rng.choice((None, 0, 0, 0, 1_900)),
            cancel_orders=rng.random() < 0.03,
        )

    def operate(self) -> Command:
        rng = self.random
        account = rng.choice(ACCOUNTS)
        kind = rng.random()
        key_ids = [f"key{number}" for number in range(60)]
        if kind < 0.25:
            return RevokeKey(account, rng.choice(key_ids))
        if kind < 0.6:
            secret = rng.randbytes(rng.choice((32, 32, 32, 31)))
            replaces = rng.choice(("", "", rng.choice(key_ids)))
            return CreateKey(
                *(account, rng.choice(key_ids), rng.choice(list(KeyKind)), secret),
                *(rng.randint(0, 8), replaces),
            )
        limits = AccountLimits(
            rng.choice((*MARKETS, "XXX-YYY")),
            rng.choice((0, 0, 30)),
            rng.choice((0, 0, 0, 18)),
            rng.choice((0, 0, 0, 1_800, -1)),
        )
        return ChangeAccount(
            account,
            rng.choices((None, False, True), (30, 80, 4))[0],
            rng.choice((None, None, -1, 0, 50_000, -2)),
            rng.choice((None, None, -1, 0, 50_000, 10**7 + 1)),
            rng.choice(((), (limits,))),
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
        order = self._absurd_order
        # The clock is left near now: nothing would be live ten thousand years on.
        times = [n for n in ABSURD_INTEGERS if n < 10**9 or n > 10**18]
        makers: tuple[Callable[[], Command], ...] = (
            lambda: AdvanceTime(rng.choice(times)),
            lambda: CreateAccount(text()),
            lambda: CreateMarket(rules(text(), price_ticks_max=integer(), notional_min=integer())),
            lambda: CreateMarket(rules("LTC-EUR", price_band_ppm=integer())),
            lambda: ChangeMarket(text(), None, integer(), None, None, integer(), integer(), None),
            lambda: AmendOrder(text(), integer(), integer(), rng.choice((None, integer()))),
            lambda: AmendOrder(*self._target(), None, None, integer()),
            lambda: CancelOrder(text(), integer(), text()),
            lambda: CancelAll(text(), text(), None),
            lambda: CancelAfter(rng.choice((*ACCOUNTS, text())), integer()),
            lambda: ReplaceOrder(rng.choice((*ACCOUNTS, text())), integer(), order()),
            lambda: PlaceOco(rng.choice((*ACCOUNTS, text())), order(), self.place()),
            self._absurd_transfer,
            order,
        )
        return rng.choice(makers)()

    def _absurd_transfer(self) -> Command:
        rng, text = self.random, self._text
        amount = rng.choice(("0", "-1", "1", "1e3", "9" * 73, "9" * 72, "1" * 5_000, text()))
        transfer_id = rng.choice(("x", str(rng.random())))
        account = rng.choice((*ACCOUNTS, text()))
        return rng.choice((Deposit, Deposit, Withdraw))(account, "USD", amount, transfer_id)

    def _absurd_order(self) -> PlaceOrder:
        integer, text, rng = self._integer, self._text, self.random
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
            stop_price_ticks=rng.choice((0, 0, 100, integer())),
            display_lots=rng.choice((0, 0, 2, integer())),
            quote_value=rng.choice(("", "", "", str(integer()), text())),
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
