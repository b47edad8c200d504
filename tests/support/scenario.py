"""The small language of the scenario files: what a trader types, and what the exchange answers.

A file is a list of blocks, parted by empty lines: comments (`# ...`), commands, `----`, answers.
Times are microseconds, prices ticks, quantities lots; `#3` is order 3. Commands:

    account NAME...
    market NAME [signed] [limits]
    deposit|withdraw ACCOUNT AMOUNT ASSET TRANSFER
    operate ACCOUNT [freeze|thaw] [maker_fee=] [taker_fee=] [limits]
    key ACCOUNT KEY SCOPES [signs] [replaces=KEY]
    revoke ACCOUNT KEY
    with KEY COMMAND
    signed COMMAND
    change NAME [status=STATUS] [signed|unsigned] [limits]
    buy|sell ACCOUNT LOTS [@ PRICE] [gtc|ioc|fok] [gtd=TIME] [post] [stp=MODE] [id=LABEL]
                          [stop=PRICE] [show=LOTS]
    buy|sell ACCOUNT spend=VALUE
    oco ACCOUNT buy|sell LOTS @ PRICE ... / buy|sell LOTS stop=PRICE ...
    replace ACCOUNT #ORDER buy|sell LOTS ...
    amend ACCOUNT #ORDER [LOTS] [@ PRICE] [stop=PRICE]
    cancel-after ACCOUNT MICROSECONDS
    cancel ACCOUNT #ORDER|id=LABEL
    cancel-all ACCOUNT [buy|sell]
    time TIME
    book [NAME]
    stops [NAME]

Limits are min_price= max_price= min_quantity= max_quantity= min_notional= max_notional=
max_orders= stp= band= (a band in percent); of an account the last maxima, on=MARKET. The market is
BTC-USD unless `on=MARKET` says otherwise. A market that `settles` has a tick and a lot of 1; fees
(maker_fee= taker_fee=) are in percent, amounts in whole units of the asset. An order without a
price is a market order, `ioc` unless told, or with `stop=` a stop. `book` prints the ladder, worst
sell first, of an iceberg what it shows and in brackets what it hides; `stops` prints who waits,
oldest first: both are looks, not commands.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Final

from raft_exchange.matching.book import BookSide
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    AccountChanged,
    AccountCreated,
    AccountLimits,
    AdvanceTime,
    AllCanceled,
    AmendOrder,
    BalanceChanged,
    CancelAfter,
    CancelAfterElapsed,
    CancelAfterSet,
    CancelAll,
    CancelOrder,
    ChangeAccount,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    Event,
    KeyChanged,
    KeyKind,
    MarketChanged,
    MarketRules,
    MarketStatus,
    Order,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderReplenished,
    OrderRested,
    OrderStatus,
    OrderType,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    RevokeKey,
    Scope,
    SelfTradePrevention,
    Side,
    StopElected,
    StopPlaced,
    TimeAdvanced,
    TimeInForce,
    TradeExecuted,
    TransferMade,
    Withdraw,
)
from tests.support.workload import rules

SEPARATOR: Final = "----"
DEFAULT_MARKET: Final = "BTC-USD"
LIMITS: Final = {
    "min_price": "price_ticks_min",
    "max_price": "price_ticks_max",
    "min_quantity": "quantity_lots_min",
    "max_quantity": "quantity_lots_max",
    "min_notional": "notional_min",
    "max_notional": "notional_max",
    "max_orders": "open_orders_max",
}
ACCOUNT_LIMITS: Final = ("max_orders", "max_quantity", "max_notional")
FEES: Final = ("maker_fee_e8", "taker_fee_e8")


@dataclass
class Block:
    """Comments and commands as written, and the answers that stand below the separator."""

    lines: list[str]
    answers: list[str]

    def commands(self) -> list[str]:
        return [line for line in self.lines if not line.startswith("# ")]


def parse(text: str) -> list[Block]:
    """Return the blocks of a scenario file."""
    blocks = []
    for part in text.strip().split("\n\n"):
        lines = part.splitlines()
        if SEPARATOR in lines:
            place = lines.index(SEPARATOR)
            blocks.append(Block(lines[:place], lines[place + 1 :]))
        else:
            blocks.append(Block(lines, []))
    return blocks


def unparse(blocks: list[Block]) -> str:
    """Return the file of these blocks."""
    parts = []
    for block in blocks:
        answered = [SEPARATOR, *block.answers] if block.commands() else []
        parts.append("\n".join([*block.lines, *answered]))
    return "\n\n".join(parts) + "\n"


def answer(exchange: Exchange, line: str) -> list[str]:
    """Run one line against `exchange`; return what it answers, a line for each event."""
    words = shlex.split(line)
    if words[0] == "book":
        return ladder(exchange, words[1] if len(words) > 1 else DEFAULT_MARKET)
    if words[0] == "stops":
        return waiting(exchange, words[1] if len(words) > 1 else DEFAULT_MARKET)
    lines = []
    key_id = ""
    is_signed = words[0] == "signed"
    words = words[is_signed:]
    if words[0] == "with":
        _, key_id, *words = words
    for command in read(words):
        refused = exchange.refuse_key(key_id, command) if key_id else None
        if not is_signed:
            refused = refused or exchange.refuse_unsigned(command)
        events = exchange.apply(command) if refused is None else [refused]
        lines += [write(event) for event in events]
        exchange.check()
    return lines


# Reading ----------------------------------------------------------------------------------


def read(words: list[str]) -> list[Command]:
    """Return the commands of one line; only `account` makes more than one."""
    verb, *arguments = words
    options = dict(word.split("=", 1) for word in arguments if "=" in word)
    plain = [word for word in arguments if "=" not in word]
    if verb == "account":
        return [CreateAccount(name) for name in arguments]
    readers: dict[str, Callable[[], Command]] = {
        "buy": lambda: _order(Side.BUY, plain, options),
        "sell": lambda: _order(Side.SELL, plain, options),
        "oco": lambda: _oco(arguments),
        "replace": lambda: _replace(arguments),
        "cancel-after": lambda: CancelAfter(plain[0], int(plain[1])),
        "amend": lambda: _amend(plain, options),
        "cancel": lambda: _cancel(plain, options),
        "cancel-all": lambda: _cancel_all(plain, options),
        "time": lambda: AdvanceTime(int(plain[0])),
        "market": lambda: CreateMarket(_rules(plain, options)),
        "operate": lambda: _operate(plain, options),
        "key": lambda: _key(plain, options),
        "revoke": lambda: RevokeKey(plain[0], plain[1]),
        "deposit": lambda: _transfer(Deposit, plain),
        "withdraw": lambda: _transfer(Withdraw, plain),
        "change": lambda: _change(plain, options),
    }
    return [readers[verb]()]


def _order(side: Side, plain: list[str], options: dict[str, str]) -> PlaceOrder:
    account, lots = (plain[0], "0") if "spend" in options else plain[:2]
    price = _price(plain)
    waits = "stop" in options
    types = (OrderType.STOP, OrderType.STOP_LIMIT) if waits else (OrderType.MARKET, OrderType.LIMIT)
    default = TimeInForce.IOC if price is None and not waits else TimeInForce.GTC
    named = [TimeInForce[word.upper()] for word in plain if word in ("gtc", "ioc", "fok")]
    if "gtd" in options:
        named = [TimeInForce.GTD]
    mode = options.get("stp")
    return PlaceOrder(
        account=account,
        market=options.get("on", DEFAULT_MARKET),
        side=side,
        type=types[price is not None],
        time_in_force=named[0] if named else default,
        price_ticks=price or 0,
        quantity_lots=int(lots),
        expires_at_us=int(options.get("gtd", 0)),
        post_only="post" in plain,
        self_trade_prevention=None if mode is None else SelfTradePrevention[mode.upper()],
        client_order_id=options.get("id", ""),
        stop_price_ticks=int(options.get("stop", 0)),
        display_lots=int(options.get("show", 0)),
        quote_value=options.get("spend", ""),
    )


def _oco(arguments: list[str]) -> PlaceOco:
    account, *legs = arguments
    middle = legs.index("/")
    limit, stop = (_leg(account, leg) for leg in (legs[:middle], legs[middle + 1 :]))
    return PlaceOco(account, limit, stop)


def _leg(account: str, words: list[str]) -> PlaceOrder:
    side, *terms = words
    (order,) = read([side, account, *terms])
    assert isinstance(order, PlaceOrder)
    return order


def _replace(arguments: list[str]) -> ReplaceOrder:
    account, order, *words = arguments
    return ReplaceOrder(account, _order_id(order), _leg(account, words))


def _price(plain: list[str]) -> int | None:
    return int(plain[plain.index("@") + 1]) if "@" in plain else None


def _amend(plain: list[str], options: dict[str, str]) -> AmendOrder:
    account, order, *terms = plain
    lots = int(terms[0]) if terms and terms[0] != "@" else None
    stop = int(options["stop"]) if "stop" in options else None
    return AmendOrder(account, _order_id(order), _price(terms), lots, stop)


def _cancel(plain: list[str], options: dict[str, str]) -> CancelOrder:
    order_id = _order_id(plain[1]) if len(plain) > 1 else 0
    return CancelOrder(plain[0], order_id, options.get("id", ""))


def _cancel_all(plain: list[str], options: dict[str, str]) -> CancelAll:
    account, *side = plain
    return CancelAll(account, options.get("on"), Side[side[0].upper()] if side else None)


def _rules(plain: list[str], options: dict[str, str]) -> MarketRules:
    name, *words = plain
    whole: dict[str, object] = {"tick_size_e18": 10**18, "lot_size_e18": 10**18, "settles": True}
    settles = whole if "settles" in words else {}
    return rules(name, **settles, signed_orders="signed" in words, **_limits(options))


def _operate(plain: list[str], options: dict[str, str]) -> ChangeAccount:
    named = {word: int(options.get(word, 0)) for word in ACCOUNT_LIMITS}
    limits = AccountLimits(options.get("on", DEFAULT_MARKET), *named.values())
    fees = _limits({word: fee for word, fee in options.items() if word.endswith("fee")})
    return ChangeAccount(
        plain[0],
        {"freeze": True, "thaw": False}.get(plain[-1]),
        fees.get(FEES[0]),
        fees.get(FEES[1]),
        (limits,) if options.keys() & named.keys() else (),
    )


def _key(plain: list[str], options: dict[str, str]) -> CreateKey:
    account, key_id, *scopes = plain
    kind = KeyKind.ED25519 if "signs" in scopes else KeyKind.BEARER
    scopes = [scope for scope in scopes if scope != "signs"]
    secret = key_id.encode().ljust(32)
    total = sum(Scope[scope.upper()] for scope in scopes)
    return CreateKey(account, key_id, kind, secret, total, options.get("replaces", ""))


def _transfer(kind: type[Deposit | Withdraw], plain: list[str]) -> Deposit | Withdraw:
    account, amount, asset, transfer_id = plain
    return kind(account, asset, str(int(Decimal(amount) * 10**36)), transfer_id)


def _change(plain: list[str], options: dict[str, str]) -> ChangeMarket:
    market = plain[0]
    status = options.get("status")
    changes = dict.fromkeys(
        (*LIMITS.values(), "self_trade_prevention", *FEES, "price_band_ppm"),
    ) | _limits(options)
    return ChangeMarket(
        market=market,
        status=None if status is None else MarketStatus[status.upper()],
        cancel_orders="cancel-orders" in plain,
        signed_orders={"signed": True, "unsigned": False}.get(plain[-1]),
        **changes,
    )


def _limits(options: dict[str, str]) -> dict[str, object]:
    limits: dict[str, object] = {
        field: int(options[word]) for word, field in LIMITS.items() if word in options
    }
    if "stp" in options:
        limits["self_trade_prevention"] = SelfTradePrevention[options["stp"].upper()]
    if "band" in options:
        limits["price_band_ppm"] = int(Decimal(options["band"]) * 10**4)
    for word, field in zip(("maker_fee", "taker_fee"), FEES, strict=True):
        if word in options:
            limits[field] = int(Decimal(options[word]) * 10**6)
    return limits


def _order_id(word: str) -> int:
    return int(word.removeprefix("#"))


# Writing ----------------------------------------------------------------------------------


def write(event: Event) -> str:
    """Return one event as one line."""
    match event:
        case TimeAdvanced():
            return f"time {event.time_us}"
        case CommandRefused():
            return f"refused {event.code} {event.field}".rstrip()
        case TradeExecuted():
            sides = f"maker=#{event.maker_order_id} taker=#{event.taker_order_id}"
            fees = f" fees {_amount(event.maker_fee)} {_amount(event.taker_fee)}"
            told = "" if event.maker_fee == event.taker_fee == "0" else fees
            return f"trade {sides} {event.quantity_lots} @ {event.price_ticks}{told}"
        case OrderAmended():
            place = "kept" if event.kept_place else "lost"
            return f"amended #{event.order.order_id} to {_terms(event.order)}, {place} its place"
        case AllCanceled():
            return f"canceled {event.count} in all"
        case (
            AccountCreated()
            | MarketChanged()
            | TransferMade()
            | BalanceChanged()
            | CancelAfterSet()
            | CancelAfterElapsed()
            | AccountChanged()
            | KeyChanged()
        ):
            return _write_account_event(event)
        case _:
            return _write_order_event(event)


def _write_account_event(
    event: AccountCreated
    | MarketChanged
    | TransferMade
    | BalanceChanged
    | CancelAfterSet
    | CancelAfterElapsed
    | AccountChanged
    | KeyChanged,
) -> str:
    match event:
        case AccountChanged():
            return f"{event.account} {'frozen' if event.settings.frozen else 'not frozen'}"
        case KeyChanged():
            revoked_at = event.key.revoked_at_us
            standing = f"revoked at {revoked_at}" if revoked_at else "good"
            return f"key {event.key.key_id} of {event.account}: {standing}"
        case AccountCreated():
            return f"account {event.account}"
        case MarketChanged():
            return f"market {event.rules.market} {event.status.name.lower()}"
        case TransferMade():
            verb = "deposited" if event.is_deposit else "withdrew"
            return f"{verb} {_amount(event.amount)} {event.asset} in {event.first_sequence}"
        case BalanceChanged():
            amounts = f"{_amount(event.free)} free, {_amount(event.held)} held"
            return f"{event.account} {event.asset}: {amounts}"
        case CancelAfterSet():
            return f"cancel-after {event.account} at {event.cancel_at_us}"
        case CancelAfterElapsed():
            return f"cancel-after {event.account} ended {event.count}"


def _terms(order: Order) -> str:
    price = f" @ {order.price_ticks}" if order.price_ticks else ""
    waits = order.status is OrderStatus.PENDING
    return f"{order.quantity_lots}{price}" + (f" stop={order.stop_price_ticks}" if waits else "")


def _amount(units: str) -> str:
    with localcontext(prec=100):
        return f"{Decimal(units).scaleb(-36).normalize():f}"


def _write_order_event(
    event: OrderAccepted
    | OrderRested
    | OrderReduced
    | OrderReplenished
    | StopPlaced
    | StopElected
    | OrderEnded,
) -> str:
    order = event.order
    filled = f"{order.filled_lots}/{order.quantity_lots}"
    match event:
        case OrderAccepted():
            return f"accepted #{order.order_id}"
        case OrderRested():
            shown = f", shows {order.shown_lots}" if order.display_lots else ""
            return f"rested #{order.order_id} {order.quantity_lots - order.filled_lots}{shown}"
        case OrderReplenished():
            return f"replenished #{order.order_id} shows {order.shown_lots}"
        case StopPlaced():
            return f"waits #{order.order_id} {_terms(order)}"
        case StopElected():
            return f"elected #{order.order_id}"
        case OrderReduced():
            left = f"value {order.quote_value}" if order.quote_value else order.quantity_lots
            return f"reduced #{order.order_id} to {left}"
        case OrderEnded():
            status = f"{order.status.name.lower()} {filled}"
            return f"ended #{order.order_id} {status}: {event.reason.name.lower()}"


def ladder(exchange: Exchange, market: str) -> list[str]:
    """Return the resting orders of `market`, a line for each price, worst sell first."""
    book = exchange.markets[market].book
    lines = [*reversed(_levels("sell", book.sells)), *_levels("buy", book.buys)]
    return lines or ["empty"]


def waiting(exchange: Exchange, market: str) -> list[str]:
    """Return the stops of `market`, oldest first."""
    stops = exchange.markets[market].stops.by_age()
    lines = [f"{o.side.name.lower()} #{o.order_id} {_terms(o.view())}" for o in stops]
    return lines or ["none"]


def _levels(side: str, orders: BookSide) -> list[str]:
    levels: dict[int, list[str]] = {}
    for order in orders.orders():
        queue = levels.setdefault(order.price_ticks, [])
        left = order.quantity_lots - order.filled_lots
        hidden = left - order.shown_lots
        shown = f"{order.shown_lots} ({hidden})" if order.display_lots else str(left)
        queue.append(f"#{order.order_id} {shown}")
    return [f"{side} @ {price}: {', '.join(queue)}" for price, queue in levels.items()]
