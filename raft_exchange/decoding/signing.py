"""What a signature is made over, and which signatures count.

A signed request is one whose sender proves, with an Ed25519 key registered for its account, that it
asked exactly this: the bytes of `signed_bytes` hold all that decides what the request does.

Rules of this file:

- No part can hold a line feed, so that two different requests never have the same bytes; that is
  checked by `Signable.is_formed`.
- Whether a signature is good must be the same on every replica. Libraries differ over signatures
  and keys that are not in the one form that RFC 8032 writes, and over keys of small order; those
  are refused here, before any library is asked.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from raft_exchange.decoding.fields import is_label
from raft_exchange.matching.limits import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    KEY_SECRET_BYTES,
    NONCE_BYTES_MAX,
    SIGNATURE_BYTES,
    SIGNED_BODY_BYTES_MAX,
    SIGNED_TARGET_BYTES_MAX,
)

SCHEME: Final = "raft-exchange-signed-1"
"""The first line of what is signed: which rules the others follow."""
_METHOD: Final = re.compile(r"[A-Z]{1,16}", re.ASCII)
_TARGET: Final = re.compile(r"/[!-~]*", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9A-Za-z:.+-]{1,40}", re.ASCII)

_FIELD_PRIME: Final = 2**255 - 19
_GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_HALF: Final = 32
_Y_MASK: Final = 2**255 - 1
_Y_OF_ORDER_8: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER_Y: Final = frozenset(
    {0, 1, _FIELD_PRIME - 1, _Y_OF_ORDER_8, _FIELD_PRIME - _Y_OF_ORDER_8}
)
"""The y of the eight points whose order divides 8."""


class Signable(NamedTuple):
    """A request, as far as it is signed.

    `target` is path and query as sent, `timestamp` and `nonce` are the texts of their headers,
    `idempotency_key` is empty for none, `body` is what is sent, before any compression.
    """

    method: str
    target: str
    timestamp: str
    nonce: str
    idempotency_key: str
    body: bytes

    @property
    def is_formed(self) -> bool:
        """Whether every part is within its bounds and has the form that `signed_bytes` needs."""
        key = self.idempotency_key
        return (
            _METHOD.fullmatch(self.method) is not None
            and len(self.target) <= SIGNED_TARGET_BYTES_MAX
            and _TARGET.fullmatch(self.target) is not None
            and _TIMESTAMP.fullmatch(self.timestamp) is not None
            and is_label(self.nonce, NONCE_BYTES_MAX)
            and (not key or is_label(key, IDEMPOTENCY_KEY_BYTES_MAX))
            and len(self.body) <= SIGNED_BODY_BYTES_MAX
        )


def signed_bytes(cluster_id: str, request: Signable) -> bytes:
    """Return what is signed: eight lines of ASCII, joined by line feeds, none at the end.

    The last line is the SHA-256 of the body in lower-case hex.
    """
    *parts, body = request
    return "\n".join((SCHEME, cluster_id, *parts, hashlib.sha256(body).hexdigest())).encode("ascii")


def is_public_key(key: bytes) -> bool:
    """Say whether these are the bytes of a public key that may sign: canonical, of no small order.

    Whether they are a point of the curve at all is for the library to say.
    """
    y = int.from_bytes(key, "little") & _Y_MASK
    return len(key) == KEY_SECRET_BYTES and y < _FIELD_PRIME and y not in _SMALL_ORDER_Y


def is_signature(signature: bytes) -> bool:
    """Say whether these are the bytes of a signature in its one canonical form."""
    point, scalar = signature[:_HALF], signature[_HALF:]
    return (
        len(signature) == SIGNATURE_BYTES
        and int.from_bytes(point, "little") & _Y_MASK < _FIELD_PRIME
        and int.from_bytes(scalar, "little") < _GROUP_ORDER
    )
