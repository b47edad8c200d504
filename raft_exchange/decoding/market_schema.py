"""Bodies -> the rules of markets."""

from __future__ import annotations

from typing import Final

from raft_exchange.decoding.decimals import (
    E18,
    MILLION,
    NotANumber,
    format_ticks,
    parse_steps_up,
)
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import (
    NUMBER_FORM,
    Json,
    bad_field,
    choice,
    count_max,
    fee_e8,
    flag,
    name,
    notional_max,
    out_of_range,
    steps,
)
from raft_exchange.decoding.order_schema import SELF_TRADE_PREVENTIONS
from raft_exchange.matching.limits import (
    INT64_MAX,
    PRICE_BAND_PPM_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    SIZE_E18_MAX,
)
from raft_exchange.matching.messages import (
    ChangeMarket,
    MarketRules,
    MarketStatus,
    SelfTradePrevention,
)

MARKET_STATUSES: Final = {status.name.lower(): status for status in MarketStatus}
LIMIT_FIELDS: Final = (
    *("min_price", "max_price", "min_quantity", "max_quantity", "min_notional"),
    *("self_trade_prevention", "price_band", "maker_fee", "taker_fee"),
    *("max_open_orders", "max_notional", "signed_orders"),
)
MARKET_FIELDS: Final = (
    *("market", "base", "quote", "tick_size", "lot_size", *LIMIT_FIELDS),
    "accounts",
)
MARKET_CHANGE_FIELDS: Final = ("status", *LIMIT_FIELDS, "cancel_orders")
SWITCH: Final = {"off": False, "on": True}


def _price_band_ppm(body: Json) -> int | None:
    ppm = steps(body, "price_band", E18 // MILLION, ErrorCode.OUT_OF_RANGE)
    if ppm is not None and not 0 <= ppm <= PRICE_BAND_PPM_MAX:
        most = PRICE_BAND_PPM_MAX // MILLION
        raise out_of_range(body, "price_band", f"0 (none) to {most} times the last trade")
    return ppm


def _size_e18(body: Json, field: str) -> int:
    size_e18 = steps(body, field, 1, ErrorCode.OUT_OF_RANGE)
    if size_e18 is None:
        raise bad_field(body, field, NUMBER_FORM)
    if not 0 < size_e18 <= SIZE_E18_MAX:
        raise out_of_range(
            body, field, f"above 0, up to {format_ticks(SIZE_E18_MAX, 1)}, in 18 decimal places"
        )
    return size_e18


def _bounded_steps(body: Json, field: str, step_e18: int, *, steps_max: int) -> int | None:
    off_grid = ErrorCode.OFF_TICK if field.endswith("price") else ErrorCode.OFF_LOT
    found = steps(body, field, step_e18, off_grid)
    if found is not None and not 0 < found <= steps_max:
        highest = format_ticks(steps_max, step_e18)
        raise out_of_range(body, field, f"{format_ticks(1, step_e18)} to {highest}")
    return found


def _notional_min(body: Json, tick_size_e18: int, lot_size_e18: int) -> int | None:
    value = body.get("min_notional")
    if value is None:
        return None
    try:
        notional = parse_steps_up(
            value if isinstance(value, str) else "", tick_size_e18 * lot_size_e18
        )
    except NotANumber:
        raise bad_field(body, "min_notional", NUMBER_FORM) from None
    if not 0 <= notional <= INT64_MAX:
        raise out_of_range(body, "min_notional", "0 or more, below 2^63 steps of tick x lot")
    return notional


def market_rules(body: Json, *, settles: bool, signed_orders: bool = False) -> MarketRules:
    """Return the rules of a new market; limits that are absent are the widest there are.

    `settles` and `signed_orders` are what holds where the body does not say.

    Raises:
        Problem: `bad_field`, `off_tick`, `off_lot` or `out_of_range`.
    """
    tick, lot = _size_e18(body, "tick_size"), _size_e18(body, "lot_size")
    mode = choice(body, "self_trade_prevention", SELF_TRADE_PREVENTIONS)
    accounts = choice(body, "accounts", SWITCH)
    signed = choice(body, "signed_orders", SWITCH)
    return MarketRules(
        name(body, "market"),
        name(body, "base"),
        name(body, "quote"),
        tick,
        lot,
        _bounded_steps(body, "min_price", tick, steps_max=PRICE_TICKS_MAX) or 1,
        _bounded_steps(body, "max_price", tick, steps_max=PRICE_TICKS_MAX) or PRICE_TICKS_MAX,
        _bounded_steps(body, "min_quantity", lot, steps_max=QUANTITY_LOTS_MAX) or 1,
        _bounded_steps(body, "max_quantity", lot, steps_max=QUANTITY_LOTS_MAX) or QUANTITY_LOTS_MAX,
        _notional_min(body, tick, lot) or 0,
        SelfTradePrevention.EXPIRE_TAKER if mode is None else mode,
        settles=settles if accounts is None else accounts,
        maker_fee_e8=fee_e8(body, "maker_fee") or 0,
        taker_fee_e8=fee_e8(body, "taker_fee") or 0,
        price_band_ppm=_price_band_ppm(body) or 0,
        open_orders_max=count_max(body, "max_open_orders") or 0,
        notional_max=notional_max(body, "max_notional", tick * lot) or 0,
        signed_orders=signed_orders if signed is None else signed,
    )


def change_market(body: Json, rules: MarketRules) -> ChangeMarket:
    """Return the command that changes a market; what is absent stays.

    Raises:
        Problem: as `market_rules`; `bad_field` where nothing is to change.
    """
    if all(value is None for value in body.values()):
        raise Problem(
            ErrorCode.BAD_FIELD,
            "nothing to change was given",
            field="status",
            allowed=list(MARKET_CHANGE_FIELDS),
        )
    tick, lot = rules.tick_size_e18, rules.lot_size_e18
    return ChangeMarket(
        rules.market,
        choice(body, "status", MARKET_STATUSES),
        _bounded_steps(body, "min_price", tick, steps_max=PRICE_TICKS_MAX),
        _bounded_steps(body, "max_price", tick, steps_max=PRICE_TICKS_MAX),
        _bounded_steps(body, "min_quantity", lot, steps_max=QUANTITY_LOTS_MAX),
        _bounded_steps(body, "max_quantity", lot, steps_max=QUANTITY_LOTS_MAX),
        _notional_min(body, tick, lot),
        choice(body, "self_trade_prevention", SELF_TRADE_PREVENTIONS),
        maker_fee_e8=fee_e8(body, "maker_fee"),
        taker_fee_e8=fee_e8(body, "taker_fee"),
        price_band_ppm=_price_band_ppm(body),
        open_orders_max=count_max(body, "max_open_orders"),
        notional_max=notional_max(body, "max_notional", tick * lot),
        cancel_orders=flag(body, "cancel_orders"),
        signed_orders=choice(body, "signed_orders", SWITCH),
    )
