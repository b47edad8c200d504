"""The routing table: which nodes this one knows, and who of them is nearest to a target.

Rules:
* A contact enters only when it has answered us from its address: whoever merely sends datagrams,
  under however many ids, displaces nobody.
* One contact per address and one per id. A node that restarted has a new id and takes the place of
  its former self.
* A bucket (all ids at the same distance in bits) holds K contacts. A full bucket keeps those it
  has: long-lived nodes tend to stay; only a contact silent for `stale_s` gives way.

Distance is XOR over the first 20 bytes; a name shorter than that is padded with zero bytes, which
orders ties the same way on every grape. Source: Kademlia section 2; BEP 5 "Routing Table".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from grape.contact import NODE_ID_BYTES, Address, Contact

K: Final = 20
SHUN_S: Final = 10.0
SHUNNED_MAX: Final = 1_000
_BUCKETS: Final = NODE_ID_BYTES * 8 + 1
_MULTICAST: Final = 224


class _Entry(msgspec.Struct):
    contact: Contact
    key: int
    heard_s: float


def point(name: bytes) -> int:
    """Return where a node id, a target or a service name of any length lies in the key space."""
    return int.from_bytes(name[:NODE_ID_BYTES].ljust(NODE_ID_BYTES, b"\0"), "big")


class RoutingTable:
    """At most K contacts for each of the 160 distances from `own_id`."""

    def __init__(self, own_id: bytes, *, stale_s: float) -> None:
        self._own = point(own_id)
        self._stale_s = stale_s
        self._buckets: list[dict[bytes, _Entry]] = [{} for _ in range(_BUCKETS)]
        self._by_address: dict[Address, bytes] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Contact]:
        return (entry.contact for bucket in self._buckets for entry in bucket.values())

    def knows_address(self, address: Address) -> bool:
        """Return whether some contact lives at `address`."""
        return address in self._by_address

    def wants(self, contact: Contact, *, now_s: float) -> bool:
        """Return whether the contact is unknown and would enter if it answered."""
        if self._by_address.get(contact.address) == contact.node_id:
            return False
        bucket = self._bucket(contact.node_id)
        return len(bucket) < K or self._stalest(bucket).heard_s <= now_s - self._stale_s

    def heard(self, contact: Contact, *, now_s: float) -> bool:
        """Note that the contact answered us; return whether it is new in the table."""
        key = point(contact.node_id)
        if key == self._own:
            return False
        known_id = self._by_address.get(contact.address)
        bucket = self._bucket(contact.node_id)
        if known_id == contact.node_id:
            entry = bucket.pop(known_id)  # back in as the last: a bucket is ordered by `heard_s`
            bucket[known_id] = _Entry(entry.contact, entry.key, now_s)
            return False
        if known_id is not None:
            self.remove(Contact(known_id, contact.address))
        if (moved := bucket.get(contact.node_id)) is not None:
            self.remove(moved.contact)
        if len(bucket) >= K:
            stalest = self._stalest(bucket)
            if stalest.heard_s > now_s - self._stale_s:
                return False
            self.remove(stalest.contact)
        bucket[contact.node_id] = _Entry(contact, key, now_s)
        self._by_address[contact.address] = contact.node_id
        return True

    def remove(self, contact: Contact) -> None:
        """Forget the contact, if it is known at that address."""
        if self._by_address.get(contact.address) == contact.node_id:
            del self._by_address[contact.address]
            del self._bucket(contact.node_id)[contact.node_id]

    def silent_since(self, time_s: float) -> list[Contact]:
        """Return the contacts not heard after `time_s`. O(contacts)."""
        return [
            entry.contact
            for bucket in self._buckets
            for entry in bucket.values()
            if entry.heard_s <= time_s
        ]

    def closest(self, target: bytes, count: int = K) -> list[Contact]:
        """Return up to `count` contacts, the nearest to `target` first.

        O(contacts read log K): seen from the target, its own bucket is nearest, then lie all the
        buckets nearer to us than that, in one, then the farther ones, one by one.
        """
        goal = point(target)
        home = (self._own ^ goal).bit_length()
        found = self._sorted(self._buckets[home].values(), goal)
        if len(found) < count:
            nearer = (entry for bucket in self._buckets[:home] for entry in bucket.values())
            found += self._sorted(nearer, goal)
        for bucket in self._buckets[home + 1 :]:
            if len(found) >= count:
                break
            found += self._sorted(bucket.values(), goal)
        return found[:count]

    def check(self) -> None:
        """Assert every invariant. O(contacts)."""
        assert len(self._by_address) == sum(map(len, self._buckets)), "one contact per address"
        for bits, bucket in enumerate(self._buckets):
            assert len(bucket) <= K, "a bucket holds at most K"
            for node_id, entry in bucket.items():
                assert entry.contact.node_id == node_id
                assert self._by_address[entry.contact.address] == node_id
                assert (entry.key ^ self._own).bit_length() == bits, "each in its own bucket"

    def _bucket(self, node_id: bytes) -> dict[bytes, _Entry]:
        return self._buckets[(self._own ^ point(node_id)).bit_length()]

    @staticmethod
    def _stalest(bucket: dict[bytes, _Entry]) -> _Entry:
        return min(bucket.values(), key=lambda entry: entry.heard_s)

    @staticmethod
    def _sorted(entries: Iterable[_Entry], goal: int) -> list[Contact]:
        ordered = sorted(entries, key=lambda entry: entry.key ^ goal)
        return [entry.contact for entry in ordered]


class Shunned:
    """Addresses that did not answer just now: others still name them, we do not ask them again."""

    def __init__(self) -> None:
        self._until_s: OrderedDict[Address, float] = OrderedDict()

    def add(self, address: Address, *, now_s: float) -> None:
        """Shun the address for SHUN_S."""
        self._until_s[address] = now_s + SHUN_S
        self._until_s.move_to_end(address)
        if len(self._until_s) > SHUNNED_MAX:
            self._until_s.popitem(last=False)

    def forgive(self, address: Address) -> None:
        """Shun the address no more: it was heard of."""
        self._until_s.pop(address, None)

    def others(self, contacts: Iterable[Contact], *, now_s: float) -> list[Contact]:
        """Return the contacts that are not shunned and whose address can be sent to."""
        return [
            contact
            for contact in contacts
            if self._until_s.get(contact.address, now_s) <= now_s
            and contact.address[1]
            and 0 < int(contact.address[0].partition(".")[0]) < _MULTICAST
        ]
