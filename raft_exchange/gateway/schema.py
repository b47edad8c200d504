"""Bodies -> commands: the one place where decimals become ticks and lots.

What only the exchange can judge (limits, status, most combinations) is left to it; what could not
even be written into a command is refused here.
"""

from __future__ import annotations

from typing import Final

from raft_exchange.gateway.decimals import (
    E18,
    NotANumber,
    format_e36,
    parse_steps_down,
    parse_steps_up,
)
from raft_exchange.gateway.errors import ErrorCode, Problem
from raft_exchange.gateway.fields import (
    NUMBER_FORM,
    Json,
    bad_field,
    choice,
    count_max,
    fee_e8,
    flag,
    label,
    name,
    notional_max,
    out_of_range,
    required_choice,
    steps,
    time_us,
)
from raft_exchange.gateway.rendering import MILLION, format_lots, format_ticks
from raft_exchange.matching.limits import (
    CANCEL_AFTER_US_MAX,
    CLIENT_ORDER_ID_BYTES_MAX,
    INT64_MAX,
    PRICE_BAND_PPM_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    SIZE_E18_MAX,
)
from raft_exchange.matching.messages import (
    STOP_TYPES,
    AmendOrder,
    CancelAfter,
    ChangeMarket,
    MarketRules,
    MarketStatus,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

SIDES: Final = {side.name.lower(): side for side in Side}
ORDER_TYPES: Final = {type_.name.lower(): type_ for type_ in OrderType}
TIMES_IN_FORCE: Final = {time.name.lower(): time for time in TimeInForce}
SELF_TRADE_PREVENTIONS: Final = {mode.name.lower(): mode for mode in SelfTradePrevention}
MARKET_STATUSES: Final = {status.name.lower(): status for status in MarketStatus}

ORDER_FIELDS: Final = (
    *("market", "side", "type", "quantity", "price", "time_in_force", "expires_at", "post_only"),
    *("self_trade_prevention", "client_order_id", "stop_price", "display_quantity"),
    "quote_quantity",
)
OCO_FIELDS: Final = ("limit", "stop")
AMEND_FIELDS: Final = ("price", "quantity", "stop_price")
CANCEL_AFTER_FIELDS: Final = ("seconds",)
LIMIT_FIELDS: Final = (
    *("min_price", "max_price", "min_quantity", "max_quantity", "min_notional"),
    *("self_trade_prevention", "price_band", "maker_fee", "taker_fee"),
    *("max_open_orders", "max_notional"),
)
MARKET_FIELDS: Final = (
    *("market", "base", "quote", "tick_size", "lot_size", *LIMIT_FIELDS),
    "accounts",
)
MARKET_CHANGE_FIELDS: Final = ("status", *LIMIT_FIELDS, "cancel_orders")
SETTLES: Final = {"off": False, "on": True}


def price_range(rules: MarketRules) -> str:
    """Return the prices a market takes, in words."""
    lowest, highest, step = (
        format_ticks(ticks, rules.tick_size_e18)
        for ticks in (rules.price_ticks_min, rules.price_ticks_max, 1)
    )
    return f"{lowest} to {highest} in steps of {step}"


def quantity_range(rules: MarketRules) -> str:
    """Return the quantities a market takes, in words."""
    lowest, highest, step = (
        format_lots(lots, rules.lot_size_e18)
        for lots in (rules.quantity_lots_min, rules.quantity_lots_max, 1)
    )
    return f"{lowest} to {highest} in steps of {step}"


def _price_ticks(body: Json, rules: MarketRules, field: str = "price") -> int | None:
    ticks = steps(body, field, rules.tick_size_e18, ErrorCode.OFF_TICK)
    if ticks is not None and not 0 < ticks <= PRICE_TICKS_MAX:
        raise out_of_range(body, field, price_range(rules))
    return ticks


def _quantity_lots(body: Json, rules: MarketRules, field: str = "quantity") -> int | None:
    lots = steps(body, field, rules.lot_size_e18, ErrorCode.OFF_LOT)
    if lots is not None and not 0 < lots <= QUANTITY_LOTS_MAX:
        raise out_of_range(body, field, quantity_range(rules))
    return lots


def _quote_value(body: Json, rules: MarketRules) -> str:
    """Return the most to spend, in whole units of tick x lot, rounded down; "" for none."""
    sent = body.get("quote_quantity")
    if sent is None:
        return ""
    step_e36 = rules.tick_size_e18 * rules.lot_size_e18
    try:
        value = parse_steps_down(sent if isinstance(sent, str) else "", step_e36)
    except NotANumber:
        raise bad_field(body, "quote_quantity", NUMBER_FORM) from None
    if not 0 < value <= PRICE_TICKS_MAX * QUANTITY_LOTS_MAX:
        allowed = f"at least {format_e36(step_e36)} {rules.quote}"
        raise out_of_range(body, "quote_quantity", allowed)
    return str(value)


def _fits_type(body: Json, field: str, value: object, *, wanted: bool, allowed: str) -> None:
    """Refuse a field that its order type needs and lacks, or has and cannot have."""
    if wanted and value is None:
        raise bad_field(body, field, NUMBER_FORM)
    if not wanted and value is not None:
        raise Problem(
            ErrorCode.INVALID_COMBINATION,
            f"an order of this type has no {field}",
            field=field,
            value=body.get(field),
            allowed=allowed,
        )


def place_order(body: Json, rules: MarketRules, *, account: str) -> PlaceOrder:
    """Return the command for an order's body; the market's rules give the grid.

    Raises:
        Problem: `bad_field`, `off_tick`, `off_lot`, `out_of_range` or `invalid_combination`.
    """
    side = required_choice(body, "side", SIDES)
    type_ = required_choice(body, "type", ORDER_TYPES)
    quantity_lots, quote_value = _quantity_lots(body, rules), _quote_value(body, rules)
    if quantity_lots is None and not quote_value:
        raise bad_field(body, "quantity", NUMBER_FORM)
    price_ticks = _price_ticks(body, rules)
    priced = type_ in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    allowed = "no price, or type limit or stop_limit"
    _fits_type(body, "price", price_ticks, wanted=priced, allowed=allowed)
    stop_price_ticks = _price_ticks(body, rules, "stop_price")
    waits = type_ in STOP_TYPES
    allowed = "no stop_price, or type stop or stop_limit"
    _fits_type(body, "stop_price", stop_price_ticks, wanted=waits, allowed=allowed)
    time_in_force = choice(body, "time_in_force", TIMES_IN_FORCE)
    if time_in_force is None:
        time_in_force = TimeInForce.IOC if type_ is OrderType.MARKET else TimeInForce.GTC
    return PlaceOrder(
        account,
        rules.market,
        side,
        type_,
        time_in_force,
        price_ticks or 0,
        quantity_lots or 0,
        time_us(body, "expires_at"),
        flag(body, "post_only"),
        choice(body, "self_trade_prevention", SELF_TRADE_PREVENTIONS),
        label(body, "client_order_id", CLIENT_ORDER_ID_BYTES_MAX),
        stop_price_ticks or 0,
        _quantity_lots(body, rules, "display_quantity") or 0,
        quote_value,
    )


def amend_order(body: Json, rules: MarketRules, *, account: str, order_id: int) -> AmendOrder:
    """Return the command for an amend's body.

    Raises:
        Problem: as `place_order`; `bad_field` where nothing is to change.
    """
    price_ticks = _price_ticks(body, rules)
    quantity_lots = _quantity_lots(body, rules)
    stop_price_ticks = _price_ticks(body, rules, "stop_price")
    if price_ticks is None and quantity_lots is None and stop_price_ticks is None:
        raise Problem(
            ErrorCode.BAD_FIELD,
            "nothing to change was given",
            field="price",
            allowed=list(AMEND_FIELDS),
        )
    return AmendOrder(account, order_id, price_ticks, quantity_lots, stop_price_ticks)


def cancel_after(body: Json, *, account: str) -> CancelAfter:
    """Return the command for the dead-man switch.

    Raises:
        Problem: `bad_field` or `out_of_range`.
    """
    after_us = steps(body, "seconds", E18 // MILLION, ErrorCode.OUT_OF_RANGE)
    if after_us is None:
        raise bad_field(body, "seconds", NUMBER_FORM)
    if not 0 <= after_us <= CANCEL_AFTER_US_MAX:
        raise out_of_range(body, "seconds", f"0 (disarm) to {CANCEL_AFTER_US_MAX // MILLION}")
    return CancelAfter(account, after_us)


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


def market_rules(body: Json, *, settles: bool) -> MarketRules:
    """Return the rules of a new market; limits that are absent are the widest there are.

    `settles` is what holds where `accounts` is absent.

    Raises:
        Problem: `bad_field`, `off_tick`, `off_lot` or `out_of_range`.
    """
    tick, lot = _size_e18(body, "tick_size"), _size_e18(body, "lot_size")
    mode = choice(body, "self_trade_prevention", SELF_TRADE_PREVENTIONS)
    accounts = choice(body, "accounts", SETTLES)
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
    )
