"""The history file: what it says it covers is complete, and writing twice changes nothing."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, is_sound, positions
from raft_exchange.history.store import HistoryDamaged, Store
from tests.support.past import CLUSTER_ID, Past, order_row, trade_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path, CLUSTER_ID)
    yield store
    store.close()


def every_row(store: Store) -> list[tuple[int, int]]:
    """Read from the first covered sequence on, page by page."""
    found: list[tuple[int, int]] = []
    first = 1
    while (page := store.page(first, limit=7)).last >= page.first:
        assert is_sound(page)
        found += positions(page.rows)
        first = page.last + 1
    return found


def test_pages_give_back_every_row_once_in_order(store: Store) -> None:
    past = Past(seed=1, sequences=300)
    for page in past.pages(40):
        store.write(page)
    assert store.coverage() == [(1, 300)]
    assert every_row(store) == positions(past.rows)


def test_a_row_comes_back_as_it_was_written(store: Store) -> None:
    rows = [trade_row(5, 0, trade_id=1), order_row(5, 1, order_id=9)]
    store.write(Page(CLUSTER_ID, 1, 5, rows))
    assert store.page(1, limit=10).rows == rows


def test_writing_again_changes_nothing_in_whatever_order(store: Store) -> None:
    past = Past(seed=2, sequences=200)
    pages = past.pages(30)
    again = [*pages, *pages, *past.pages(11)]
    random.Random(3).shuffle(again)
    for page in again:
        store.write(page)
    assert store.coverage() == [(1, 200)]
    assert every_row(store) == positions(past.rows)


def test_coverage_shows_the_holes_and_heals_as_they_are_filled(store: Store) -> None:
    for first, last in ((1, 10), (21, 30), (41, 50)):
        store.write(Page(CLUSTER_ID, first, last, []))
    assert store.coverage() == [(1, 10), (21, 30), (41, 50)]
    store.write(Page(CLUSTER_ID, 11, 20, []))
    assert store.coverage() == [(1, 30), (41, 50)]
    store.write(Page(CLUSTER_ID, 25, 45, []))
    assert store.coverage() == [(1, 50)]


def test_a_page_begins_after_a_hole_and_ends_before_the_next(store: Store) -> None:
    for first, last in ((5, 10), (21, 30)):
        store.write(Page(CLUSTER_ID, first, last, [trade_row(first, 0, trade_id=first)]))
    assert (store.page(1, limit=9).first, store.page(1, limit=9).last) == (5, 10)
    assert (store.page(11, limit=9).first, store.page(11, limit=9).last) == (21, 30)
    assert store.page(31, limit=9) == Page(CLUSTER_ID, 31, 30, [])


def test_the_rows_of_one_command_are_never_parted(store: Store) -> None:
    many = [trade_row(2, index, trade_id=index + 1) for index in range(25)]
    store.write(Page(CLUSTER_ID, 1, 3, [*many, trade_row(3, 0, trade_id=99)]))
    first = store.page(1, limit=10)
    assert (first.last, len(first.rows)) == (2, 25)
    assert store.page(3, limit=10).last == 3


def test_a_write_that_fails_leaves_nothing_behind(store: Store) -> None:
    broken = trade_row(2, 0, trade_id=2**70)  # beyond what a column holds
    with pytest.raises(OverflowError):
        store.write(Page(CLUSTER_ID, 1, 2, [trade_row(1, 0, trade_id=1), broken]))
    assert store.coverage() == []
    assert store.trades("BTC-USD", before=None, limit=10) == []


def test_trades_of_a_market_come_newest_first_page_after_page(store: Store) -> None:
    rows = [trade_row(i, 0, trade_id=i) for i in range(1, 21)]
    other = trade_row(21, 0, trade_id=1, market="ETH-USD")
    store.write(Page(CLUSTER_ID, 1, 21, [*rows, other]))
    first = store.trades("BTC-USD", before=None, limit=5)
    then = store.trades("BTC-USD", before=16, limit=100)
    assert [*first, *then] == rows[::-1]


def test_trades_of_an_account_hold_both_sides_once_each(store: Store) -> None:
    rows = [
        trade_row(1, 0, trade_id=1, maker="ann", taker="bob"),
        trade_row(2, 0, trade_id=2, maker="bob", taker="ann"),
        trade_row(3, 0, trade_id=3, maker="ann", taker="ann"),
        trade_row(4, 0, trade_id=4, maker="bob", taker="cid"),
        trade_row(4, 1, trade_id=1, maker="ann", taker="cid", market="ETH-USD"),
    ]
    store.write(Page(CLUSTER_ID, 1, 4, rows))

    def of_ann(market: str | None = None, before: tuple[int, int] | None = None) -> list[object]:
        return list(store.trades_of("ann", market=market, before=before, limit=10))

    assert of_ann() == [rows[4], rows[2], rows[1], rows[0]]
    assert of_ann(market="BTC-USD") == [rows[2], rows[1], rows[0]]
    assert of_ann(before=(3, 0)) == [rows[1], rows[0]]


def test_finished_orders_come_by_id_within_the_bounds_asked_for(store: Store) -> None:
    rows = [order_row(i, 0, order_id=100 - i) for i in range(1, 50)]
    store.write(Page(CLUSTER_ID, 1, 50, rows))
    found = store.orders("ann", before=90, down_to=60, limit=100)
    assert [event.order.order_id for event in found] == list(range(89, 59, -1))
    assert store.orders("bob", before=None, down_to=0, limit=10) == []


def test_what_is_too_old_goes_a_bounded_number_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raft_exchange.history.store.EXPIRED_ROWS_MAX", 10)
    rows = [trade_row(i, 0, trade_id=i, time_us=i) for i in range(1, 41)]
    store.write(Page(CLUSTER_ID, 1, 40, rows))
    assert [store.expire(26) for _ in range(4)] == [10, 10, 5, 0]
    assert store.coverage() == [(26, 40)]
    assert store.floor() == 26
    assert every_row(store) == positions(rows[25:])


def test_clusters_in_one_file_do_not_mix(path: Path) -> None:
    for cluster_id in ("a" * 32, "b" * 32):
        store = Store.open(path, cluster_id)
        store.write(Page(cluster_id, 1, 1, [trade_row(1, 0, trade_id=1, market=cluster_id)]))
        assert [row.event.market for row in store.page(1, limit=9).rows] == [cluster_id]  # type: ignore[union-attr]
        store.close()


def test_a_reader_sees_whole_transactions_beside_the_writer(path: Path, store: Store) -> None:
    store.write(Page(CLUSTER_ID, 1, 1, [trade_row(1, 0, trade_id=1)]))
    reader = Store.open_to_read(path, CLUSTER_ID)
    store.write(Page(CLUSTER_ID, 2, 2, [trade_row(2, 0, trade_id=2)]))
    assert reader.coverage() == [(1, 2)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.write(Page(CLUSTER_ID, 3, 3, []))
    reader.close()


@pytest.mark.parametrize("garbage", [b"not a database at all" * 200, b"SQLite format 3\0" * 300])
def test_a_file_that_is_no_history_is_said_to_be_damaged(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    with pytest.raises(HistoryDamaged):
        Store.open(path, CLUSTER_ID)


def test_a_file_of_a_later_release_is_refused_by_its_format(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=2")
    db.close()
    with pytest.raises(HistoryDamaged, match="format 2; this release reads 1"):
        Store.open(path, CLUSTER_ID)


def test_a_page_of_the_greatest_size_is_allowed(store: Store) -> None:
    assert store.page(1, limit=PAGE_ROWS_MAX).rows == []
