"""API keys: what proves who asks, part of the replicated state.

Rules of this file:

- A key belongs to one account; its id is unique in the exchange. What is kept of it is 32 bytes
  that prove it: the SHA-256 of a bearer key, or an Ed25519 public key.
- A request names the key that it was authorised by. Whether that key is good is decided when the
  request is applied, on every replica alike: what is sequenced behind a revocation is refused.
- Revoked keys are remembered, so that people can see when; an account's oldest revoked key makes
  room for a new one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import KEY_SECRET_BYTES, KEYS_MAX, KEYS_PER_ACCOUNT_MAX
from raft_exchange.matching.messages import (
    AdvanceTime,
    ApiKey,
    ChangeAccount,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    KeyKind,
    RejectCode,
    RevokeKey,
    Scope,
    Withdraw,
)

ADMIN_COMMANDS: Final = (
    AdvanceTime,
    ChangeAccount,
    ChangeMarket,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    RevokeKey,
    Withdraw,
)
"""What takes the scope `ADMIN`; every other command trades for its account."""

SCOPES_ALL: Final = int(Scope.READ | Scope.TRADE | Scope.ADMIN)


class HeldKey(NamedTuple):
    """A key and whose it is."""

    account: str
    key: ApiKey


class Keys:
    """Every key, by id, and each account's, oldest first.

    `signing_operators` counts the good keys that sign and have the scope `ADMIN`.
    """

    __slots__ = ("_by_account", "_by_id", "_ids_by_secret", "signing_operators")

    def __init__(self) -> None:
        self._by_id: dict[str, HeldKey] = {}
        self._by_account: dict[str, list[str]] = {}
        self._ids_by_secret: dict[bytes, str] = {}
        self.signing_operators = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, key_id: str) -> HeldKey | None:
        """Return the key of this id, good or revoked. O(1)."""
        return self._by_id.get(key_id)

    def of(self, account: str) -> list[ApiKey]:
        """Return the keys of an account, oldest first. O(keys of the account)."""
        return [self._by_id[key_id].key for key_id in self._by_account.get(account, ())]

    def refuse_new(self, command: CreateKey) -> CommandRefused | None:
        """Refuse a key that cannot be, is there already, or has no room."""
        if not is_name(command.key_id):
            return CommandRefused(RejectCode.BAD_FIELD, "key_id")
        if len(command.secret) != KEY_SECRET_BYTES:
            return CommandRefused(RejectCode.BAD_FIELD, "secret")
        if not 0 < command.scopes <= SCOPES_ALL:
            return CommandRefused(RejectCode.BAD_FIELD, "scopes")
        if command.key_id in self._by_id or command.secret in self._ids_by_secret:
            return CommandRefused(RejectCode.ALREADY_EXISTS, "key_id")
        own = self.of(command.account)
        if command.replaces and not any(_is_good(key, command.replaces) for key in own):
            return CommandRefused(RejectCode.UNKNOWN_KEY, "replaces")
        good = sum(not key.revoked_at_us for key in own) - bool(command.replaces)
        if good >= KEYS_PER_ACCOUNT_MAX or len(self._by_id) >= KEYS_MAX:
            return CommandRefused(RejectCode.LIMIT_REACHED, "key_id")
        return None

    def add(self, account: str, key: ApiKey) -> None:
        """Keep a key, the account's newest; its oldest revoked one makes room. O(its keys)."""
        assert key.key_id not in self._by_id, key.key_id
        assert key.secret not in self._ids_by_secret
        ids = self._by_account.setdefault(account, [])
        if len(ids) >= KEYS_PER_ACCOUNT_MAX:
            oldest = next(one for one in ids if self._by_id[one].key.revoked_at_us)
            ids.remove(oldest)
            del self._ids_by_secret[self._by_id.pop(oldest).key.secret]
        ids.append(key.key_id)
        self._by_id[key.key_id] = HeldKey(account, key)
        self._ids_by_secret[key.secret] = key.key_id
        self.signing_operators += _is_signing_operator(key)

    def revoke(self, key_id: str, time_us: int) -> ApiKey:
        """Make a good key worthless; return it as it stands now. O(1)."""
        held = self._by_id[key_id]
        assert not held.key.revoked_at_us, key_id
        self.signing_operators -= _is_signing_operator(held.key)
        key = replace(held.key, revoked_at_us=time_us)
        self._by_id[key_id] = HeldKey(held.account, key)
        return key

    def good(self, account: str, key_id: str) -> ApiKey | None:
        """Return the account's key of this id unless it is revoked. O(1)."""
        held = self._by_id.get(key_id)
        if held is None or held.account != account or held.key.revoked_at_us:
            return None
        return held.key

    def refuse(self, key_id: str, command: Command) -> CommandRefused | None:
        """Refuse what the key of this id does not authorise by now. O(1)."""
        held = self._by_id.get(key_id)
        if held is None or held.key.revoked_at_us:
            return CommandRefused(RejectCode.UNAUTHENTICATED, "key_id")
        if held.key.scopes & Scope.ADMIN:
            return None
        if isinstance(command, ADMIN_COMMANDS) or not held.key.scopes & Scope.TRADE:
            return CommandRefused(RejectCode.FORBIDDEN, "key_id")
        if command.account != held.account:
            return CommandRefused(RejectCode.FORBIDDEN, "account")
        return None

    def entries(self) -> list[tuple[str, list[ApiKey]]]:
        """Return each account's keys, by account, oldest first: canonical. O(n log n)."""
        return [(account, self.of(account)) for account in sorted(self._by_account)]

    def check(self) -> None:
        """Assert every invariant. O(n)."""
        assert len(self._by_id) <= KEYS_MAX
        listed = [key_id for ids in self._by_account.values() for key_id in ids]
        assert sorted(listed) == sorted(self._by_id), "a key is one account's"
        assert {key.secret: key.key_id for _, key in self._by_id.values()} == self._ids_by_secret
        keys = [key for _, key in self._by_id.values()]
        assert self.signing_operators == sum(map(_is_signing_operator, keys))
        for account, ids in self._by_account.items():
            assert 0 < len(ids) <= KEYS_PER_ACCOUNT_MAX
            assert all(self._by_id[key_id].account == account for key_id in ids)
        for key_id, (_, key) in self._by_id.items():
            assert key.key_id == key_id
            assert is_name(key_id)
            assert len(key.secret) == KEY_SECRET_BYTES
            assert 0 < key.scopes <= SCOPES_ALL
            assert key.created_at_us >= 0
            assert not key.revoked_at_us or key.revoked_at_us >= key.created_at_us


def _is_good(key: ApiKey, key_id: str) -> bool:
    return key.key_id == key_id and not key.revoked_at_us


def _is_signing_operator(key: ApiKey) -> bool:
    is_signing = key.kind is KeyKind.ED25519 and not key.revoked_at_us
    return is_signing and bool(key.scopes & Scope.ADMIN)
