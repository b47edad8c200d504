"""What a grape keeps for others: peers of services, items, and the tokens that guard both.

Rules:
* Every store is bounded in entries and bytes, and no source fills one: whoever holds more than his
  share displaces his own oldest entry; a full store displaces the oldest of all.
* A peer lives `4/3` of the maximum age after its last announcement, exactly. Grapes in the field
  age by generations, 2/3 to 4/3; the longest of these is what announcers may rely on.
* Who wants to write must show a token that we gave to his IP address 5 to 10 minutes ago at most,
  so that nobody writes in another's name (BEP 5, "get_peers").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import sha1
from itertools import islice
from typing import Final, Generic, TypeVar

import msgspec

from grape.contact import Address
from grape.items import Item

PEERS_STORED_MAX: Final = 10_000
PEERS_STORED_BYTES_MAX: Final = 8 * 1024 * 1024
PEERS_ANSWERED_MAX: Final = 100
ITEMS_STORED_BYTES_MAX: Final = 32 * 1024 * 1024
TOKEN_ROTATION_S: Final = 300.0
SECRET_BYTES: Final = 20
OWN_HOST: Final = ""  # stands for whatever address the asker reaches us at

_PEER_AGE_FACTOR: Final = 4 / 3
_ENTRY_BYTES: Final = 100  # of bookkeeping, roughly
_SHARE: Final = 2  # one source holds at most half of a store

Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


class _Entry(msgspec.Struct, Generic[Kept]):
    value: Kept
    source: str
    size_bytes: int


class FairStore(Generic[Key, Kept]):
    """A bounded map, oldest first, in which no source takes more than half of the room.

    Every operation is O(1); the last written or touched is the newest.
    """

    def __init__(self, *, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Key, _Entry[Kept]] = OrderedDict()
        self._by_source: dict[str, OrderedDict[Key, None]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shares(self) -> tuple[float, float]:
        """How much of the bounds of entries and of bytes is used: 1 is full."""
        return len(self._entries) / max(1, self._entries_max), self._bytes / self._bytes_max

    def get(self, key: Key) -> Kept | None:
        """Return the value, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def touch(self, key: Key) -> None:
        """Make an entry the newest."""
        self._entries.move_to_end(key)
        self._by_source[self._entries[key].source].move_to_end(key)

    def put(self, key: Key, value: Kept, *, source: str, size_bytes: int) -> list[Key]:
        """Write an entry and return the keys it displaced."""
        size_bytes += _ENTRY_BYTES
        assert size_bytes * _SHARE <= self._bytes_max, "an entry always fits"
        self.remove(key)
        self._entries[key] = _Entry(value, source, size_bytes)
        self._by_source.setdefault(source, OrderedDict())[key] = None
        self._bytes += size_bytes
        displaced = []
        if len(self._by_source[source]) * _SHARE > max(self._entries_max, _SHARE):
            displaced.append(next(iter(self._by_source[source])))
            self.remove(displaced[0])
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            displaced.append(next(iter(self._entries)))
            self.remove(displaced[-1])
        return displaced

    def remove(self, key: Key) -> None:
        """Remove an entry if it is there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.size_bytes
        mine = self._by_source[entry.source]
        del mine[key]
        if not mine:
            del self._by_source[entry.source]

    def oldest(self) -> tuple[Key, Kept] | None:
        """Return the entry not written or touched for the longest time."""
        for key, entry in self._entries.items():
            return key, entry.value
        return None

    def check(self) -> None:
        """Assert every invariant. O(entries)."""
        assert len(self._entries) <= self._entries_max
        assert self._bytes == sum(entry.size_bytes for entry in self._entries.values())
        assert self._bytes <= self._bytes_max
        assert len(self._entries) == sum(map(len, self._by_source.values()))


class PeerStore:
    """Who announced which service, and until when we say so."""

    def __init__(self, *, peer_age_s: float) -> None:
        self._age_s = peer_age_s * _PEER_AGE_FACTOR
        self._expiry: FairStore[tuple[bytes, Address], float] = FairStore(
            entries_max=PEERS_STORED_MAX, bytes_max=PEERS_STORED_BYTES_MAX
        )
        self._by_name: dict[bytes, OrderedDict[Address, None]] = {}

    def __len__(self) -> int:
        return len(self._expiry)

    @property
    def shares(self) -> tuple[float, float]:
        """See `FairStore.shares`."""
        return self._expiry.shares

    def add(self, name: bytes, peer: Address, *, now_s: float) -> None:
        """Store an announcement, or renew it."""
        self._expire(now_s)
        displaced = self._expiry.put(
            (name, peer), now_s + self._age_s, source=peer[0], size_bytes=len(name)
        )
        named = self._by_name.setdefault(name, OrderedDict())
        named[peer] = None
        named.move_to_end(peer)
        for gone in displaced:
            self._unname(*gone)

    def get(self, name: bytes, *, now_s: float) -> list[Address]:
        """Return up to 100 peers of a service, the last announced first."""
        self._expire(now_s)
        named = self._by_name.get(name, OrderedDict())
        return list(islice(reversed(named), PEERS_ANSWERED_MAX))

    def check(self) -> None:
        """Assert every invariant. O(entries)."""
        self._expiry.check()
        assert all(self._by_name.values()), "no name without a peer"
        assert len(self._expiry) == sum(map(len, self._by_name.values()))

    def _expire(self, now_s: float) -> None:
        # All records live equally long, so the oldest written expires first.
        while (oldest := self._expiry.oldest()) is not None and oldest[1] <= now_s:
            self._expiry.remove(oldest[0])
            self._unname(*oldest[0])

    def _unname(self, name: bytes, peer: Address) -> None:
        named = self._by_name[name]
        del named[peer]
        if not named:
            del self._by_name[name]


class ItemStore:
    """Items of BEP 44, the least recently used displaced first."""

    def __init__(self, *, values_max: int) -> None:
        self._items: FairStore[bytes, Item] = FairStore(
            entries_max=values_max, bytes_max=ITEMS_STORED_BYTES_MAX
        )

    def __len__(self) -> int:
        return len(self._items)

    @property
    def shares(self) -> tuple[float, float]:
        """See `FairStore.shares`."""
        return self._items.shares

    def get(self, target: bytes) -> Item | None:
        """Return the item named `target`."""
        item = self._items.get(target)
        if item is not None:
            self._items.touch(target)
        return item

    def put(self, item: Item, *, source: str, size_bytes: int) -> None:
        """Store an item, which the caller has checked (`items.is_valid`, and that it is newer)."""
        self._items.put(item.target, item, source=source, size_bytes=size_bytes)

    def check(self) -> None:
        """Assert every invariant. O(entries)."""
        self._items.check()


class Tokens:
    """Tokens that only the holder of an IP address can show."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._period = 0
        self._secrets = (entropy(SECRET_BYTES), entropy(SECRET_BYTES))

    def give(self, host: str, *, now_s: float) -> bytes:
        """Return the token for `host`, valid for 5 to 10 minutes."""
        self._rotate(now_s)
        return self._token(host, self._secrets[0])

    def accepts(self, token: bytes, host: str, *, now_s: float) -> bool:
        """Return whether `token` was given to `host` and is still valid."""
        self._rotate(now_s)
        return any(token == self._token(host, secret) for secret in self._secrets)

    def _rotate(self, now_s: float) -> None:
        period = int(now_s // TOKEN_ROTATION_S)
        passed = period - self._period
        self._period = period
        if passed == 1:
            self._secrets = (self._entropy(SECRET_BYTES), self._secrets[0])
        elif passed > 1:
            self._secrets = (self._entropy(SECRET_BYTES), self._entropy(SECRET_BYTES))

    @staticmethod
    def _token(host: str, secret: bytes) -> bytes:
        return sha1(host.encode() + secret).digest()
