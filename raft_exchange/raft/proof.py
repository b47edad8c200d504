"""Who holds the cluster's secret: keys derived from it, and proofs of single statements.

Each purpose has a key of its own, so a proof made for one is worth nothing for another. Fields
are bound with their lengths, so that moving bytes from one to the next is another statement. A
proof says nothing about when it was made: put what makes it fresh (a nonce) among the fields.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PROOF_BYTES: Final = 32

_LENGTH: Final = struct.Struct("!Q")


def derive_key(key_material: bytes, *, salt: bytes, info: bytes, size_bytes: int) -> bytes:
    """Return HKDF-SHA256 of the material; other `salt` or `info`, unrelated key."""
    return HKDF(algorithm=SHA256(), length=size_bytes, salt=salt, info=info).derive(key_material)


def sign(secret: bytes, purpose: str, *fields: bytes) -> bytes:
    """Return the proof, `PROOF_BYTES` long, that a holder of `secret` states these fields."""
    info = b"raft-exchange proof of " + purpose.encode()
    key = derive_key(secret, salt=b"", info=info, size_bytes=PROOF_BYTES)
    said = b"".join(_LENGTH.pack(len(field)) + field for field in fields)
    return hmac.digest(key, said, "sha256")


def verify(secret: bytes, purpose: str, proof: bytes, *fields: bytes) -> bool:
    """Return whether `proof` is that of these fields, in constant time; it may be any bytes."""
    return hmac.compare_digest(sign(secret, purpose, *fields), proof)
