"""What each account has of each asset, as the last event about it said.

An empty balance is like one that never was: the machine's snapshot does not name it, and a restored
node shows what all others show.
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
    """Every balance that is not empty; bounded by accounts and assets."""

    def __init__(self) -> None:
        self._by_account: dict[str, dict[str, Holding]] = {}

    def keep(self, event: BalanceChanged) -> None:
        """Take over what an event says. O(1)."""
        holdings = self._by_account.setdefault(event.account, {})
        holding = Holding(event.free, event.held)
        if holding == EMPTY:
            holdings.pop(event.asset, None)
        else:
            holdings[event.asset] = holding

    def holding(self, account: str, asset: str) -> Holding:
        """Return what an account has of an asset."""
        return self._by_account.get(account, {}).get(asset, EMPTY)

    def of(self, account: str) -> list[tuple[str, Holding]]:
        """Return the assets of an account by name; an account that has nothing has none."""
        return sorted(self._by_account.get(account, {}).items())
