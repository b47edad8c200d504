"""Everything that a node of the DHT reports: the vocabulary between it and whoever drives it.

Past tense, frozen, without behaviour. The closed list of refusals stands here too, in the words
that the grapes in the field use.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

import msgspec

from grape.contact import Address, Contact
from grape.items import Item


class Refusal(Enum):
    """Why an operation failed, in the words of the grapes in the field."""

    NO_NODES = "No nodes to query"
    ALL_FAILED = "All queries failed"
    CAS_MISMATCH = "CAS mismatch, re-read and try again"
    OLD_SEQUENCE = "sequence number less than current"


CODES: Final = {
    Refusal.NO_NODES: 0,
    Refusal.ALL_FAILED: 0,
    Refusal.CAS_MISMATCH: 301,
    Refusal.OLD_SEQUENCE: 302,
}


class Found(msgspec.Struct, frozen=True):
    """An item and who had it; `token` is None if it was our own store."""

    item: Item
    holder_id: bytes
    token: bytes | None


class LookupFinished(msgspec.Struct, frozen=True):
    """A service was looked up."""

    operation: int
    peers: tuple[Address, ...]


class AnnounceFinished(msgspec.Struct, frozen=True):
    """A service was announced: `stored` grapes acknowledged, 0 with the reason."""

    operation: int
    stored: int
    refusal: Refusal | None = None


class PutFinished(msgspec.Struct, frozen=True):
    """An item was put: `stored` grapes acknowledged, 0 with the reason."""

    operation: int
    item: Item
    stored: int
    refusal: Refusal | None = None


class GetFinished(msgspec.Struct, frozen=True):
    """An item was looked for; None if nobody has it."""

    operation: int
    found: Found | None


class Ready(msgspec.Struct, frozen=True):
    """The first look around ended, or nobody answered for BOOTSTRAP_PATIENCE_S."""


class NodeAdded(msgspec.Struct, frozen=True):
    """A contact entered the routing table."""

    contact: Contact


class ServiceStored(msgspec.Struct, frozen=True):
    """We keep an announcement; `peer` has no host if it is our own."""

    name: bytes
    peer: Address


class PeerFound(msgspec.Struct, frozen=True):
    """A look-up found a peer of a service."""

    name: bytes
    peer: Address


Event: TypeAlias = (
    Ready
    | NodeAdded
    | ServiceStored
    | PeerFound
    | LookupFinished
    | AnnounceFinished
    | PutFinished
    | GetFinished
)
