"""Keeps Python's cycle collector away from the books.

A full collection looks at every object there is: at a million resting orders it held the loop for
two seconds, as often as the books had grown by a quarter. Nothing in the books is ever freed by it:
orders, entries and results go when the last reference goes. So whatever outlives a collection of
the young is put where no collection looks, which costs nothing (`gc.freeze` joins two lists).

The price: a cycle that becomes garbage only after that is never freed. Requests and connections,
good, bad and broken off, were measured to leave none; whoever drops a whole state breaks its links.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def spare_the_old() -> None:
    """From now on, put what outlives a collection out of the collector's sight. Idempotent."""
    if _freeze_survivors not in gc.callbacks:
        gc.callbacks.append(_freeze_survivors)


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
