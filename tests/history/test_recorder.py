"""The recorder: the loop never waits, and what the file covers is what was applied."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raft_exchange.history import recorder as recording
from raft_exchange.history.recorder import Recorder
from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, positions
from raft_exchange.history.store import Store
from raft_exchange.sequencer.applied import Applied, Result
from tests.support.past import CLUSTER_ID, Past, trade_row

NOW_US = 1_700_000_000_000_000


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "WRITE_PAUSE_S", 0.0)
    monkeypatch.setattr(recording, "RETRY_S", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite3"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    recorder = Recorder(path, CLUSTER_ID, keep_us=0, now_us=lambda: NOW_US)
    yield recorder
    recorder.stop()


def record(path: Path, past: Past, *, start: int = 0) -> None:
    """Let a recorder of its own write what is applied after `start`, and stop it."""
    recorder = Recorder(path, CLUSTER_ID, keep_us=0, now_us=lambda: NOW_US)
    recorder.start(start)
    for entry in past.entries(3):
        if entry.results[0].sequence > start:
            recorder.applied(entry)
    recorder.stop()


def covered(path: Path) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the coverage, and the names of the rows from its begin on."""
    store = Store.open_to_read(path, CLUSTER_ID)
    page = store.page(1, limit=PAGE_ROWS_MAX)
    coverage = store.coverage()
    store.close()
    return coverage, positions(page.rows)


def test_what_was_applied_is_in_the_file_once_it_stopped(path: Path) -> None:
    past = Past(seed=5, sequences=99)
    record(path, past)
    assert covered(path) == ([(1, 99)], positions(past.rows))


def test_a_restart_that_replays_the_log_changes_nothing(path: Path) -> None:
    past = Past(seed=6, sequences=99)
    record(path, past)
    record(path, past)
    record(path, past, start=30)
    assert covered(path) == ([(1, 99)], positions(past.rows))


def test_a_page_nobody_waits_for_any_longer_is_left_out(path: Path, recorder: Recorder) -> None:
    past = Past(seed=7, sequences=20)
    first, second = past.pages(10)
    for _ in range(2 * recording.FILLS_WAITING_MAX):  # the disk hangs
        assert recorder.fill(first).cancel()
    wanted = recorder.fill(second)
    recorder.start(20)
    wanted.result(30)
    assert not wanted.cancel()
    for number in range(21, 31):
        event = trade_row(number, 0, trade_id=number).event
        recorder.applied(
            Applied(1, 1, NOW_US, "n1", 1, 1, False, (Result(number, (event,), 0, 0),))
        )
    recorder.stop()
    assert covered(path)[0] == [(11, 30)]


def test_replayed_results_leave_no_row(path: Path, recorder: Recorder) -> None:
    event = trade_row(1, 0, trade_id=1).event
    first, again = Result(1, (event,), 0, 0), Result(2, (event,), 1, NOW_US)
    recorder.start(0)
    recorder.applied(Applied(1, 1, NOW_US, "n1", 1, 1, False, (first, again)))
    recorder.stop()
    assert covered(path) == ([(1, 2)], [(1, 0)])


def test_a_jump_over_entries_leaves_a_hole_that_is_known(path: Path, recorder: Recorder) -> None:
    past = Past(seed=7, sequences=90)
    recorder.start(0)
    for entry in past.entries(3)[:10]:
        recorder.applied(entry)
    recorder.fill(Page(CLUSTER_ID, 1, 0, [])).result(10)  # all of that is written
    recorder.restored(60)
    for entry in past.entries(3)[20:]:
        recorder.applied(entry)
    recorder.fill(Page(CLUSTER_ID, 1, 0, [])).result(10)
    assert recorder.coverage == ((1, 30), (61, 90))
    assert recorder.hole() == (31, 60)
    assert recorder.figures().behind_sequences == 30
    recorder.fill(Page(CLUSTER_ID, 31, 60, past.between(31, 60))).result(10)
    recorder.fill(Page(CLUSTER_ID, 1, 0, [])).result(10)
    assert recorder.hole() is None
    recorder.stop()
    assert covered(path) == ([(1, 90)], positions(past.rows))


def test_a_file_that_blocks_costs_a_hole_and_never_a_wait(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "BACKLOG_ROWS_MAX", 50)
    is_open, goes_on = threading.Event(), threading.Event()
    write = Store.write

    def slow(store: Store, page: Page) -> None:
        is_open.set()
        assert goes_on.wait(30)
        write(store, page)

    monkeypatch.setattr(Store, "write", slow)
    past = Past(seed=8, sequences=600)
    recorder = Recorder(path, CLUSTER_ID, keep_us=0, now_us=lambda: NOW_US)
    recorder.start(0)
    entries = past.entries(3)
    recorder.applied(entries[0])
    assert is_open.wait(30)
    for entry in entries[1:]:
        recorder.applied(entry)  # would wait for ever if it waited
        assert recorder.figures().rows_waiting <= 50
    dropped = recorder.figures().rows_dropped
    goes_on.set()
    recorder.stop()
    (_, first_end), (second, end) = covered(path)[0]
    assert (first_end, end) == (3, 600)
    assert dropped == len(past.between(4, second - 1)) > 0


def test_a_failing_file_is_tried_again_until_it_takes_everything(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = Store.write, [sqlite3.OperationalError("disk I/O error")] * 3

    def failing(store: Store, page: Page) -> None:
        if failures:
            raise failures.pop()
        write(store, page)

    monkeypatch.setattr(Store, "write", failing)
    past = Past(seed=9, sequences=60)
    recorder = Recorder(path, CLUSTER_ID, keep_us=0, now_us=lambda: NOW_US)
    recorder.start(0)
    for entry in past.entries(3):
        recorder.applied(entry)
    page = Page(CLUSTER_ID, 1, 0, [])
    for _ in range(3):
        recorder.fill(page).exception(10)
    recorder.stop()
    assert recorder.figures().failures == 3
    assert covered(path) == ([(1, 60)], positions(past.rows))


def test_a_damaged_file_is_set_aside_and_history_goes_on(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)
    past = Past(seed=10, sequences=30)
    recorder = Recorder(path, CLUSTER_ID, keep_us=0, now_us=lambda: NOW_US)
    recorder.start(0)
    for entry in past.entries(3):
        recorder.applied(entry)
    recorder.fill(Page(CLUSTER_ID, 1, 0, [])).result(10)
    recorder.stop()
    assert covered(path) == ([(1, 30)], positions(past.rows))
    assert path.with_name(f"{path.name}.damaged-{NOW_US}").read_bytes()[:11] == b"no database"


def test_what_is_older_than_told_goes_and_is_no_hole(path: Path) -> None:
    recorder = Recorder(path, CLUSTER_ID, keep_us=10, now_us=lambda: 100)
    results = tuple(Result(i, (trade_row(i, 0, trade_id=i).event,), 0, 0) for i in range(1, 6))
    recorder.start(0)
    for number, result in enumerate(results, 1):
        time_us = 80 + 5 * number  # 85, 90, 95, 100, 105: kept from 90 on
        recorder.applied(Applied(number, 1, time_us, "n1", 1, number, False, (result,)))
    recorder.fill(Page(CLUSTER_ID, 1, 0, [])).result(10)
    recorder.stop()
    store = Store.open(path, CLUSTER_ID)
    store.expire(90)
    assert store.coverage() == [(2, 5)]
    store.close()
