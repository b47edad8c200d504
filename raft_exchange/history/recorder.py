"""From the applied entries to the history file, without ever holding up who applies them.

Theory of operation. The event loop puts the rows of each applied entry into a bounded backlog and
goes on. A thread of its own takes all of it, a few times a second, and writes it in one
transaction. Where the file is slow or fails, the backlog grows to its bound and is then dropped as
a whole: a hole in what is covered, which the file itself shows, and which `backfill` mends from a
peer. Trading never waits for history, and history never says that it has what it has not.

- `first..last` are the sequences that the backlog covers; they follow what was written before.
- What a restart replays from the log is written again, and changes nothing.
- Pages from peers go through the same thread: there is one writer.
- A damaged file is set aside under another name, and history begins anew.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from raft_exchange.history.rows import Page, Row, rows_of
from raft_exchange.history.store import HistoryDamaged, Interval, Store
from raft_exchange.metrics import HistoryFigures
from raft_exchange.sequencer.applied import Applied

BACKLOG_ROWS_MAX: Final = 100_000
WRITE_ROWS_MAX: Final = 10_000
"""Rows of one transaction."""
WRITE_PAUSE_S: Final = 0.2
RETRY_S: Final = 1.0
EXPIRE_PAUSE_S: Final = 10.0
STOP_S_MAX: Final = 5.0
FILLS_WAITING_MAX: Final = 4

logger = logging.getLogger(__name__)


class Recorder:
    """Writes one cluster's history into one file, from a thread of its own."""

    def __init__(
        self, path: Path, cluster_id: str, *, keep_us: int, now_us: Callable[[], int]
    ) -> None:
        self._path = path
        self._cluster_id = cluster_id
        self._keep_us = keep_us
        self._now_us = now_us
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_stopping = False
        self._rows: list[Row] = []
        self._first = self._last = 0
        self._fills: list[tuple[Page, Future[None]]] = []
        self._rows_written = self._rows_dropped = self._failures = 0
        self._coverage: tuple[Interval, ...] = ()
        self._floor = 1
        self._store: Store | None = None
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    # On the event loop ----------------------------------------------------------------------------

    def start(self, sequence: int) -> None:
        """Begin to write what is applied after `sequence`."""
        self._first, self._last = sequence + 1, sequence
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, within `STOP_S_MAX`, and close the file."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S_MAX)

    def applied(self, applied: Applied) -> None:
        """Take the rows of an applied entry. Never waits for more than a list to be swapped."""
        rows = rows_of(applied)
        sequence = applied.results[-1].sequence
        with self._lock:
            if len(self._rows) + len(rows) > BACKLOG_ROWS_MAX:
                self._rows_dropped += len(self._rows)
                self._rows = []
                self._first = self._last + 1
            self._rows += rows
            self._last = sequence
        if rows and not self._wake.is_set():
            self._wake.set()

    def restored(self, sequence: int) -> None:
        """Say that a snapshot jumped over entries, to `sequence`; what waits goes with them."""
        with self._lock:
            self._rows_dropped += len(self._rows)
            self._rows = []
            self._first, self._last = sequence + 1, sequence

    def fill(self, page: Page) -> Future[None]:
        """Have a page of a peer written; the future fails where it could not be.

        Cancelling the future before its turn takes the page back.
        """
        future: Future[None] = Future()
        with self._lock:
            # A disk that hangs for minutes must not let those pile up that nobody waits for.
            self._fills = [fill for fill in self._fills if not fill[1].cancelled()]
            assert len(self._fills) < FILLS_WAITING_MAX
            self._fills.append((page, future))
        self._wake.set()
        return future

    @property
    def last_sequence(self) -> int:
        """The last sequence that was applied here."""
        return self._last

    @property
    def coverage(self) -> tuple[Interval, ...]:
        """The sequences that the file covers, oldest first, as of the last write."""
        return self._coverage

    def hole(self) -> Interval | None:
        """Return the oldest sequences that were applied here, are to be kept and are not covered.

        None while there are none, or while nothing was written since the start.
        """
        expected = self._floor
        for first, last in self._coverage:
            if first > expected:
                return expected, first - 1
            expected = last + 1
        return None

    def figures(self) -> HistoryFigures:
        """Return the figures of this moment; those of `backfill` and `shipping` are zero."""
        covered = self._coverage
        behind = self._last + 1 - self._floor - sum(last + 1 - first for first, last in covered)
        return HistoryFigures(
            rows_written=self._rows_written,
            rows_dropped=self._rows_dropped,
            rows_waiting=len(self._rows),
            failures=self._failures,
            covered_from=covered[0][0] if covered else 0,
            covered_to=covered[-1][1] if covered else 0,
            behind_sequences=max(0, behind),
            pages_from_peers=0,
            shipped_to=0,
            shipping_failures=0,
        )

    # In the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        expire_at_s = time.monotonic()
        while True:
            is_last = self._is_stopping
            pause_s = WRITE_PAUSE_S
            try:
                self._write_all()
                if not is_last and time.monotonic() >= expire_at_s:
                    is_done = self._expire()
                    expire_at_s = time.monotonic() + (EXPIRE_PAUSE_S if is_done else 0)
            except (sqlite3.Error, HistoryDamaged, OSError) as error:
                self._failed(error)
                pause_s = RETRY_S
            if is_last:
                break
            self._wake.wait(EXPIRE_PAUSE_S)
            self._wake.clear()
            if not self._is_stopping:
                time.sleep(pause_s)  # let rows gather
        if self._store is not None:
            self._store.close()

    def _write_all(self) -> None:
        store = self._opened()
        while (page := self._next_page()) is not None:
            try:
                store.write(page)
            except BaseException:
                self._put_back(page)
                raise
            self._rows_written += len(page.rows)
        with self._lock:
            fills, self._fills = self._fills, []
        # Whoever asked may have given up: from here on a future can no longer be cancelled.
        fills = [fill for fill in fills if fill[1].set_running_or_notify_cancel()]
        for page, future in fills:
            try:
                store.write(page)
            except BaseException as error:
                future.set_exception(error)
                raise
            self._rows_written += len(page.rows)
        self._look(store)
        for _, future in fills:
            future.set_result(None)

    def _look(self, store: Store) -> None:
        self._coverage, self._floor = tuple(store.coverage()), store.floor()

    def _next_page(self) -> Page | None:
        """Take the oldest rows that wait, whole sequences of them."""
        with self._lock:
            if self._first > self._last:
                return None
            rows, first, last = self._rows, self._first, self._last
            if len(rows) > WRITE_ROWS_MAX:
                cut = rows[WRITE_ROWS_MAX].sequence
                keep = next(i for i, row in enumerate(rows) if row.sequence == cut)
                if keep:  # else one command fills more than a transaction, and goes alone
                    rows, last = rows[:keep], cut - 1
            self._rows = self._rows[len(rows) :]
            self._first = last + 1
            return Page(self._cluster_id, first, last, rows)

    def _put_back(self, page: Page) -> None:
        with self._lock:
            if page.last + 1 != self._first or len(page.rows) + len(self._rows) > BACKLOG_ROWS_MAX:
                self._rows_dropped += len(page.rows)  # what came meanwhile jumped over it
                return
            self._rows = page.rows + self._rows
            self._first = page.first

    def _expire(self) -> bool:
        """Delete some of what is too old; return whether that was all of it."""
        if not self._keep_us or not self._opened().expire(self._now_us() - self._keep_us):
            return True
        self._look(self._opened())
        self._wake.set()
        return False

    def _opened(self) -> Store:
        if self._store is None:
            self._store = Store.open(self._path, self._cluster_id)
        return self._store

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        logger.error("history: cannot write %s: %s; trying again", self._path, error)
        self._wake.set()
        if self._store is not None:
            self._store.close()
            self._store = None
        if isinstance(error, HistoryDamaged):
            self._set_aside()

    def _set_aside(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{self._now_us()}")
        logger.error("history: the damaged file is set aside as %s; a new one is begun", aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.rename(aside)
        self._coverage = ()
