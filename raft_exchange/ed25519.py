"""Ed25519, for whoever checks or makes signatures: the one implementation that all replicas use.

`decoding.signing` refuses, before it asks here, what implementations are known to disagree about.
What is left is decided by OpenSSL (`cryptography`), which checks without the cofactor, as RFC 8032
allows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

REMEMBERED_MAX: Final = 2_048
"""Answers that are kept: the node that takes a request checks it twice, and so does who retries."""


@lru_cache(maxsize=REMEMBERED_MAX)
def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether the holder of a public key (32 bytes) made a signature (64) over a message."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):  # not its signature; not a point of the curve
        return False
    return True
