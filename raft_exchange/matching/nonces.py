"""The memory by which no signature is taken twice.

A signature is good while its time is within `SIGNATURE_WINDOW_US` of the logged clock, and carries
a nonce of its signer's choice. A nonce that was used is remembered for as long as any signature
with it could still be good. Where there is no room nothing is forgotten: a request is refused.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from raft_exchange.matching.limits import NONCE_KEPT_US, NONCES_MAX


class UsedNonce(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A nonce that a key has used, and when by the logged clock."""

    key_id: str
    nonce: str
    used_at_us: int


class Nonces:
    """What was used lately, oldest first. Every operation is O(1), amortised."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    @property
    def is_full(self) -> bool:
        """Whether no other nonce can be remembered now."""
        return len(self._used) >= NONCES_MAX

    def has(self, key_id: str, nonce: str) -> bool:
        """Say whether the key has used this nonce lately."""
        return (key_id, nonce) in self._used

    def add(self, used: UsedNonce) -> None:
        """Remember a nonce that is used now."""
        assert not self.is_full
        assert (used.key_id, used.nonce) not in self._used, used
        self._used[used.key_id, used.nonce] = used.used_at_us

    def expire(self, *, now_us: int) -> None:
        """Forget the nonces with which no signature can be good any more."""
        while self._used:
            first = next(iter(self._used))
            if self._used[first] + NONCE_KEPT_US >= now_us:
                return
            del self._used[first]

    def entries(self) -> list[UsedNonce]:
        """Return what is remembered, oldest first: the canonical form. O(n)."""
        return [UsedNonce(*key, used_at_us) for key, used_at_us in self._used.items()]

    def check(self, *, now_us: int) -> None:
        """Assert every invariant. O(n)."""
        assert len(self._used) <= NONCES_MAX
        times = list(self._used.values())
        assert times == sorted(times), "logged time does not go back"
        assert not times or now_us - NONCE_KEPT_US <= times[0], "what cannot be used again is gone"
        assert not times or times[-1] <= now_us
