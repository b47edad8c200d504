"""Bodies -> commands: the one place where decimals become ticks and lots.

What only the exchange can judge (limits, status, most combinations) is left to it; what could not
even be written into a command is refused here.
"""

from __future__ import annotations

from typing import Final

from raft_exchange.gateway.decimals import NotANumber, parse_steps_up
from raft_exchange.gateway.errors import ErrorCode, Problem
from raft_exchange.gateway.fields import (
    NUMBER_FORM,
    Json,
    bad_field,
    choice,
    flag,
    label,
    name,
    out_of_range,
    required_choice,
    steps,
    time_us,
)
from raft_exchange.gateway.rendering import format_lots, format_ticks
from raft_exchange.matching.limits import (
    CLIENT_ORDER_ID_BYTES_MAX,
    INT64_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    SIZE_E18_MAX,
)
from raft_exchange.matching.messages import (
    AmendOrder,
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
    *("self_trade_prevention", "client_order_id"),
)
AMEND_FIELDS: Final = ("price", "quantity")
LIMIT_FIELDS: Final = (
    *("min_price", "max_price", "min_quantity", "max_quantity", "min_notional"),
    "self_trade_prevention",
)
MARKET_FIELDS: Final = ("market", "base", "quote", "tick_size", "lot_size", *LIMIT_FIELDS)
MARKET_CHANGE_FIELDS: Final = ("status", *LIMIT_FIELDS)


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


def _price_ticks(body: Json, rules: MarketRules) -> int | None:
    ticks = steps(body, "price", rules.tick_size_e18, ErrorCode.OFF_TICK)
    if ticks is not None and not 0 < ticks <= PRICE_TICKS_MAX:
        raise out_of_range(body, "price", price_range(rules))
    return ticks


def _quantity_lots(body: Json, rules: MarketRules) -> int | None:
    lots = steps(body, "quantity", rules.lot_size_e18, ErrorCode.OFF_LOT)
    if lots is not None and not 0 < lots <= QUANTITY_LOTS_MAX:
        raise out_of_range(body, "quantity", quantity_range(rules))
    return lots


def place_order(body: Json, rules: MarketRules, *, account: str) -> PlaceOrder:
    """Return the command for an order's body; the market's rules give the grid.

    Raises:
        Problem: `bad_field`, `off_tick`, `off_lot`, `out_of_range` or `invalid_combination`.
    """
    side = required_choice(body, "side", SIDES)
    type_ = required_choice(body, "type", ORDER_TYPES)
    quantity_lots = _quantity_lots(body, rules)
    if quantity_lots is None:
        raise bad_field(body, "quantity", NUMBER_FORM)
    price_ticks = _price_ticks(body, rules)
    is_limit = type_ is OrderType.LIMIT
    if is_limit and price_ticks is None:
        raise bad_field(body, "price", NUMBER_FORM)
    if not is_limit and price_ticks is not None:
        raise Problem(
            ErrorCode.INVALID_COMBINATION,
            "a market order has no price",
            field="price",
            value=body.get("price"),
            allowed="no price, or type limit",
        )
    time_in_force = choice(body, "time_in_force", TIMES_IN_FORCE)
    if time_in_force is None:
        time_in_force = TimeInForce.GTC if is_limit else TimeInForce.IOC
    return PlaceOrder(
        account,
        rules.market,
        side,
        type_,
        time_in_force,
        price_ticks or 0,
        quantity_lots,
        time_us(body, "expires_at"),
        flag(body, "post_only"),
        choice(body, "self_trade_prevention", SELF_TRADE_PREVENTIONS),
        label(body, "client_order_id", CLIENT_ORDER_ID_BYTES_MAX),
    )


def amend_order(body: Json, rules: MarketRules, *, account: str, order_id: int) -> AmendOrder:
    """Return the command for an amend's body.

    Raises:
        Problem: as `place_order`; `bad_field` where nothing is to change.
    """
    price_ticks = _price_ticks(body, rules)
    quantity_lots = _quantity_lots(body, rules)
    if price_ticks is None and quantity_lots is None:
        raise Problem(
            ErrorCode.BAD_FIELD,
            "nothing to change was given",
            field="price",
            allowed=list(AMEND_FIELDS),
        )
    return AmendOrder(account, order_id, price_ticks, quantity_lots)


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


def market_rules(body: Json) -> MarketRules:
    """Return the rules of a new market; limits that are absent are the widest there are.

    Raises:
        Problem: `bad_field`, `off_tick`, `off_lot` or `out_of_range`.
    """
    tick, lot = _size_e18(body, "tick_size"), _size_e18(body, "lot_size")
    mode = choice(body, "self_trade_prevention", SELF_TRADE_PREVENTIONS)
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
    )
