"""What a trader types in a scenario file, as commands; the language is told in `scenario.py`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from raft_exchange.matching.messages import (
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
    Scope,
    SelfTradePrevention,
    Side,
    TimeInForce,
    Withdraw,
)
from tests.support.workload import rules

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
