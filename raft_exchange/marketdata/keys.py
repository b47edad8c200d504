"""Every key that may be asked for, as the last event about it said: by id, by proof, by account."""

from __future__ import annotations

from typing import NamedTuple

from raft_exchange.matching.limits import KEYS_PER_ACCOUNT_MAX
from raft_exchange.matching.messages import ApiKey, Scope


class OwnedKey(NamedTuple):
    """A key and whose it is."""

    account: str
    key: ApiKey


class KeyRegister:
    """The keys of all accounts; bounded as they are in the exchange.

    `revocations` grows with every key that is kept as revoked.
    """

    def __init__(self) -> None:
        self._by_account: dict[str, dict[str, ApiKey]] = {}
        self._by_secret: dict[bytes, OwnedKey] = {}
        self._secrets: dict[str, bytes] = {}
        self.revocations = 0

    def keep(self, account: str, key: ApiKey) -> None:
        """Take over how a key stands now; an old revoked one makes room. O(keys of the account)."""
        keys = self._by_account.setdefault(account, {})
        if key.key_id not in keys and len(keys) >= KEYS_PER_ACCOUNT_MAX:
            oldest = next(one for one in keys.values() if one.revoked_at_us)
            del keys[oldest.key_id]
            del self._by_secret[oldest.secret], self._secrets[oldest.key_id]
        keys[key.key_id] = key
        self._by_secret[key.secret] = OwnedKey(account, key)
        self._secrets[key.key_id] = key.secret
        self.revocations += bool(key.revoked_at_us)

    def of(self, account: str) -> list[ApiKey]:
        """Return the keys of an account, oldest first."""
        return list(self._by_account.get(account, {}).values())

    def is_good(self, account: str, key_id: str) -> bool:
        """Say whether an account has a key of this id that is not revoked. O(1)."""
        key = self._by_account.get(account, {}).get(key_id)
        return key is not None and not key.revoked_at_us

    @property
    def has_admin(self) -> bool:
        """Whether any key that is not revoked has the scope `ADMIN`. O(keys)."""
        return any(
            key.scopes & Scope.ADMIN and not key.revoked_at_us
            for keys in self._by_account.values()
            for key in keys.values()
        )

    def by_id(self, key_id: str) -> OwnedKey | None:
        """Return the key of this id, good or revoked. O(1)."""
        secret = self._secrets.get(key_id)
        return None if secret is None else self._by_secret[secret]

    def by_secret(self, secret: bytes) -> OwnedKey | None:
        """Return the key that these 32 bytes prove, good or revoked. O(1)."""
        return self._by_secret.get(secret)
