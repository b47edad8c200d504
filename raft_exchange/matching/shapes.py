"""The guards of a command by itself: what no market and no book could take.

Each function returns the first thing wrong as a `CommandRefused`, None if nothing is. The order
in which they look is the order of the lines, and part of the replicated behaviour (DESIGN.md).
"""

from __future__ import annotations

import re
from typing import Final

from raft_exchange.matching.filters import is_immediate, is_label
from raft_exchange.matching.limits import (
    ICEBERG_TRANCHES_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    TIME_US_MAX,
)
from raft_exchange.matching.messages import (
    STOP_TYPES,
    AmendOrder,
    CommandRefused,
    OrderType,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    TimeInForce,
)

_VALUE: Final = re.compile(r"[1-9][0-9]{0,39}", re.ASCII)
_VALUE_MAX: Final = PRICE_TICKS_MAX * QUANTITY_LOTS_MAX
_GTD: Final = TimeInForce.GTD
_FIRST_STOP: Final = OrderType.STOP
LIMIT_LEG: Final = "limit."
STOP_LEG: Final = "stop."


def refuse_place_shape(command: PlaceOrder, time_us: int) -> CommandRefused | None:
    """Refuse a new order that no market could take at `time_us`."""
    if command.client_order_id and not is_label(command.client_order_id):
        return CommandRefused(RejectCode.BAD_FIELD, "client_order_id")
    is_sized = 0 < command.quantity_lots <= QUANTITY_LOTS_MAX and not command.quote_value
    refused = (None if is_sized else _refuse_size(command)) or _SHAPES[command.type](command)
    if refused is None and (command.stop_price_ticks or command.type >= _FIRST_STOP):
        refused = _refuse_stop_price(command)
    if refused is None and command.display_lots:
        refused = _refuse_display(command)
    if refused is None and (command.expires_at_us or command.time_in_force is _GTD):
        refused = _refuse_expiry(command, time_us)
    return refused


def _refuse_size(command: PlaceOrder) -> CommandRefused | None:
    if not command.quote_value:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quantity_lots")
    if command.type is not OrderType.MARKET:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "quote_value")
    if command.quantity_lots != 0:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "quantity_lots")
    if _VALUE.fullmatch(command.quote_value) is None or int(command.quote_value) > _VALUE_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quote_value")
    return None


def _refuse_limit_shape(command: PlaceOrder) -> CommandRefused | None:
    if not 0 < command.price_ticks <= PRICE_TICKS_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "price_ticks")
    if command.post_only and is_immediate(command.time_in_force):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "post_only")
    return None


def _refuse_market_shape(command: PlaceOrder) -> CommandRefused | None:
    if command.price_ticks != 0:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "price_ticks")
    ioc_only = command.quote_value and command.time_in_force is not TimeInForce.IOC
    if ioc_only or not is_immediate(command.time_in_force):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "time_in_force")
    if command.post_only:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "post_only")
    return None


def _refuse_stop_shape(command: PlaceOrder) -> CommandRefused | None:
    # Its time in force says how long it waits; elected, it is a market order and never rests.
    if command.price_ticks != 0:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "price_ticks")
    if is_immediate(command.time_in_force):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "time_in_force")
    if command.post_only:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "post_only")
    return None


def _refuse_stop_limit_shape(command: PlaceOrder) -> CommandRefused | None:
    # Fill-or-kill and post-only are judged against the book on entry, which a stop does not see.
    if not 0 < command.price_ticks <= PRICE_TICKS_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "price_ticks")
    if command.time_in_force is TimeInForce.FOK:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "time_in_force")
    if command.post_only:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "post_only")
    return None


_SHAPES: Final = (
    *(_refuse_limit_shape, _refuse_market_shape),
    *(_refuse_stop_shape, _refuse_stop_limit_shape),
)
assert len(_SHAPES) == len(OrderType), "in the order of `OrderType`"


def _refuse_stop_price(command: PlaceOrder) -> CommandRefused | None:
    if command.type not in STOP_TYPES:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "stop_price_ticks")
    if not 0 < command.stop_price_ticks <= PRICE_TICKS_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "stop_price_ticks")
    return None


def _refuse_display(command: PlaceOrder) -> CommandRefused | None:
    if not command.price_ticks or is_immediate(command.time_in_force):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "display_lots")
    shown_lots, quantity_lots = command.display_lots, command.quantity_lots
    if not 0 < shown_lots <= quantity_lots <= shown_lots * ICEBERG_TRANCHES_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "display_lots")
    return None


def _refuse_expiry(command: PlaceOrder, time_us: int) -> CommandRefused | None:
    expires_at_us = command.expires_at_us
    if (expires_at_us != 0) is not (command.time_in_force is TimeInForce.GTD):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "expires_at_us")
    if expires_at_us and not time_us < expires_at_us <= TIME_US_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "expires_at_us")
    return None


def refuse_amend_shape(command: AmendOrder) -> CommandRefused | None:
    """Refuse new terms that no order could have; None stands for a term that stays."""
    for field, highest in _AMENDABLE:
        value = getattr(command, field)
        if value is not None and not 0 < value <= highest:
            return CommandRefused(RejectCode.OUT_OF_RANGE, field)
    return None


_AMENDABLE: Final = (
    ("price_ticks", PRICE_TICKS_MAX),
    ("quantity_lots", QUANTITY_LOTS_MAX),
    ("stop_price_ticks", PRICE_TICKS_MAX),
)


def refuse_pair(command: PlaceOco) -> CommandRefused | None:
    """Refuse legs that cannot be two ways to end one trade; fields begin with the leg's name."""
    limit, stop = command.limit, command.stop
    if limit.type is not OrderType.LIMIT:
        return CommandRefused(RejectCode.INVALID_COMBINATION, LIMIT_LEG + "type")
    if stop.type not in STOP_TYPES:
        return CommandRefused(RejectCode.INVALID_COMBINATION, STOP_LEG + "type")
    if is_immediate(limit.time_in_force):
        return CommandRefused(RejectCode.INVALID_COMBINATION, LIMIT_LEG + "time_in_force")
    if limit.account != command.account:
        return CommandRefused(RejectCode.INVALID_COMBINATION, LIMIT_LEG + "account")
    for field in ("account", "market", "side"):
        if getattr(stop, field) != getattr(limit, field):
            return CommandRefused(RejectCode.INVALID_COMBINATION, STOP_LEG + field)
    if stop.client_order_id and stop.client_order_id == limit.client_order_id:
        return CommandRefused(RejectCode.DUPLICATE_CLIENT_ORDER_ID, STOP_LEG + "client_order_id")
    return None
