"""The window of idempotency keys: what was asked under a key, and what came of it.

Part of the replicated state. Keys leave by logged time, or pushed out by newer ones of their
account or of the cluster, where there are too many or their results have too many bytes; time never
goes back, so the order of insertion is the order of expiry, in the whole window and in each account
alike. The newest key of all stays, however large its result: it alone may exceed the bounds.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from typing import Final

import msgspec

from raft_exchange.matching.limits import (
    IDEMPOTENCY_BYTES_MAX,
    IDEMPOTENCY_BYTES_PER_ACCOUNT_MAX,
    IDEMPOTENCY_KEYS_MAX,
    IDEMPOTENCY_KEYS_PER_ACCOUNT_MAX,
    IDEMPOTENCY_WINDOW_US,
)
from raft_exchange.matching.messages import Command, Event
from raft_exchange.matching.versions import VERSIONS, Versions

BATCH_KEY_SEPARATOR: Final = "\x1f"
"""Stands in no key a client can send, so that no single order has the key of a batch's item."""


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first result under a key. `events` is the msgpack of the list of events."""

    account: str
    key: str
    fingerprint: bytes
    sequence: int
    time_us: int
    events: bytes


_events_decoder = msgspec.msgpack.Decoder(tuple[Event, ...])


def fingerprint(command: Command, followers: int, versions: Versions = VERSIONS) -> bytes:
    """Return 16 bytes that tell one decoded command, at the head of its batch, from another.

    It is of the earliest version that can say the command, so that a key keeps its meaning when
    the active version moves on.
    """
    earliest = 1 if versions.newest == 1 else versions.needed_by(command)
    encoded = versions.encode((command, followers), earliest)
    return hashlib.blake2b(encoded, digest_size=16).digest()


def batch_key(key: str, position: int) -> str:
    """Return the key of an order of a batch from that of the batch: the first has it itself."""
    return f"{key}{BATCH_KEY_SEPARATOR}{position}" if key and position else key


class IdempotencyWindow:
    """Keys of all accounts, oldest first. Every operation is O(1) amortised."""

    def __init__(
        self,
        *,
        keys_max: int = IDEMPOTENCY_KEYS_MAX,
        keys_per_account_max: int = IDEMPOTENCY_KEYS_PER_ACCOUNT_MAX,
        bytes_max: int = IDEMPOTENCY_BYTES_MAX,
        bytes_per_account_max: int = IDEMPOTENCY_BYTES_PER_ACCOUNT_MAX,
        window_us: int = IDEMPOTENCY_WINDOW_US,
    ) -> None:
        self._keys_max = keys_max
        self._keys_per_account_max = keys_per_account_max
        self._bytes_max = bytes_max
        self._bytes_per_account_max = bytes_per_account_max
        self._window_us = window_us
        self._stored: OrderedDict[tuple[str, str], Stored] = OrderedDict()
        self._by_account: dict[str, deque[str]] = {}
        self._bytes = 0  # of all results
        self._bytes_of: dict[str, int] = {}  # by account

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def size_bytes(self) -> int:
        """The sum of the results' sizes."""
        return self._bytes

    def get(self, account: str, key: str) -> Stored | None:
        """Return what is stored under the account's key, if it has not left the window."""
        return self._stored.get((account, key))

    def put(self, stored: Stored, *, bounds_bytes: bool = False) -> None:
        """Remember the first result under a key, pushing out the oldest where a bound is met.

        Bytes are bounded only with `bounds_bytes`: earlier versions of the exchange do not.
        """
        account, size_bytes = stored.account, len(stored.events)
        assert (account, stored.key) not in self._stored
        if len(self._by_account.get(account, ())) >= self._keys_per_account_max:
            self._drop(account, self._by_account[account][0])
        if len(self._stored) >= self._keys_max:
            self._drop_oldest()
        if bounds_bytes:
            while self._bytes_of.get(account, 0) > max(0, self._bytes_per_account_max - size_bytes):
                self._drop(account, self._by_account[account][0])
            while self._bytes > max(0, self._bytes_max - size_bytes):
                self._drop_oldest()
        self._by_account.setdefault(account, deque()).append(stored.key)
        self._stored[account, stored.key] = stored
        self._bytes += size_bytes
        self._bytes_of[account] = self._bytes_of.get(account, 0) + size_bytes

    def expire(self, *, now_us: int) -> None:
        """Forget keys whose result is older than the window."""
        while self._stored:
            oldest = next(iter(self._stored.values()))
            if oldest.time_us > now_us - self._window_us:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._drop(*next(iter(self._stored)))

    def _drop(self, account: str, key: str) -> None:
        keys, size_bytes = self._by_account[account], len(self._stored.pop((account, key)).events)
        assert keys[0] == key, "an account's keys leave in the order they came"
        keys.popleft()
        self._bytes -= size_bytes
        self._bytes_of[account] -= size_bytes
        if not keys:
            del self._by_account[account], self._bytes_of[account]

    def entries(self) -> list[Stored]:
        """Return everything stored, oldest first: the canonical form. O(n)."""
        return list(self._stored.values())

    def check(self) -> None:
        """Assert every invariant. O(n)."""
        assert len(self._stored) <= self._keys_max
        assert sum(map(len, self._by_account.values())) == len(self._stored)
        assert sum(self._bytes_of.values()) == self._bytes
        assert set(self._bytes_of) == set(self._by_account)
        assert self._bytes == sum(len(stored.events) for stored in self._stored.values())
        times = [stored.time_us for stored in self._stored.values()]
        assert times == sorted(times)
        for account, keys in self._by_account.items():
            assert 0 < len(keys) <= self._keys_per_account_max
            assert list(keys) == [k for a, k in self._stored if a == account]


def decode_events(data: bytes) -> tuple[Event, ...]:
    """Return the events of a stored result."""
    return _events_decoder.decode(data)
