"""What operators change, again and dumb: accounts, markets, deposits and withdrawals.

Each takes the oracle, an `Oracle` whose type would make a circle of imports.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from raft_exchange.matching import limits
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AccountChanged,
    AccountCreated,
    ApiKey,
    ChangeAccount,
    ChangeMarket,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    EndReason,
    Event,
    KeyChanged,
    MarketChanged,
    MarketStatus,
    RevokeKey,
    TransferMade,
    Withdraw,
)
from tests.support.oracle_funds import amount_of
from tests.support.oracle_guards import either, is_name, require, require_rules


def account(oracle: Any, c: CreateAccount) -> list[Event]:
    require(is_name(c.account), "bad_field", "account")
    require(c.account not in oracle.accounts, "already_exists", "account")
    require(len(oracle.accounts) < limits.ACCOUNTS_MAX, "limit_reached", "account")
    oracle.accounts.append(c.account)
    return [AccountCreated(c.account)]


def market(oracle: Any, c: CreateMarket) -> list[Event]:
    name = c.rules.market
    require_rules(c.rules)
    require(name not in oracle.rules, "already_exists", "market")
    require(len(oracle.rules) < limits.MARKETS_MAX, "limit_reached", "market")
    oracle.rules[name], oracle.trades[name], oracle.last_price[name] = c.rules, 0, 0
    oracle.status[name] = MarketStatus.TRADING
    opened = MarketChanged(c.rules, MarketStatus.TRADING)
    if c.rules.settles and "fees" not in oracle.accounts:
        oracle.accounts.append("fees")
        return [opened, AccountCreated("fees")]
    return [opened]


def change(oracle: Any, c: ChangeMarket) -> list[Event]:
    require(c.market in oracle.rules, "unknown_market", "market")
    old = oracle.rules[c.market]
    stp = c.self_trade_prevention
    new = replace(
        old,
        price_ticks_min=either(c.price_ticks_min, old.price_ticks_min),
        price_ticks_max=either(c.price_ticks_max, old.price_ticks_max),
        quantity_lots_min=either(c.quantity_lots_min, old.quantity_lots_min),
        quantity_lots_max=either(c.quantity_lots_max, old.quantity_lots_max),
        notional_min=either(c.notional_min, old.notional_min),
        self_trade_prevention=old.self_trade_prevention if stp is None else stp,
        maker_fee_e8=either(c.maker_fee_e8, old.maker_fee_e8),
        taker_fee_e8=either(c.taker_fee_e8, old.taker_fee_e8),
        price_band_ppm=either(c.price_band_ppm, old.price_band_ppm),
        open_orders_max=either(c.open_orders_max, old.open_orders_max),
        notional_max=either(c.notional_max, old.notional_max),
    )
    require_rules(new)
    oracle.rules[c.market] = new
    if c.status is not None:
        oracle.status[c.market] = c.status
    ends = []
    if c.cancel_orders:
        chosen = [o for _, o in sorted(oracle.live.items()) if o.market == c.market]
        ends = oracle._end_all(chosen, EndReason.CANCELED_BY_OPERATOR)
    return [MarketChanged(new, oracle.status[c.market]), *ends]


def change_account(oracle: Any, c: ChangeAccount) -> list[Event]:
    require(c.account in oracle.accounts, "unknown_account", "account")
    fault = oracle.desk.fault(c, list(oracle.rules))
    require(fault is None, *(fault or ("", "")))
    settings = oracle.desk.change(c)
    chosen = [o for _, o in sorted(oracle.live.items()) if o.account == c.account]
    ends = oracle._end_all(chosen, EndReason.CANCELED_BY_OPERATOR) if settings.frozen else []
    return [AccountChanged(c.account, settings), *ends]


def create_key(oracle: Any, c: CreateKey) -> list[Event]:
    require(c.account in oracle.accounts, "unknown_account", "account")
    fault = oracle.desk.key_fault(c, is_name(c.key_id))
    require(fault is None, *(fault or ("", "")))
    events: list[Event] = []
    if c.replaces:
        events.append(KeyChanged(c.account, oracle.desk.revoke(c.replaces, oracle.time_us)))
    key = ApiKey(c.key_id, c.key_kind, c.secret, c.scopes, oracle.time_us, 0)
    oracle.desk.add(c.account, key)
    return [*events, KeyChanged(c.account, key)]


def revoke_key(oracle: Any, c: RevokeKey) -> list[Event]:
    require(c.account in oracle.accounts, "unknown_account", "account")
    require(oracle.desk.good(c.account, c.key_id), "unknown_key", "key_id")
    return [KeyChanged(c.account, oracle.desk.revoke(c.key_id, oracle.time_us))]


def transfer(oracle: Any, c: Deposit | Withdraw) -> list[Event]:
    printable = re.fullmatch(r"[ -~]{1,64}", c.transfer_id) is not None
    require(printable, "bad_field", "transfer_id")
    amount = amount_of(c.amount)
    require(amount > 0, "out_of_range", "amount")
    require(c.account in oracle.accounts, "unknown_account", "account")
    require(c.account != ANONYMOUS, "invalid_combination", "account")
    comes = isinstance(c, Deposit)
    now = oracle.sequence, oracle.time_us
    made = TransferMade(c.account, c.asset, c.amount, c.transfer_id, comes, *now)
    for earlier in oracle.transfers[-limits.TRANSFERS_REMEMBERED_MAX :]:
        if (earlier.account, earlier.transfer_id) == (c.account, c.transfer_id):
            then = earlier.first_sequence, earlier.first_time_us
            again = replace(made, first_sequence=then[0], first_time_us=then[1])
            require(again == earlier, "idempotency_mismatch", "transfer_id")
            return [earlier]
    known = [asset for rules in oracle.rules.values() for asset in (rules.base, rules.quote)]
    require(c.asset in known, "bad_field", "asset")
    inside = oracle.purse.inside
    if comes:
        require(inside.get(c.asset, 0) + amount <= 10**72, "limit_reached", "amount")
    else:
        require(oracle.free(c.account, c.asset) >= amount, "insufficient_funds", "amount")
        amount = -amount
    oracle.purse.give(c.account, c.asset, amount)
    inside[c.asset] = inside.get(c.asset, 0) + amount
    oracle.transfers.append(made)
    return [made]


HOUSE: dict[type, Any] = {
    CreateAccount: account,
    CreateMarket: market,
    ChangeMarket: change,
    Deposit: transfer,
    Withdraw: transfer,
    ChangeAccount: change_account,
    CreateKey: create_key,
    RevokeKey: revoke_key,
}
