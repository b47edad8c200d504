"""Bodies -> orders: the one place where decimals become ticks and lots.

What only the exchange can judge (limits, status, most combinations) is left to it; what could not
even be written into a command is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from raft_exchange.decoding.decimals import (
    E18,
    MILLION,
    NotANumber,
    format_e36,
    format_lots,
    format_ticks,
    parse_steps_down,
)
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import (
    NAME_FORM,
    NUMBER_FORM,
    Json,
    bad_field,
    choice,
    flag,
    known_fields,
    label,
    out_of_range,
    required_choice,
    steps,
    time_us,
)
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import (
    CANCEL_AFTER_US_MAX,
    CLIENT_ORDER_ID_BYTES_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
)
from raft_exchange.matching.messages import (
    STOP_TYPES,
    AmendOrder,
    CancelAfter,
    MarketRules,
    OrderType,
    PlaceOco,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

SIDES: Final = {side.name.lower(): side for side in Side}
ORDER_TYPES: Final = {type_.name.lower(): type_ for type_ in OrderType}
TIMES_IN_FORCE: Final = {time.name.lower(): time for time in TimeInForce}
SELF_TRADE_PREVENTIONS: Final = {mode.name.lower(): mode for mode in SelfTradePrevention}

ORDER_FIELDS: Final = (
    *("market", "side", "type", "quantity", "price", "time_in_force", "expires_at", "post_only"),
    *("self_trade_prevention", "client_order_id", "stop_price", "display_quantity"),
    "quote_quantity",
)
OCO_FIELDS: Final = ("limit", "stop")
BATCH_FIELDS: Final = ("orders",)
BATCH_ORDERS_MAX: Final = 500
LEG_FORM: Final = "an object: an order as for POST /v1/orders"
AMEND_FIELDS: Final = ("price", "quantity", "stop_price")
CANCEL_AFTER_FIELDS: Final = ("seconds",)


RulesOf = Callable[[str], MarketRules]
"""From the name of a market to its rules; raises `Problem` where there is none."""


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


def new_order(body: Json, rules_of: RulesOf, *, account: str) -> PlaceOrder:
    """Return the command for the body of a new order, in the market that it names.

    Raises:
        Problem: as `place_order`; `unknown_market`.
    """
    known_fields(body, ORDER_FIELDS)
    return place_order(body, rules_of(market_name(body.get("market"))), account=account)


def market_name(value: object) -> str:
    """Return the name of a market.

    Raises:
        Problem: `bad_field`.
    """
    if type(value) is not str or not is_name(value):
        detail = "market is missing" if value is None else "market is no name"
        raise Problem(ErrorCode.BAD_FIELD, detail, field="market", value=value, allowed=NAME_FORM)
    return value


def batch_items(body: Json) -> list[object]:
    """Return the orders of a batch, not decoded yet.

    Raises:
        Problem: `bad_field`.
    """
    known_fields(body, BATCH_FIELDS)
    items = body.get("orders")
    if not isinstance(items, list) or not 0 < len(items) <= BATCH_ORDERS_MAX:
        allowed = f"an array of 1 to {BATCH_ORDERS_MAX} orders"
        detail = "orders is missing or no array of allowed length"
        raise Problem(ErrorCode.BAD_FIELD, detail, field="orders", allowed=allowed)
    return items


def batch_order(item: object, rules_of: RulesOf, *, account: str) -> PlaceOrder:
    """Return the command for one order of a batch.

    Raises:
        Problem: as `new_order`.
    """
    if not isinstance(item, dict):
        detail = "an order must be an object"
        raise Problem(ErrorCode.BAD_FIELD, detail, field="orders", value=item)
    return new_order(item, rules_of, account=account)


def oco_legs(body: Json) -> dict[str, Json]:
    """Return the two legs of an OCO by their names, not decoded yet.

    Raises:
        Problem: `bad_field`.
    """
    known_fields(body, OCO_FIELDS)
    legs: dict[str, Json] = {}
    for leg_name in OCO_FIELDS:
        leg = body.get(leg_name)
        if not isinstance(leg, dict):
            raise bad_field(body, leg_name, LEG_FORM)
        legs[leg_name] = leg
    return legs


def oco(legs: Mapping[str, Json], rules_of: RulesOf, *, account: str) -> PlaceOco:
    """Return the command for the legs of an OCO; problems name the leg before the field.

    Raises:
        Problem: as `new_order`.
    """
    commands = []
    for leg_name in OCO_FIELDS:
        try:
            commands.append(new_order(legs[leg_name], rules_of, account=account))
        except Problem as problem:
            problem.field = f"{leg_name}.{problem.field}"
            raise
    return PlaceOco(account, *commands)


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
