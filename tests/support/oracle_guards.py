"""What the dumb exchange asks of a command before it looks at its orders; see `oracle`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from raft_exchange.matching import limits
from raft_exchange.matching.messages import (
    CommandRefused,
    MarketRules,
    Order,
    OrderStatus,
    OrderType,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    Side,
    TimeInForce,
)

NEVER_RESTS = (TimeInForce.IOC, TimeInForce.FOK)
STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)


STATUS = {
    "FILLED": OrderStatus.FILLED,
    "CANCELED_BY_OWNER": OrderStatus.CANCELED,
    "REMAINDER_EXPIRED": OrderStatus.EXPIRED,
    "TIME_EXPIRED": OrderStatus.EXPIRED,
    "SELF_TRADE": OrderStatus.CANCELED,
    "AMENDED_DOWN": OrderStatus.CANCELED,
    "REPLACED": OrderStatus.CANCELED,
    "OTHER_LEG": OrderStatus.CANCELED,
    "CANCEL_AFTER": OrderStatus.CANCELED,
    "UNFUNDED": OrderStatus.REJECTED,
    "CANCELED_BY_OPERATOR": OrderStatus.CANCELED,
}


class Refused(Exception):
    def __init__(self, code: str, field: str) -> None:
        super().__init__(code, field)
        self.code, self.field = code, field

    def event(self) -> CommandRefused:
        return CommandRefused(RejectCode(self.code), self.field)


def rest(order: Order) -> int:
    return order.quantity_lots - order.filled_lots


def waits(order: Order) -> bool:
    return order.status == OrderStatus.PENDING


def require(claim: bool, code: str, field: str) -> None:
    if not claim:
        raise Refused(code, field)


def require_in(low: int, value: int, high: int, field: str) -> None:
    require(low <= value <= high, "out_of_range", field)


def either(value: int | None, default: int) -> int:
    return default if value is None else value


def is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) is not None and len(text) <= 32


def require_rules(rules: MarketRules) -> None:
    for field in ("market", "base", "quote"):
        require(is_name(getattr(rules, field)), "bad_field", field)
    require(rules.base != rules.quote, "invalid_combination", "quote")
    for field in ("tick_size_e18", "lot_size_e18"):
        require_in(1, getattr(rules, field), limits.SIZE_E18_MAX, field)
    for noun, largest in (("price_ticks", 10**15), ("quantity_lots", 10**18)):
        for field in (noun + "_min", noun + "_max"):
            require_in(1, getattr(rules, field), largest, field)
    require_in(0, rules.notional_min, 2**63 - 1, "notional_min")
    for field in ("maker_fee_e8", "taker_fee_e8"):
        require_in(0, getattr(rules, field), 10**7, field)
    require_in(0, rules.price_band_ppm, 10_000_000, "price_band_ppm")
    for field in ("open_orders_max", "notional_max"):
        require_in(0, getattr(rules, field), 2**63 - 1, field)
    for noun in ("price_ticks", "quantity_lots"):
        ordered = getattr(rules, noun + "_min") <= getattr(rules, noun + "_max")
        require(ordered, "invalid_combination", noun + "_max")


def require_sane(c: PlaceOrder, time_us: int) -> None:
    printable = re.fullmatch(r"[ -~]{0,64}", c.client_order_id) is not None
    require(printable, "bad_field", "client_order_id")
    if c.quote_value == "":
        require_in(1, c.quantity_lots, limits.QUANTITY_LOTS_MAX, "quantity_lots")
    else:
        require(c.type == OrderType.MARKET, "invalid_combination", "quote_value")
        require(c.quantity_lots == 0, "invalid_combination", "quantity_lots")
        whole = re.fullmatch("[1-9][0-9]{0,33}", c.quote_value) is not None
        require(whole and int(c.quote_value) <= 10**33, "out_of_range", "quote_value")
    _require_type(c)
    if c.type in STOPS:
        require_in(1, c.stop_price_ticks, limits.PRICE_TICKS_MAX, "stop_price_ticks")
    else:
        require(c.stop_price_ticks == 0, "invalid_combination", "stop_price_ticks")
    if c.display_lots != 0:
        rests = c.type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        good = rests and c.time_in_force not in NEVER_RESTS
        require(good, "invalid_combination", "display_lots")
        require_in(1, c.display_lots, c.quantity_lots, "display_lots")
        tranches = -(-c.quantity_lots // c.display_lots)
        require_in(1, tranches, limits.ICEBERG_TRANCHES_MAX, "display_lots")
    if c.time_in_force == TimeInForce.GTD:
        require(c.expires_at_us != 0, "invalid_combination", "expires_at_us")
        require_in(time_us + 1, c.expires_at_us, limits.TIME_US_MAX, "expires_at_us")
    else:
        require(c.expires_at_us == 0, "invalid_combination", "expires_at_us")


def _require_type(c: PlaceOrder) -> None:
    immediate = c.time_in_force in NEVER_RESTS
    if c.type in (OrderType.MARKET, OrderType.STOP):
        require(c.price_ticks == 0, "invalid_combination", "price_ticks")
        good = immediate if c.type == OrderType.MARKET else not immediate
        if c.quote_value:
            good = c.time_in_force == TimeInForce.IOC
        require(good, "invalid_combination", "time_in_force")
    else:
        require_in(1, c.price_ticks, limits.PRICE_TICKS_MAX, "price_ticks")
    if c.type == OrderType.STOP_LIMIT:
        good = c.time_in_force != TimeInForce.FOK
        require(good, "invalid_combination", "time_in_force")
    if immediate or c.type in STOPS:
        require(not c.post_only, "invalid_combination", "post_only")


def require_legs(c: PlaceOco) -> None:
    """One account, one market, one side; a limit order that rests, and a stop."""
    bad = "invalid_combination"
    require(c.limit.type == OrderType.LIMIT, bad, "limit.type")
    require(c.stop.type in STOPS, bad, "stop.type")
    require(c.limit.time_in_force not in NEVER_RESTS, bad, "limit.time_in_force")
    require(c.limit.account == c.account, bad, "limit.account")
    require(c.stop.account == c.account, bad, "stop.account")
    require(c.stop.market == c.limit.market, bad, "stop.market")
    require(c.stop.side == c.limit.side, bad, "stop.side")
    labels = (c.limit.client_order_id, c.stop.client_order_id)
    unlike = labels[0] != labels[1] or labels[0] == ""
    require(unlike, "duplicate_client_order_id", "stop.client_order_id")


def require_terms(rules: MarketRules, order: PlaceOrder, last: int) -> None:
    """`order` has no stop price but that of a stop that waits; `last` is 0 before any trade."""
    if order.quote_value:
        require(int(order.quote_value) >= rules.notional_min, "min_notional", "quote_value")
        return
    price, stop, lots = order.price_ticks, order.stop_price_ticks, order.quantity_lots
    require_in(rules.quantity_lots_min, lots, rules.quantity_lots_max, "quantity_lots")
    if price:
        require_in(rules.price_ticks_min, price, rules.price_ticks_max, "price_ticks")
        require(price * lots >= rules.notional_min, "min_notional", "quantity_lots")
    if stop:
        require_in(rules.price_ticks_min, stop, rules.price_ticks_max, "stop_price_ticks")
        if last:
            waits = last < stop if order.side == Side.BUY else last > stop
            require(waits, "stop_would_trigger", "stop_price_ticks")
    if price:
        require(in_band(rules, price, stop or last), "price_band", "price_ticks")


def in_band(rules: MarketRules, price: int, around: int) -> bool:
    """Say whether a price is no further from another than the market allows."""
    if not rules.price_band_ppm or not around:
        return True
    return abs(price - around) * 1_000_000 <= around * rules.price_band_ppm


def require_room(live: Iterable[Order], c: PlaceOrder, besides: int) -> None:
    everything = list(live)
    in_market = [order for order in everything if order.market == c.market]
    own = [order for order in in_market if order.account == c.account]
    many = len(own) + besides < limits.ORDERS_PER_ACCOUNT_MARKET_MAX
    require(many, "too_many_orders", "")
    for orders, most in (
        (in_market, limits.ORDERS_PER_MARKET_MAX),
        (everything, limits.ORDERS_MAX),
    ):
        require(len(orders) + besides < most, "limit_reached", "")
    waiting = [order for order in in_market if waits(order)]
    if c.type in STOPS:
        account_max = limits.STOPS_PER_ACCOUNT_MARKET_MAX
        _require_few(waiting, c, (account_max, limits.STOPS_PER_MARKET_MAX), "stop_price_ticks")
    icebergs = [order for order in in_market if order.display_lots]
    if c.display_lots:
        account_max = limits.ICEBERGS_PER_ACCOUNT_MARKET_MAX
        _require_few(icebergs, c, (account_max, limits.ICEBERGS_PER_MARKET_MAX), "display_lots")


def _require_few(orders: list[Order], c: PlaceOrder, most: tuple[int, int], field: str) -> None:
    own = [order for order in orders if order.account == c.account]
    require(len(own) < most[0], "too_many_orders", field)
    require(len(orders) < most[1], "limit_reached", field)
