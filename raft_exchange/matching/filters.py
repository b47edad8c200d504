"""The guards that need no book: what a command says by itself, and what a market's rules say.

Each function returns the first thing wrong as a `CommandRefused`, None if nothing is. They are
pure and change nothing. The order in which they look is the order of the lines, and part of the
replicated behaviour: another order would answer an old log differently. DESIGN.md has the list.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from raft_exchange.matching.limits import (
    AMOUNT_MAX,
    CLIENT_ORDER_ID_BYTES_MAX,
    FEE_E8_MAX,
    INT64_MAX,
    NAME_BYTES_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    SIZE_E18_MAX,
    TIME_US_MAX,
    TRANSFER_ID_BYTES_MAX,
)
from raft_exchange.matching.messages import (
    ChangeMarket,
    CommandRefused,
    MarketRules,
    OrderType,
    PlaceOrder,
    RejectCode,
    TimeInForce,
)

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_BYTES_MAX - 1}}}")
_AMOUNT: Final = re.compile(rf"[1-9][0-9]{{0,{len(str(AMOUNT_MAX)) - 1}}}")
_IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})


def is_name(text: str) -> bool:
    """Say whether `text` may name a market, an asset or an account."""
    return _NAME.fullmatch(text) is not None


def is_label(text: str) -> bool:
    """Say whether `text` may be a client order id: printable ASCII, or "" for none."""
    return len(text) <= CLIENT_ORDER_ID_BYTES_MAX and text.isascii() and text.isprintable()


def is_transfer_id(text: str) -> bool:
    """Say whether `text` may name a deposit or withdrawal: 1 to 64 printable ASCII characters."""
    return 0 < len(text) <= TRANSFER_ID_BYTES_MAX and text.isascii() and text.isprintable()


def amount_of(text: str) -> int | None:
    """Return the amount that decimal text says, None for what is no amount: 1 to `AMOUNT_MAX`."""
    if _AMOUNT.fullmatch(text) is None:
        return None
    amount = int(text)
    return amount if amount <= AMOUNT_MAX else None


def is_immediate(time_in_force: TimeInForce) -> bool:
    """Say whether an order of this time in force ends at once and never rests."""
    return time_in_force in _IMMEDIATE


def refuse_place_shape(command: PlaceOrder, time_us: int) -> CommandRefused | None:
    """Refuse a new order that no market could take at `time_us`."""
    if not is_label(command.client_order_id):
        return CommandRefused(RejectCode.BAD_FIELD, "client_order_id")
    if not 0 < command.quantity_lots <= QUANTITY_LOTS_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quantity_lots")
    if command.type is OrderType.LIMIT:
        if not 0 < command.price_ticks <= PRICE_TICKS_MAX:
            return CommandRefused(RejectCode.OUT_OF_RANGE, "price_ticks")
        if command.post_only and is_immediate(command.time_in_force):
            return CommandRefused(RejectCode.INVALID_COMBINATION, "post_only")
    elif (refused := _refuse_market_order_shape(command)) is not None:
        return refused
    return _refuse_expiry(command, time_us)


def _refuse_market_order_shape(command: PlaceOrder) -> CommandRefused | None:
    if command.price_ticks != 0:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "price_ticks")
    if not is_immediate(command.time_in_force):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "time_in_force")
    if command.post_only:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "post_only")
    return None


def _refuse_expiry(command: PlaceOrder, time_us: int) -> CommandRefused | None:
    expires_at_us = command.expires_at_us
    if (expires_at_us != 0) is not (command.time_in_force is TimeInForce.GTD):
        return CommandRefused(RejectCode.INVALID_COMBINATION, "expires_at_us")
    if expires_at_us and not time_us < expires_at_us <= TIME_US_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "expires_at_us")
    return None


def refuse_amend_shape(price_ticks: int | None, quantity_lots: int | None) -> CommandRefused | None:
    """Refuse new terms that no order could have; None stands for a term that stays."""
    if price_ticks is not None and not 0 < price_ticks <= PRICE_TICKS_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "price_ticks")
    if quantity_lots is not None and not 0 < quantity_lots <= QUANTITY_LOTS_MAX:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quantity_lots")
    return None


def refuse_terms(
    rules: MarketRules, type_: OrderType, *, price_ticks: int, quantity_lots: int
) -> CommandRefused | None:
    """Refuse terms outside a market's limits; a market order has no price and no notional."""
    if not rules.quantity_lots_min <= quantity_lots <= rules.quantity_lots_max:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quantity_lots")
    if type_ is OrderType.LIMIT:
        if not rules.price_ticks_min <= price_ticks <= rules.price_ticks_max:
            return CommandRefused(RejectCode.OUT_OF_RANGE, "price_ticks")
        if price_ticks * quantity_lots < rules.notional_min:
            return CommandRefused(RejectCode.MIN_NOTIONAL, "quantity_lots")
    return None


def refuse_rules(rules: MarketRules) -> CommandRefused | None:
    """Refuse the rules of a market that could not work."""
    for field in ("market", "base", "quote"):
        if not is_name(getattr(rules, field)):
            return CommandRefused(RejectCode.BAD_FIELD, field)
    if rules.base == rules.quote:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "quote")
    for field, lowest, highest in _RANGES:
        if not lowest <= getattr(rules, field) <= highest:
            return CommandRefused(RejectCode.OUT_OF_RANGE, field)
    if rules.price_ticks_min > rules.price_ticks_max:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "price_ticks_max")
    if rules.quantity_lots_min > rules.quantity_lots_max:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "quantity_lots_max")
    return None


_RANGES: Final = (
    ("tick_size_e18", 1, SIZE_E18_MAX),
    ("lot_size_e18", 1, SIZE_E18_MAX),
    ("price_ticks_min", 1, PRICE_TICKS_MAX),
    ("price_ticks_max", 1, PRICE_TICKS_MAX),
    ("quantity_lots_min", 1, QUANTITY_LOTS_MAX),
    ("quantity_lots_max", 1, QUANTITY_LOTS_MAX),
    ("notional_min", 0, INT64_MAX),
    ("maker_fee_e8", 0, FEE_E8_MAX),
    ("taker_fee_e8", 0, FEE_E8_MAX),
)


def changed_rules(rules: MarketRules, command: ChangeMarket) -> MarketRules:
    """Return `rules` with what `command` changes of them; `refuse_rules` judges the result."""
    changes = {
        field: value for field in _CHANGEABLE if (value := getattr(command, field)) is not None
    }
    return msgspec.structs.replace(rules, **changes)


_CHANGEABLE: Final = (
    "price_ticks_min",
    "price_ticks_max",
    "quantity_lots_min",
    "quantity_lots_max",
    "notional_min",
    "self_trade_prevention",
    "maker_fee_e8",
    "taker_fee_e8",
)
