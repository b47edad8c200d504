"""Bounds in time: how often a stranger may fail, and how often the log may speak of it.

No clock of its own: any that does not go back will do. An address is what a stranger can
least cheaply change; an IPv6 host owns a whole /64, so that is the address there.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from raft_exchange.raft.handshake import Refusal

ADDRESSES_MAX: Final = 1_024
"""Addresses remembered; beyond it the one that failed longest ago is forgotten."""

LOG_BURST: Final = 20
LOG_LINES_PER_S: Final = 1.0

HELD_AGAINST_ADDRESS: Final = frozenset(
    {
        Refusal.GARBAGE,
        Refusal.WRONG_VERSION,
        Refusal.OUT_OF_TURN,
        Refusal.WRONG_CLUSTER,
        Refusal.WRONG_SECRET,
        Refusal.TIMEOUT,
        Refusal.CLOSED,
        Refusal.EVICTED,
    }
)
"""What counts as a failure. Whoever proved the secret is at most misconfigured."""


class TokenBucket:
    """`burst` tokens at first, refilled at `per_s`."""

    def __init__(self, burst: float, per_s: float, *, now_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = burst
        self._at_s = now_s

    def level(self, *, now_s: float) -> float:
        """Return how many tokens there are."""
        return min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)

    def take(self, *, now_s: float) -> bool:
        """Take one token; False if there is none."""
        self._tokens = self.level(now_s=now_s)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FailureLimiter:
    """Remembers which addresses failed the handshake lately. Bounded; every call is O(1)."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def failed(self, host: str, *, now_s: float) -> None:
        """Note a failure of that host."""
        source = _source(host)
        bucket = self._buckets.pop(source, None)
        if bucket is None:
            bucket = TokenBucket(self._burst, self._per_s, now_s=now_s)
            if len(self._buckets) >= ADDRESSES_MAX:
                self._buckets.popitem(last=False)
        bucket.take(now_s=now_s)
        self._buckets[source] = bucket

    def blocks(self, host: str, *, now_s: float) -> bool:
        """Return whether that host failed too often to be heard now."""
        bucket = self._buckets.get(_source(host))
        return bucket is not None and bucket.level(now_s=now_s) < 1


class BoundedLog:
    """Log lines that strangers can provoke: a burst, then few, and a count of those left out."""

    def __init__(self, logger: logging.Logger, *, clock_s: Callable[[], float]) -> None:
        self._logger = logger
        self._clock_s = clock_s
        self._bucket = TokenBucket(LOG_BURST, LOG_LINES_PER_S, now_s=clock_s())
        self._held_back = 0

    def write(self, level: int, text: str, *args: object) -> None:
        """Log `text % args`, or hold it back."""
        if not self._bucket.take(now_s=self._clock_s()):
            self._held_back += 1
            return
        if self._held_back:
            text += f" ({self._held_back} lines before this were held back)"
            self._held_back = 0
        self._logger.log(level, text, *args)


def _source(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
