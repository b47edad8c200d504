"""The guards that a market's rules ask for, and no book: names, limits, bands, rules themselves.

Each function returns the first thing wrong as a `CommandRefused`, None if nothing is. They are
pure and change nothing. The order in which they look is the order of the lines, and part of the
replicated behaviour: another order would answer an old log differently. DESIGN.md has the list.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from raft_exchange.matching.limits import (
    AMOUNT_MAX,
    CLIENT_ORDER_ID_BYTES_MAX,
    FEE_E8_MAX,
    ICEBERG_TRANCHES_MAX,
    INT64_MAX,
    NAME_BYTES_MAX,
    PRICE_BAND_PPM_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    SIZE_E18_MAX,
    TRANSFER_ID_BYTES_MAX,
)
from raft_exchange.matching.messages import (
    AmendOrder,
    ChangeMarket,
    CommandRefused,
    MarketRules,
    PlaceOrder,
    RejectCode,
    Side,
    TimeInForce,
)

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_BYTES_MAX - 1}}}")
_AMOUNT: Final = re.compile(rf"[1-9][0-9]{{0,{len(str(AMOUNT_MAX)) - 1}}}")
_IOC: Final = TimeInForce.IOC
_FOK: Final = TimeInForce.FOK
_MILLION: Final = 1_000_000


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
    return time_in_force is _IOC or time_in_force is _FOK


class Terms(NamedTuple):
    """What limits are asked about; 0 for no price, and for an order that is no waiting stop."""

    side: Side
    price_ticks: int
    stop_price_ticks: int
    quantity_lots: int


def refuse_new_terms(
    rules: MarketRules, command: PlaceOrder, *, last_price_ticks: int
) -> CommandRefused | None:
    """Refuse a new order outside a market's limits; a last price of 0 stands for no trade yet."""
    if command.quote_value:
        if int(command.quote_value) < rules.notional_min:
            return CommandRefused(RejectCode.MIN_NOTIONAL, "quote_value")
        return None
    return refuse_terms(rules, command, last_price_ticks=last_price_ticks)


def refuse_terms(
    rules: MarketRules, terms: Terms | PlaceOrder, *, last_price_ticks: int
) -> CommandRefused | None:
    """Refuse terms outside a market's limits; without a price there is no notional."""
    price_ticks, stop_price_ticks = terms.price_ticks, terms.stop_price_ticks
    if not rules.quantity_lots_min <= terms.quantity_lots <= rules.quantity_lots_max:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quantity_lots")
    if price_ticks:
        if not rules.price_ticks_min <= price_ticks <= rules.price_ticks_max:
            return CommandRefused(RejectCode.OUT_OF_RANGE, "price_ticks")
        if price_ticks * terms.quantity_lots < rules.notional_min:
            return CommandRefused(RejectCode.MIN_NOTIONAL, "quantity_lots")
    if stop_price_ticks:
        if not rules.price_ticks_min <= stop_price_ticks <= rules.price_ticks_max:
            return CommandRefused(RejectCode.OUT_OF_RANGE, "stop_price_ticks")
        if is_passed(terms.side, stop_price_ticks, last_price_ticks):
            return CommandRefused(RejectCode.STOP_WOULD_TRIGGER, "stop_price_ticks")
    if price_ticks and rules.price_band_ppm:
        # The market will trade near a stop's price when it enters, so that is its measure.
        lowest, highest = price_band(rules, stop_price_ticks or last_price_ticks)
        if not lowest <= price_ticks <= highest:
            return CommandRefused(RejectCode.PRICE_BAND, "price_ticks")
    return None


class Standing(NamedTuple):
    """A live order, as far as an amend looks at it."""

    terms: Terms
    filled_lots: int
    display_lots: int
    is_pending: bool


def amended(terms: Terms, command: AmendOrder) -> Terms:
    """Return `terms` with what `command` changes of them."""
    return Terms(
        terms.side,
        _or(command.price_ticks, terms.price_ticks),
        _or(command.stop_price_ticks, terms.stop_price_ticks),
        _or(command.quantity_lots, terms.quantity_lots),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def refuse_amended(
    rules: MarketRules, order: Standing, new: Terms, *, last_price_ticks: int
) -> CommandRefused | None:
    """Refuse new terms of a live order; no limit stands against ending or keeping it."""
    old = order.terms
    if new.stop_price_ticks != old.stop_price_ticks and not order.is_pending:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "stop_price_ticks")
    if new.price_ticks and not old.price_ticks:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "price_ticks")
    if new == old or new.quantity_lots <= order.filled_lots:
        return None
    if not order.is_pending:
        # It was elected long ago, if it ever was a stop; and a price that stays is not measured.
        stays = new.price_ticks == old.price_ticks
        last_price_ticks = 0 if stays else last_price_ticks
        new = new._replace(stop_price_ticks=0)
    refused = refuse_terms(rules, new, last_price_ticks=last_price_ticks)
    if refused is None and 0 < order.display_lots * ICEBERG_TRANCHES_MAX < new.quantity_lots:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "quantity_lots")
    return refused


def is_passed(side: Side, stop_price_ticks: int, last_price_ticks: int) -> bool:
    """Say whether the last trade (0: none yet) elects a stop at this price."""
    if not last_price_ticks:
        return False
    if side is Side.BUY:
        return last_price_ticks >= stop_price_ticks
    return last_price_ticks <= stop_price_ticks


def price_band(rules: MarketRules, reference_ticks: int) -> tuple[int, int]:
    """Return the lowest and the highest price that a market takes around another, both inclusive.

    Without a band, or without a price to measure from (0), any price is within it.
    """
    if not rules.price_band_ppm or not reference_ticks:
        return 1, PRICE_TICKS_MAX
    away = reference_ticks * rules.price_band_ppm // _MILLION
    return max(reference_ticks - away, 1), reference_ticks + away


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
    ("price_band_ppm", 0, PRICE_BAND_PPM_MAX),
    ("open_orders_max", 0, INT64_MAX),
    ("notional_max", 0, INT64_MAX),
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
    "price_band_ppm",
    "open_orders_max",
    "notional_max",
    "signed_orders",
)
