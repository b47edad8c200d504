"""The oracle's desk: what operators decided about accounts, and their keys; lists and scans."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from raft_exchange.matching.messages import (
    AccountLimits,
    AccountSettings,
    ApiKey,
    ChangeAccount,
    CreateKey,
    MarketRules,
    Order,
)
from tests.support.oracle_guards import require


class Desk:
    """Settings by account, and every key in the order in which it came."""

    def __init__(self) -> None:
        self.settings: dict[str, AccountSettings] = {}
        self.keys: list[tuple[str, ApiKey]] = []

    def of(self, account: str) -> AccountSettings:
        return self.settings.get(account, AccountSettings())

    def fees(self, account: str, rules: MarketRules) -> tuple[int, int]:
        own = self.of(account)
        maker = own.maker_fee_e8 if own.maker_fee_e8 >= 0 else rules.maker_fee_e8
        taker = own.taker_fee_e8 if own.taker_fee_e8 >= 0 else rules.taker_fee_e8
        return maker, taker

    def limits(self, account: str, rules: MarketRules) -> tuple[int, int, int]:
        """Return the most open orders, lots and notional; 0 for as many as there may be."""
        for own in self.of(account).limits:
            if own.market == rules.market:
                return (
                    own.open_orders_max or rules.open_orders_max,
                    own.quantity_lots_max,
                    own.notional_max or rules.notional_max,
                )
        return rules.open_orders_max, 0, rules.notional_max

    def require_low_risk(self, account: str, rules: MarketRules, value: int, lots: int) -> None:
        _, most_lots, most_value = self.limits(account, rules)
        require(not most_lots or lots <= most_lots, "risk_limit", "quantity_lots")
        require(not most_value or value <= most_value, "risk_limit", "quantity_lots")

    def require_few(
        self, account: str, rules: MarketRules, live: Iterable[Order], besides: int
    ) -> None:
        most, _, _ = self.limits(account, rules)
        own = [(order.account, order.market) for order in live].count((account, rules.market))
        require(not most or own + besides < most, "risk_limit", "")

    def fault(self, c: ChangeAccount, markets: list[str]) -> tuple[str, str] | None:
        for field, fee in (("maker_fee_e8", c.maker_fee_e8), ("taker_fee_e8", c.taker_fee_e8)):
            if fee is not None and (fee < -1 or fee > 10**7):
                return "out_of_range", field
        for own in c.limits:
            if own.market not in markets:
                return "unknown_market", "limits"
            asked = (own.open_orders_max, own.quantity_lots_max, own.notional_max)
            if any(not 0 <= number < 2**63 for number in asked):
                return "out_of_range", "limits"
        return None

    def change(self, c: ChangeAccount) -> AccountSettings:
        old = self.of(c.account)
        own: list[AccountLimits] = list(old.limits)
        for new in c.limits:
            own = [held for held in own if held.market != new.market]
            if (new.open_orders_max, new.quantity_lots_max, new.notional_max) != (0, 0, 0):
                own.append(new)
        self.settings[c.account] = AccountSettings(
            old.frozen if c.frozen is None else c.frozen,
            old.maker_fee_e8 if c.maker_fee_e8 is None else c.maker_fee_e8,
            old.taker_fee_e8 if c.taker_fee_e8 is None else c.taker_fee_e8,
            tuple(sorted(own, key=lambda held: held.market)),
        )
        return self.settings[c.account]

    def good(self, account: str, key_id: str) -> bool:
        return any(
            owner == account and key.key_id == key_id and not key.revoked_at_us
            for owner, key in self.keys
        )

    def key_fault(self, c: CreateKey, is_name: bool) -> tuple[str, str] | None:
        if not is_name:
            return "bad_field", "key_id"
        if len(c.secret) != 32:
            return "bad_field", "secret"
        if c.scopes not in range(1, 8):
            return "bad_field", "scopes"
        if any(key.key_id == c.key_id or key.secret == c.secret for _, key in self.keys):
            return "already_exists", "key_id"
        if c.replaces and not self.good(c.account, c.replaces):
            return "unknown_key", "replaces"
        good = [key for owner, key in self.keys if owner == c.account and not key.revoked_at_us]
        if len(good) - (c.replaces != "") >= 32:
            return "limit_reached", "key_id"
        return None

    def revoke(self, key_id: str, time_us: int) -> ApiKey:
        place = [key.key_id for _, key in self.keys].index(key_id)
        owner, key = self.keys[place]
        self.keys[place] = owner, replace(key, revoked_at_us=time_us)
        return self.keys[place][1]

    def add(self, account: str, key: ApiKey) -> None:
        self.keys.append((account, key))
        own = [held for owner, held in self.keys if owner == account]
        if len(own) > 32:
            oldest = next(held for held in own if held.revoked_at_us)
            self.keys.remove((account, oldest))
