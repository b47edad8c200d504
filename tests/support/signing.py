"""A trader who signs: written from gateway/DESIGN.md alone, with none of our code."""

from __future__ import annotations

import base64
import hashlib
import itertools
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_nonces = itertools.count(1)


def time_text(time_us: int) -> str:
    return (EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


class Signer:
    """Holds a private key, made from `seed`."""

    def __init__(self, key_id: str, *, cluster_id: str, seed: bytes = b"ann") -> None:
        self.key_id = key_id
        self.cluster_id = cluster_id
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())

    @property
    def public_key(self) -> bytes:
        return self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def headers(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        time_us: int,
        nonce: str = "",
        idempotency_key: str = "",
    ) -> dict[str, str]:
        """What a signed request carries."""
        nonce, timestamp = nonce or f"n{next(_nonces)}", time_text(time_us)
        digest = hashlib.sha256(body).hexdigest()
        lines = [self.cluster_id, method, target, timestamp, nonce, idempotency_key, digest]
        signature = self.sign("\n".join(["raft-exchange-signed-1", *lines]).encode())
        sent = {
            "X-Key-Id": self.key_id,
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Signature": base64.b64encode(signature).decode(),
        }
        return sent | ({"Idempotency-Key": idempotency_key} if idempotency_key else {})
