"""What each account has of each asset, as the last event about it said.

An asset that was there stays named when nothing is left of it. The machine's snapshot forgets it,
so the projection's own names it: a restored node shows what all others show.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from raft_exchange.matching.messages import BalanceChanged


class Holding(NamedTuple):
    """One asset of one account: units of 10^-36, as decimal text."""

    free: str
    held: str


EMPTY: Final = Holding("0", "0")


class Balances:
    """Every balance that was ever touched; bounded by accounts and assets."""

    def __init__(self) -> None:
        self._by_account: dict[str, dict[str, Holding]] = {}

    def keep(self, event: BalanceChanged) -> None:
        """Take over what an event says. O(1)."""
        holdings = self._by_account.setdefault(event.account, {})
        holdings[event.asset] = Holding(event.free, event.held)

    def holding(self, account: str, asset: str) -> Holding:
        """Return what an account has of an asset."""
        return self._by_account.get(account, {}).get(asset, EMPTY)

    def of(self, account: str) -> list[tuple[str, Holding]]:
        """Return the assets of an account by name; an account that never had any has none."""
        return sorted(self._by_account.get(account, {}).items())

    def emptied(self) -> list[tuple[str, str]]:
        """Return (account, asset) of every balance that is zero, in order. O(n log n)."""
        return sorted(
            (account, asset)
            for account, holdings in self._by_account.items()
            for asset, holding in holdings.items()
            if holding == EMPTY
        )
