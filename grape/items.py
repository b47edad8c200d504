"""Items of BEP 44: small values that anyone can store and everyone can check.

An immutable item is named by the hash of its value. A mutable one is named by its owner's ed25519
key (and a salt), carries a sequence number, and is believed for its signature only. Nothing that
fails `is_valid` is ever stored or returned.

Pure: the size rules, the name and the signature; where items are kept is `storage`.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from grape.bencode import Value, encode

VALUE_BYTES_MAX: Final = 1_000
SALT_BYTES_MAX: Final = 64
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TARGET_BYTES: Final = 20
SEQUENCE_MAX: Final = 2**63 - 1


class Item(msgspec.Struct, frozen=True):
    """A value; with `k`, a mutable one: owner's public key, salt, sequence number, signature."""

    v: Value
    k: bytes = b""
    salt: bytes = b""
    seq: int = 0
    sig: bytes = b""

    @property
    def is_mutable(self) -> bool:
        """True if the item is named by a key instead of by its value."""
        return bool(self.k)

    @property
    def target(self) -> bytes:
        """The 20 bytes under which the item is stored."""
        return sha1(self.k + self.salt if self.k else encode(self.v)).digest()

    @property
    def signed_bytes(self) -> bytes:
        """What the owner signs: the bencoded dict of salt, seq and v without its `d` and `e`."""
        body: dict[bytes, Value] = {b"seq": self.seq, b"v": self.v}
        if self.salt:
            body[b"salt"] = self.salt
        return encode(body)[1:-1]


def sign_item(private_key: bytes, v: Value, *, seq: int, salt: bytes = b"") -> Item:
    """Return the mutable item that the owner of `private_key` (32 raw bytes) publishes."""
    key = Ed25519PrivateKey.from_private_bytes(private_key)
    draft = Item(v=v, k=key.public_key().public_bytes_raw(), salt=salt, seq=seq)
    return msgspec.structs.replace(draft, sig=key.sign(draft.signed_bytes))


def fits(v: Value) -> bool:
    """Return whether a grape takes a value of this size.

    A string counts its own bytes, as the grapes in the field do; anything else its encoding.
    """
    return len(v if isinstance(v, bytes) else encode(v)) <= VALUE_BYTES_MAX


def is_valid(item: Item) -> bool:
    """Return whether the item may be believed: its size, and for a mutable one its signature.

    Costs an ed25519 verification (about 0.1 ms) for a mutable item of correct shape.

    Source: BEP 44, "Mutable items".
    """
    if not fits(item.v):
        return False
    if not item.is_mutable:
        return not item.sig
    if len(item.k) != KEY_BYTES or len(item.sig) != SIGNATURE_BYTES:
        return False
    if len(item.salt) > SALT_BYTES_MAX or not -SEQUENCE_MAX <= item.seq <= SEQUENCE_MAX:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(item.k).verify(item.sig, item.signed_bytes)
    except (InvalidSignature, ValueError):  # ValueError: the key is no point of the curve
        return False
    return True
