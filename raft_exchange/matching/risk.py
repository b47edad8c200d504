"""What an account may do: frozen or not, its fees, its limits in each market.

Limits are the market's unless operators gave the account its own. They bind new and amended orders,
never resting ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from raft_exchange.matching.limits import FEE_E8_MAX, INT64_MAX
from raft_exchange.matching.messages import (
    AccountLimits,
    AccountSettings,
    ChangeAccount,
    CommandRefused,
    MarketRules,
    PlaceOrder,
    RejectCode,
)

MARKETS_FEE_E8 = -1
"""The fee of an account that has none of its own."""


def fees_e8(settings: AccountSettings, rules: MarketRules) -> tuple[int, int]:
    """Return the maker and the taker fee of an account in a market, in units of 10^-8."""
    maker, taker = settings.maker_fee_e8, settings.taker_fee_e8
    return (
        rules.maker_fee_e8 if maker == MARKETS_FEE_E8 else maker,
        rules.taker_fee_e8 if taker == MARKETS_FEE_E8 else taker,
    )


def has_limits(settings: AccountSettings, rules: MarketRules) -> bool:
    """Say whether any limit of this file could bind an account in this market."""
    return bool(settings.limits or rules.notional_max or rules.open_orders_max)


def value_of(command: PlaceOrder) -> int:
    """Return what limits count of a new order: `value` of `refuse_risk`."""
    return int(command.quote_value or 0) or command.price_ticks * command.quantity_lots


def refuse_risk(
    settings: AccountSettings, rules: MarketRules, *, value: int, quantity_lots: int
) -> CommandRefused | None:
    """Refuse terms beyond what the account may have.

    `value` is price_ticks x quantity_lots, or what a quote-sized order spends; 0 for an order
    without a price, which has no notional.
    """
    own = _limits(settings, rules.market)
    notional_max = rules.notional_max
    if own is not None:
        if own.quantity_lots_max and quantity_lots > own.quantity_lots_max:
            return CommandRefused(RejectCode.RISK_LIMIT, "quantity_lots")
        notional_max = own.notional_max or notional_max
    if notional_max and value > notional_max:
        return CommandRefused(RejectCode.RISK_LIMIT, "quantity_lots")
    return None


def refuse_open_orders(
    settings: AccountSettings, rules: MarketRules, *, count: int
) -> CommandRefused | None:
    """Refuse so many live orders of the account in this market where that is too many."""
    own = _limits(settings, rules.market)
    most = rules.open_orders_max if own is None else own.open_orders_max or rules.open_orders_max
    if most and count > most:
        return CommandRefused(RejectCode.RISK_LIMIT, "")
    return None


def _limits(settings: AccountSettings, market: str) -> AccountLimits | None:
    return next((limits for limits in settings.limits if limits.market == market), None)


def refuse_settings(command: ChangeAccount, markets: Iterable[str]) -> CommandRefused | None:
    """Refuse settings that no account could have."""
    for field in ("maker_fee_e8", "taker_fee_e8"):
        fee_e8 = getattr(command, field)
        if fee_e8 is not None and not MARKETS_FEE_E8 <= fee_e8 <= FEE_E8_MAX:
            return CommandRefused(RejectCode.OUT_OF_RANGE, field)
    for limits in command.limits:
        if limits.market not in markets:
            return CommandRefused(RejectCode.UNKNOWN_MARKET, "limits")
        for field, most in _MOST:
            if not 0 <= getattr(limits, field) <= most:
                return CommandRefused(RejectCode.OUT_OF_RANGE, "limits")
    return None


_MOST = (
    ("open_orders_max", INT64_MAX),
    ("quantity_lots_max", INT64_MAX),
    ("notional_max", INT64_MAX),
)


def changed_settings(settings: AccountSettings, command: ChangeAccount) -> AccountSettings:
    """Return `settings` with what `command` changes of them."""
    changes: dict[str, object] = {
        field: value
        for field in ("frozen", "maker_fee_e8", "taker_fee_e8")
        if (value := getattr(command, field)) is not None
    }
    limits = {held.market: held for held in (*settings.limits, *command.limits)}
    changes["limits"] = tuple(
        held
        for _, held in sorted(limits.items())
        if held.open_orders_max or held.quantity_lots_max or held.notional_max
    )
    return msgspec.structs.replace(settings, **changes)
