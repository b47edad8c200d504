"""Which bootstrap addresses are to be called, and when.

Every address that has not answered since it was last lost is called again and again, after a pause
that doubles from RETRY_S_MIN to RETRY_S_MAX. It costs no look-up anything: calls run beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from grape.contact import Address

RETRY_S_MIN: Final = 0.25
RETRY_S_MAX: Final = 5.0
ADDRESSES_MAX: Final = 256


class _Call(msgspec.Struct):
    next_s: float
    pause_s: float = RETRY_S_MIN


class Bootstrap:
    """The addresses through which a node joins the others."""

    def __init__(self) -> None:
        self.addresses: tuple[Address, ...] = ()
        self._waiting: dict[Address, _Call] = {}

    def replace(self, addresses: Iterable[Address], *, now_s: float) -> None:
        """Use these addresses from now on; those not known before are called at once."""
        known = set(self.addresses)
        self.addresses = tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX]
        self._waiting = {
            address: self._waiting.get(address, _Call(now_s))
            for address in self.addresses
            if address in self._waiting or address not in known
        }

    def take_due(self, *, now_s: float) -> list[Address]:
        """Return whom to call now; they are due again after their pause."""
        due = [address for address, call in self._waiting.items() if call.next_s <= now_s]
        for address in due:
            call = self._waiting[address]
            call.next_s = now_s + call.pause_s
            call.pause_s = min(RETRY_S_MAX, call.pause_s * 2)
        return due

    def answered(self, address: Address) -> None:
        """Note that the address is alive."""
        self._waiting.pop(address, None)

    def lost(self, address: Address, *, now_s: float) -> None:
        """Note that the address did not answer."""
        if address in self.addresses and address not in self._waiting:
            self._waiting[address] = _Call(now_s + RETRY_S_MIN)

    def forget(self, address: Address) -> None:
        """Never call the address again: it is our own."""
        self.addresses = tuple(other for other in self.addresses if other != address)
        self._waiting.pop(address, None)

    def next_s(self) -> float | None:
        """Return when the next call is due, None if everyone answers."""
        return min((call.next_s for call in self._waiting.values()), default=None)
