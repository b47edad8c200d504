"""The cycle collector looks at the young only."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from raft_exchange import collector
from raft_exchange.matching.messages import CancelAll, CommandRefused, RejectCode, Side
from raft_exchange.sequencer.applied import Applied, Result
from raft_exchange.sequencer.codec import Request


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    callbacks, threshold = list(gc.callbacks), gc.get_threshold()
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_what_outlives_a_collection_is_not_looked_at_again() -> None:
    collector.spare_the_old()
    old = [[number] for number in range(1_000)]
    gc.collect(1)
    assert not any(found is old for found in gc.get_objects())
    assert len(old) == 1_000


def test_cycles_that_die_young_are_still_freed() -> None:
    collector.spare_the_old()
    gc.collect()
    ring: list[object] = []
    ring.append(ring)
    del ring
    assert gc.collect(0) >= 1


def test_sparing_twice_is_sparing_once() -> None:
    collector.spare_the_old()
    count = len(gc.callbacks)
    collector.spare_the_old()
    assert len(gc.callbacks) == count


def test_commands_events_and_results_are_never_looked_at() -> None:
    """They hold enumerations, which are looked at; so would they be, by themselves."""
    request = Request(CancelAll("ann", "BTC-USD", Side.BUY))
    refused = CommandRefused(RejectCode.UNKNOWN_KEY, "")
    result = Result(1, (refused,), 0, 0)
    applied = Applied(1, 1, 0, "n1", 1, 1, False, (result,))
    for one in (request, request.command, refused, result, applied):
        assert not gc.is_tracked(one), one


def test_at_rest_nothing_is_collected_and_all_of_it_is_spared() -> None:
    with collector.at_rest():
        assert not gc.isenabled()
        made = [[number] for number in range(1_000)]
    assert gc.isenabled()
    assert not any(found is made for found in gc.get_objects())


def test_what_a_collection_takes_is_counted() -> None:
    collector.spare_the_old()
    before = collector.PAUSES.buckets()[-1][1], collector.PAUSES.sum_s
    gc.collect()
    assert collector.PAUSES.buckets()[-1][1] >= before[0] + 1
    assert collector.PAUSES.sum_s > before[1]
