"""Which of the announced nodes gets the next call.

Theory of operation. A destination is `ip:port`. One that answers, even with an error, is healthy.
One that fails is avoided for a time that doubles with each failure in a row; after that time it
gets one call on trial, and an answer makes it healthy again. Among healthy ones the choice is: the
fewest calls in flight, then the least recently chosen, then chance. So calls in sequence go round
all nodes evenly, a slow node gets fewer, and clients that start together do not start at the same
node. When every one is avoided, the one whose time ends first is tried: never nothing.

The DHT cannot take an announcement back: a dead node is found for minutes after its end, so who
was seen failing must be remembered here.
"""

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

AVOID_S_MIN: Final = 1.0
AVOID_S_MAX: Final = 30.0
DESTINATIONS_MAX: Final = 1_024  # remembered; the least recently used are forgotten first
DESTINATIONS_PER_NAME_MAX: Final = 256  # a real grape gives at most 100

# 2 ** this is far above AVOID_S_MAX / AVOID_S_MIN, and no float overflows.
FAILURES_COUNTED_MAX: Final = 16


@dataclass(slots=True)
class _Record:
    """What is remembered of one destination."""

    in_flight: int = 0
    chosen_turn: int = 0
    failures: int = 0
    avoid_until_s: float = 0.0


class Destinations:
    """The health and the turn of every destination that was used."""

    def __init__(self, *, clock_s: Callable[[], float], rng: random.Random) -> None:
        self._clock_s = clock_s
        self._rng = rng
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._turn = 0

    def choose(self, candidates: Sequence[str], *, excluded: Collection[str] = ()) -> str:
        """The best of `candidates` (never empty); an `excluded` one only if all are. O(n)."""
        assert candidates, "there is a choice"
        open_to_choice = [each for each in candidates if each not in excluded] or candidates
        now_s = self._clock_s()
        return min(open_to_choice, key=lambda each: self._rank(each, now_s=now_s))

    def start(self, destination: str) -> None:
        """Note that a call goes to `destination`; `finish` must follow."""
        record = self._records.setdefault(destination, _Record())
        self._records.move_to_end(destination)
        self._turn += 1
        record.chosen_turn = self._turn
        record.in_flight += 1
        self._forget_unused()

    def finish(self, destination: str, *, healthy: bool | None) -> None:
        """Note how a call ended. `healthy` is None when it says nothing, as after cancellation."""
        record = self._records[destination]
        assert record.in_flight > 0, "every finish has its start"
        record.in_flight -= 1
        if healthy is None:
            return
        if healthy:
            record.failures = 0
            return
        record.failures = min(record.failures + 1, FAILURES_COUNTED_MAX)
        avoid_s = min(AVOID_S_MAX, AVOID_S_MIN * 2.0 ** (record.failures - 1))
        record.avoid_until_s = self._clock_s() + avoid_s

    def is_avoided(self, destination: str) -> bool:
        """Whether `destination` failed lately and is not due for a trial."""
        record = self._records.get(destination)
        return record is not None and self._avoided(record, now_s=self._clock_s())

    def _rank(self, destination: str, *, now_s: float) -> tuple[bool, float, int, float]:
        record = self._records.get(destination)
        chance = self._rng.random()
        if record is None:
            return (False, 0, 0, chance)
        if self._avoided(record, now_s=now_s):
            return (True, record.avoid_until_s, record.in_flight, chance)
        return (False, record.in_flight, record.chosen_turn, chance)

    @staticmethod
    def _avoided(record: _Record, *, now_s: float) -> bool:
        # A destination on trial gets one call at a time.
        return record.failures > 0 and (now_s < record.avoid_until_s or record.in_flight > 0)

    def _forget_unused(self) -> None:
        """Drop the least recently used records above the bound; one in use is never dropped."""
        excess = len(self._records) - DESTINATIONS_MAX
        if excess <= 0:
            return
        unused = [name for name, record in self._records.items() if record.in_flight == 0]
        for name in unused[:excess]:
            del self._records[name]


def usable_destinations(found: Any) -> tuple[str, ...]:
    """The entries of a grape's lookup answer that one can connect to, in its order, each once.

    A grape bound to `0.0.0.0` publishes that address: whoever called it would reach itself.
    """
    if not isinstance(found, list):
        return ()
    usable = dict.fromkeys(each for each in found if _is_usable(each))
    return tuple(usable)[:DESTINATIONS_PER_NAME_MAX]


def _is_usable(found: Any) -> bool:
    if not isinstance(found, str):
        return False
    host, _, port = found.rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    if address.is_unspecified or address.is_multicast:
        return False
    return port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) <= 65_535
