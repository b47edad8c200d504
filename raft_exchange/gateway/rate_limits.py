"""How fast one sender may write: a token bucket of orders, and another of cancels, for each key.

Rules:
- Each request in a lane costs one token, a batch one for each of its orders, whatever becomes of
  it: a refusal and a repeat under an idempotency key cost as much. Orders and cancels over HTTP, on
  sockets and by Grenache draw on the same buckets.
- The bucket is the key's; where there are no keys, the account's. Nothing is limited by address:
  behind a proxy all traders have one, and a key of 256 bits is not guessed.
- Cancels have a larger bucket of their own, so that who has used up the orders can still get out.
- A batch of more than a whole bucket is let in when the bucket is full, and leaves it in debt.
- Buckets are this node's: who sends to three nodes has three.
- The answers tell how it stands in the fields of draft-ietf-httpapi-ratelimit-headers-09: the
  policy is `"orders";q=<burst>;w=<seconds in which an empty bucket fills>`, the standing
  `"orders";r=<tokens left>;t=<seconds until it is full>`.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from raft_exchange.decoding.errors import ErrorCode, Problem

HOLDERS_MAX: Final = 100_000
"""Buckets that are remembered in a lane; the longest unused is forgotten, and so full again."""
CANCELS_PER_ORDER: Final = 4
"""The bucket of cancels is so many times as large, and fills so many times as fast."""
_A_HAIR: Final = 1e-6  # of a token: sums of floats are not exact


class Lane(StrEnum):
    """What is counted together."""

    ORDERS = "orders"
    CANCELS = "cancels"


LANES: Final[Mapping[tuple[str, str], Lane]] = {
    ("POST", "/v1/orders"): Lane.ORDERS,
    ("POST", "/v1/orders/batch"): Lane.ORDERS,
    ("POST", "/v1/orders/oco"): Lane.ORDERS,
    ("POST", "/v1/orders/{order_id}/replace"): Lane.ORDERS,
    ("PATCH", "/v1/orders/{order_id}"): Lane.ORDERS,
    ("POST", "/order"): Lane.ORDERS,
    ("POST", "/v1/cancel-after"): Lane.CANCELS,
    ("DELETE", "/v1/orders/{order_id}"): Lane.CANCELS,
    ("DELETE", "/v1/orders/by-client-id/{client_order_id}"): Lane.CANCELS,
    ("DELETE", "/v1/orders"): Lane.CANCELS,
    ("DELETE", "/order/{order_id}"): Lane.CANCELS,
}
"""The routes that are limited, by method and template."""


class Limit(NamedTuple):
    """How many tokens come in a second (0: no limit), and how many a bucket holds."""

    rate_per_s: int
    burst: int


NO_LIMIT: Final = Limit(0, 1)


class Buckets:
    """One token bucket for each holder; those never seen are full.

    Kept of each is only when it will be full again: what is missing follows from the rate.
    """

    def __init__(self, limit: Limit, *, holders_max: int = HOLDERS_MAX) -> None:
        assert limit.rate_per_s > 0, limit
        assert limit.burst > 0, limit
        self.limit = limit
        self._holders_max = holders_max
        self._full_at_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at_s)

    def tokens(self, holder: tuple[str, str], *, now_s: float) -> float:
        """Return what is in a bucket; less than nothing where it is in debt. O(1)."""
        missing_s = max(0.0, self._full_at_s.get(holder, now_s) - now_s)
        return self.limit.burst - missing_s * self.limit.rate_per_s

    def take(self, holder: tuple[str, str], cost: int, *, now_s: float, taken: int = 0) -> float:
        """Take `cost` tokens and return 0; or take none and return the seconds to wait. O(1).

        `taken` are those that went before for the same: all together need at most a full bucket.
        """
        missing = min(cost, self.limit.burst - taken) - self.tokens(holder, now_s=now_s)
        if missing > _A_HAIR:
            return missing / self.limit.rate_per_s
        full_at_s = max(now_s, self._full_at_s.pop(holder, now_s))
        self._full_at_s[holder] = full_at_s + cost / self.limit.rate_per_s
        if len(self._full_at_s) > self._holders_max:
            self._full_at_s.popitem(last=False)
        return 0.0


class RateLimits:
    """The buckets of one node; `refused` counts by lane.

    Args:
        orders: the limit of orders; that of cancels follows from it.
        now_s: a clock that only goes forward.
    """

    def __init__(
        self, orders: Limit = NO_LIMIT, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.refused: dict[str, int] = dict.fromkeys(map(str, Lane), 0)
        self._now_s = now_s
        self._buckets: dict[Lane, Buckets] = {}
        if orders.rate_per_s:
            cancels = Limit(*(CANCELS_PER_ORDER * count for count in orders))
            self._buckets = {Lane.ORDERS: Buckets(orders), Lane.CANCELS: Buckets(cancels)}

    @property
    def use(self) -> float:
        """How much of the bound of remembered buckets is used, in the fuller lane."""
        return max(map(len, self._buckets.values()), default=0) / HOLDERS_MAX

    def charge(self, lane: Lane, account: str, key_id: str) -> None:
        """Let one request of a key pass, or of an account where there are no keys.

        Raises:
            Problem: `rate_limited`.
        """
        self._charge(lane, (account, key_id), 1, taken=0)

    def charge_rest(self, lane: Lane, account: str, key_id: str, *, count: int) -> None:
        """Let what is in a request pass: `count` orders, of which `charge` let one.

        Raises:
            Problem: `rate_limited`; nothing more was taken.
        """
        if count > 1:
            self._charge(lane, (account, key_id), count - 1, taken=1)

    def _charge(self, lane: Lane, holder: tuple[str, str], cost: int, *, taken: int) -> None:
        buckets = self._buckets.get(lane)
        if buckets is None:
            return
        wait_s = buckets.take(holder, cost, now_s=self._now_s(), taken=taken)
        if wait_s:
            self.refused[lane] += 1
            rate_per_s, burst = buckets.limit
            seconds = math.ceil(wait_s)
            problem = Problem(
                ErrorCode.RATE_LIMITED,
                f"too many {lane} in too short a time; try again in {seconds} s",
                allowed=f"{rate_per_s} {lane} a second, up to {burst} at once, at each node",
            )
            problem.headers["Retry-After"] = str(seconds)
            raise problem

    def headers(self, lane: Lane, account: str, key_id: str) -> dict[str, str]:
        """Return the fields of an answer that tell how a bucket stands; none without a limit."""
        buckets = self._buckets.get(lane)
        if buckets is None:
            return {}
        rate_per_s, burst = buckets.limit
        tokens = buckets.tokens((account, key_id), now_s=self._now_s())
        left = max(0, math.floor(tokens + _A_HAIR))
        full_in_s = math.ceil((burst - tokens) / rate_per_s - _A_HAIR)
        return {
            "RateLimit-Policy": f'"{lane}";q={burst};w={math.ceil(burst / rate_per_s)}',
            "RateLimit": f'"{lane}";r={left};t={full_in_s}',
        }
