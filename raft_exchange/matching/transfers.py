"""The memory that makes deposits and withdrawals safe to send again.

A transfer is known by its account and the id its sender gave it. The last
`TRANSFERS_REMEMBERED_MAX` of the whole exchange are remembered, the oldest forgotten first: one
that is sent again after so many newer ones would be made again.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from raft_exchange.matching.limits import TRANSFERS_REMEMBERED_MAX


class Transfer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A deposit or withdrawal that was made: what, and by which command, when."""

    account: str
    transfer_id: str
    asset: str
    amount: str
    is_deposit: bool
    sequence: int
    time_us: int


class Transfers:
    """The last transfers, oldest first. Every operation is O(1)."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, str], Transfer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def get(self, account: str, transfer_id: str) -> Transfer | None:
        """Return the transfer made under this id of the account, while it is remembered."""
        return self._made.get((account, transfer_id))

    def add(self, transfer: Transfer) -> None:
        """Remember a transfer, the newest; forget the oldest where there are too many."""
        key = transfer.account, transfer.transfer_id
        assert key not in self._made, key
        self._made[key] = transfer
        if len(self._made) > TRANSFERS_REMEMBERED_MAX:
            self._made.popitem(last=False)

    def entries(self) -> list[Transfer]:
        """Return what is remembered, oldest first: the canonical form. O(n)."""
        return list(self._made.values())

    def check(self) -> None:
        """Assert every invariant. O(n)."""
        assert len(self._made) <= TRANSFERS_REMEMBERED_MAX
        sequences = [transfer.sequence for transfer in self._made.values()]
        assert sequences == sorted(set(sequences)), "a command makes one transfer"
        assert all(
            key == (made.account, made.transfer_id) and made.sequence > 0
            for key, made in self._made.items()
        )
