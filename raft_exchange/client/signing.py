"""Signing requests instead of showing a key: what is signed stands in the description of the API.

A node that was given a bearer key could use it. Of a signed request it learns nothing that it
could use for another, and every replica verifies what it passes on.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SCHEME: Final = "raft-exchange-signed-1"
NONCE_BYTES: Final = 16
PRIVATE_MODE: Final = 0o600


class SigningKey:
    """An Ed25519 key pair, of which the exchange is told `public_key`."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def new(cls) -> Self:
        """Return a new key pair."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Return the key pair in a file: PEM, PKCS#8, without a password.

        Raises:
            ValueError: it cannot be read, or holds no such key.
        """
        name = os.fspath(path)
        try:
            private = load_pem_private_key(Path(name).read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"signing_key: cannot read {name!r}: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError(f"signing_key: {name!r} holds no Ed25519 key")
        return cls(private)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the key pair to a new file that only its owner may read.

        Raises:
            OSError: it exists, or cannot be written.
        """
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(path, new, PRIVATE_MODE), "wb") as file:
            file.write(pem)

    @property
    def public_key(self) -> str:
        """The public key as the exchange takes it: its 32 bytes in base64."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> str:
        """Return the signature over a message, in base64."""
        return base64.b64encode(self._private.sign(message)).decode()


class Signer:
    """Signs the requests of one key to one cluster."""

    def __init__(self, key: SigningKey, key_id: str) -> None:
        self._key = key
        self._key_id = key_id

    def headers(
        self, cluster_id: str, method: str, target: str, *, idempotency_key: str, body: bytes
    ) -> dict[str, str]:
        """Return the headers of a request that is signed now.

        Args:
            cluster_id: of the cluster that it is for.
            method: of the request.
            target: path and query, as they are sent.
            idempotency_key: "" for none.
            body: as it is sent.
        """
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        nonce, digest = secrets.token_hex(NONCE_BYTES), hashlib.sha256(body).hexdigest()
        lines = (cluster_id, method, target, timestamp, nonce, idempotency_key, digest)
        return {
            "X-Key-Id": self._key_id,
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Signature": self._key.sign("\n".join((SCHEME, *lines)).encode()),
        }
