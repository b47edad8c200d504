"""What each account has of each asset, as the last event about it said."""

from __future__ import annotations

from typing import NamedTuple

from raft_exchange.matching.messages import BalanceChanged


class Holding(NamedTuple):
    """One asset of one account: units of 10^-36, as decimal text."""

    free: str
    held: str


class Balances:
    """Every balance that was ever touched; bounded by accounts and assets."""

    def __init__(self) -> None:
        self._by_account: dict[str, dict[str, Holding]] = {}

    def keep(self, event: BalanceChanged) -> None:
        """Take over what an event says. O(1)."""
        holdings = self._by_account.setdefault(event.account, {})
        holdings[event.asset] = Holding(event.free, event.held)

    def of(self, account: str) -> list[tuple[str, Holding]]:
        """Return the assets of an account by name; an account that never had any has none."""
        return sorted(self._by_account.get(account, {}).items())
