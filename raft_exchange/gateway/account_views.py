"""JSON out: accounts, balances, transfers, keys and fills as a client sees them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from raft_exchange.decoding.decimals import format_e18, format_e36
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.account_answers import (
    AccountView,
    BalanceView,
    FillView,
    KeyView,
    LimitsView,
    TransferView,
)
from raft_exchange.gateway.rendering import trade_view
from raft_exchange.marketdata.balances import Holding
from raft_exchange.marketdata.trades import Trade
from raft_exchange.matching.messages import (
    AccountLimits,
    AccountSettings,
    ApiKey,
    KeyKind,
    MarketRules,
    Scope,
    Side,
    TransferMade,
)


def format_fee(fee_e8: int) -> str | None:
    """Return a fee as a decimal part of the amount; None where it is the market's."""
    return None if fee_e8 < 0 else format_e18(fee_e8 * 10**10)


def account_view(
    account: str, settings: AccountSettings, markets: Mapping[str, MarketRules]
) -> AccountView:
    """Return an account's settings; null fees and limits are the market's."""
    return {
        "account": account,
        "frozen": settings.frozen,
        "maker_fee": format_fee(settings.maker_fee_e8),
        "taker_fee": format_fee(settings.taker_fee_e8),
        "limits": {own.market: _limits_view(own, markets[own.market]) for own in settings.limits},
    }


def _limits_view(own: AccountLimits, rules: MarketRules) -> LimitsView:
    tick, lot = rules.tick_size_e18, rules.lot_size_e18
    quantity, notional = own.quantity_lots_max, own.notional_max
    return {
        "max_open_orders": own.open_orders_max or None,
        "max_quantity": format_e18(quantity * lot) if quantity else None,
        "max_notional": format_e36(notional * tick * lot) if notional else None,
    }


def balances_view(holdings: Iterable[tuple[str, Holding]]) -> dict[str, BalanceView]:
    """Return balances by asset."""
    return {
        asset: {"free": format_e36(int(holding.free)), "held": format_e36(int(holding.held))}
        for asset, holding in holdings
    }


def transfer_view(event: TransferMade) -> TransferView:
    """Return a deposit or withdrawal, with the place and time at which it was made first."""
    return {
        "id": event.transfer_id,
        "account": event.account,
        "type": "deposit" if event.is_deposit else "withdrawal",
        "asset": event.asset,
        "amount": format_e36(int(event.amount)),
        "time": format_time_us(event.first_time_us),
        "sequence": event.first_sequence,
    }


def scope_names(scopes: int) -> list[str]:
    """Return scopes by their names."""
    return [scope.name.lower() for scope in Scope if scope.name and scopes & scope]


def key_view(account: str, key: ApiKey) -> KeyView:
    """Return a key without anything that could prove it."""
    return {
        "id": key.key_id,
        "account": account,
        "kind": key.kind.name.lower(),
        "scopes": scope_names(key.scopes),
        "created_at": format_time_us(key.created_at_us),
        "revoked_at": format_time_us(key.revoked_at_us) if key.revoked_at_us else None,
        "public_key": base64.b64encode(key.secret).decode()
        if key.kind is KeyKind.ED25519
        else None,
    }


def fill_view(trade: Trade, rules: MarketRules, account: str) -> list[FillView]:
    """Return the fills of an account in a trade: one, or two where it traded with itself."""
    executed = trade.executed
    taker_side = executed.taker_side
    maker_side = Side.SELL if taker_side is Side.BUY else Side.BUY
    sides = (
        ("taker", executed.taker_account, executed.taker_order_id, taker_side, executed.taker_fee),
        ("maker", executed.maker_account, executed.maker_order_id, maker_side, executed.maker_fee),
    )
    return [
        {
            **trade_view(trade, rules),
            "order_id": str(order_id),
            "side": side.name.lower(),
            "liquidity": liquidity,
            "fee": format_e36(int(fee)),
            "fee_asset": rules.quote,
        }
        for liquidity, owner, order_id, side, fee in sides
        if owner == account
    ]
