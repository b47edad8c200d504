"""Keeps Python's cycle collector away from the books.

A full collection looks at every object there is: at a million resting orders it held the loop for
two seconds, as often as the books had grown by a quarter. Nothing in the books is ever freed by it:
orders, entries and results go when the last reference goes. Commands, events and results, which
can be part of no cycle, it never sees (`gc=False`). So whatever outlives a collection of
the young is put where no collection looks, which costs nothing (`gc.freeze` joins two lists).

The price: a cycle that becomes garbage only after that is never freed. Requests and connections,
good, bad and broken off, were measured to leave none; whoever drops a whole state breaks its links.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from raft_exchange.metrics import APPLY_BUCKETS_S, Durations

YOUNG_OBJECTS_MAX: Final = 10_000
"""Objects made before the young are looked at. With Python's 700, a batch was looked at several
times while it was in use: 15 % of a node's time under load. Pauses stay at milliseconds."""
YOUNG_COLLECTIONS_MAX: Final = 2
"""Collections of the youngest before their survivors are looked at once more, and spared."""
PAUSES: Final = Durations(APPLY_BUCKETS_S)
"""How long collections held up this process, which has one collector, since `spare_the_old`."""


def spare_the_old() -> None:
    """From now on, put what outlives a collection out of the collector's sight. Idempotent."""
    gc.set_threshold(YOUNG_OBJECTS_MAX, YOUNG_COLLECTIONS_MAX)
    for callback in (_freeze_survivors, _stopwatch):
        if callback not in gc.callbacks:
            gc.callbacks.append(callback)


@contextmanager
def at_rest() -> Iterator[None]:
    """Collect nothing inside, where only what stays is made; afterwards spare all of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _freeze_survivors(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "stop" and info["generation"] > 0:
        gc.freeze()


class _Stopwatch:
    def __init__(self) -> None:
        self._began_s = time.perf_counter()

    def __call__(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        else:
            PAUSES.observe(time.perf_counter() - self._began_s)


_stopwatch: Final = _Stopwatch()
