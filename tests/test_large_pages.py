"""Memory in large pages: what is asked for is given, and nothing is asked where it would harm."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from raft_exchange.large_pages import (
    AREA_BYTES,
    LargePages,
    are_allowed,
    has_child,
    mappings,
    pieces,
)

MIB = 1024 * 1024
HELD_BYTES = 64 * MIB
Alone = Callable[..., object]


@pytest.fixture(name="alone")
def _alone() -> Iterator[Alone]:
    """Return what runs a function in a process of its own, which has no child."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda function, *given: pool.submit(function, *given).result(timeout=60)


def large_bytes() -> int:
    found = re.search(r"AnonHugePages:\s*(\d+) kB", Path("/proc/self/smaps_rollup").read_text())
    assert found is not None
    return int(found[1]) * 1024


def gained_by_asking(worth_bytes: int) -> tuple[int, bool]:
    """Return how many bytes more stand in large pages, and whether all is as it was."""
    pattern = os.urandom(MIB)
    held = [bytearray(pattern) for _ in range(HELD_BYTES // MIB)]
    before = large_bytes()
    LargePages(worth_bytes=worth_bytes).ask()
    return large_bytes() - before, all(part == pattern for part in held)


def gained_beside_a_child() -> tuple[int, bool, bool]:
    """Return what asking gains while a child lives, and whether there is one then and after."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    gained, _ = gained_by_asking(0)
    has_one = has_child()
    os.close(writing)
    os.waitpid(child, 0)
    return gained, has_one, has_child()


def _can_collapse() -> bool:
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return are_allowed() and release >= (6, 1)


@pytest.mark.skipif(not _can_collapse(), reason="the system gives no large pages when told to")
def test_memory_stands_in_large_pages_after_asking_and_holds_what_it_held(alone: Alone) -> None:
    gained, is_unchanged = alone(gained_by_asking, 0)  # type: ignore[misc]
    assert gained > HELD_BYTES // 2
    assert is_unchanged


def test_a_small_process_is_left_alone(alone: Alone) -> None:
    assert alone(gained_by_asking, 100 * HELD_BYTES) == (0, True)


def test_nothing_is_asked_while_a_child_lives(alone: Alone) -> None:
    gained, has_one, has_one_after = alone(gained_beside_a_child)  # type: ignore[misc]
    assert (has_one, has_one_after) == (True, False)
    assert gained < HELD_BYTES // 8


def test_the_memory_of_this_process_is_seen() -> None:
    held = bytearray(HELD_BYTES)
    assert sum(end - start for start, end in mappings()) >= len(held)


@pytest.mark.parametrize("areas", [1, 2, 32])
def test_pieces_are_all_the_whole_areas_and_nothing_else(areas: int) -> None:
    start, end = 5 * AREA_BYTES - 4096, 12 * AREA_BYTES + 8192
    found = list(pieces(start, end, areas))
    assert (found[0].start, found[-1].stop) == (5 * AREA_BYTES, 12 * AREA_BYTES)
    assert all(one.stop == next.start for one, next in itertools.pairwise(found))
    assert all(len(piece) <= areas * AREA_BYTES for piece in found)
    assert not list(pieces(start, start + AREA_BYTES, areas))


def test_an_operators_never_is_obeyed(tmp_path: Path) -> None:
    enabled = tmp_path / "enabled"
    assert not are_allowed(enabled)
    enabled.write_text("always madvise [never]\n")
    assert not are_allowed(enabled)
    enabled.write_text("always [madvise] never\n")
    assert are_allowed(enabled)


def test_the_thread_ends_with_its_context() -> None:
    with LargePages() as pages:
        assert pages._thread.is_alive() == are_allowed()
    assert not pages._thread.is_alive()
