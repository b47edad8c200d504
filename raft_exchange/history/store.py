"""The node's history file: SQLite, written by one thread, read by another.

Rules of this file:

- One transaction writes rows and says which sequences are now covered. So what is covered is
  complete, whatever moment the process or the machine stopped at (`synchronous=FULL`).
- Rows are named by (cluster, sequence, index) and written with `OR IGNORE`: writing again what
  stands there changes nothing, and costs no more than finding it.
- Coverage is a set of disjoint closed intervals of sequences that do not touch. More than one
  means that there is a hole: the writer fell behind, or a snapshot jumped over entries.
- Retention cuts whole sequences off the old end, a bounded number of rows at a time.

The event of a row is kept as the msgpack of the log's own vocabulary, which only ever grows by
appended fields; the columns beside it are what is searched by, and what people like to query.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, Row
from raft_exchange.matching.messages import OrderEnded, TradeExecuted

BUSY_TIMEOUT_MS: Final = 5_000
EXPIRED_ROWS_MAX: Final = 5_000
"""Rows that one call of `expire` deletes at most."""
WAL_BYTES_MAX: Final = 16 * 1024 * 1024
"""SQLite shortens its write-ahead file to this after a checkpoint."""

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE clusters (
  cluster INTEGER PRIMARY KEY, cluster_id TEXT NOT NULL UNIQUE, floor INTEGER NOT NULL DEFAULT 1);
CREATE TABLE coverage (
  cluster INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (cluster, first)) WITHOUT ROWID;
CREATE TABLE trades (
  cluster INTEGER NOT NULL, sequence INTEGER NOT NULL, idx INTEGER NOT NULL,
  time_us INTEGER NOT NULL, market TEXT NOT NULL, trade_id INTEGER NOT NULL,
  maker_account TEXT NOT NULL, taker_account TEXT NOT NULL, event BLOB NOT NULL,
  PRIMARY KEY (cluster, sequence, idx)) WITHOUT ROWID;
CREATE INDEX trades_by_market ON trades (cluster, market, trade_id);
CREATE INDEX trades_by_maker ON trades (cluster, maker_account, sequence, idx);
CREATE INDEX trades_by_taker ON trades (cluster, taker_account, sequence, idx);
CREATE TABLE orders (
  cluster INTEGER NOT NULL, sequence INTEGER NOT NULL, idx INTEGER NOT NULL,
  time_us INTEGER NOT NULL, order_id INTEGER NOT NULL, account TEXT NOT NULL,
  market TEXT NOT NULL, client_order_id TEXT NOT NULL, status INTEGER NOT NULL,
  event BLOB NOT NULL,
  PRIMARY KEY (cluster, sequence, idx)) WITHOUT ROWID;
CREATE INDEX orders_by_account ON orders (cluster, account, order_id);
"""
_TRADE: Final = "INSERT OR IGNORE INTO trades VALUES (?,?,?,?,?,?,?,?,?)"
_ORDER: Final = "INSERT OR IGNORE INTO orders VALUES (?,?,?,?,?,?,?,?,?,?)"
_PAGE: Final = """
SELECT sequence, idx, time_us, event FROM (
  SELECT sequence, idx, time_us, event FROM trades
    WHERE cluster = ?1 AND sequence BETWEEN ?2 AND ?3
  UNION ALL
  SELECT sequence, idx, time_us, event FROM orders
    WHERE cluster = ?1 AND sequence BETWEEN ?2 AND ?3)
ORDER BY sequence, idx LIMIT ?4
"""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(TradeExecuted | OrderEnded).decode

Interval = tuple[int, int]


class HistoryDamaged(Exception):
    """The file is no history of this format; the message says what is wrong."""


class Store:
    """The history of one cluster in one SQLite file. Not for more than one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, cluster: int, cluster_id: str) -> None:
        self._db = connection
        self._cluster = cluster
        self.cluster_id = cluster_id

    @classmethod
    def open(cls, path: Path, cluster_id: str) -> Store:
        """Return the store for writing; the file is made where it is missing.

        Raises:
            HistoryDamaged: not a history of this format.
            sqlite3.Error: storage failed.
        """
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
        try:
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                f"journal_size_limit={WAL_BYTES_MAX}",
            ):
                db.execute(f"PRAGMA {pragma}")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT")
            elif version != SCHEMA_VERSION:
                raise HistoryDamaged(f"format {version}; this release reads {SCHEMA_VERSION}")
            db.execute("INSERT OR IGNORE INTO clusters (cluster_id) VALUES (?)", (cluster_id,))
            return cls(db, _cluster_number(db, cluster_id), cluster_id)
        except BaseException as error:
            db.close()
            _tell_damage(error)
            raise

    @classmethod
    def open_to_read(cls, path: Path, cluster_id: str) -> Store:
        """Return the store for reading beside its writer.

        Raises:
            sqlite3.Error: there is none, or storage failed.
        """
        uri = path.absolute().as_uri() + "?mode=ro"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
        try:
            return cls(db, _cluster_number(db, cluster_id), cluster_id)
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def interrupt(self) -> None:
        """End the query that runs now; the only method that another thread may call."""
        self._db.interrupt()

    # Writing --------------------------------------------------------------------------------------

    def write(self, page: Page) -> None:
        """Write rows and what they cover, all or nothing. O(rows log file).

        Raises:
            HistoryDamaged: the file is damaged.
            sqlite3.Error: storage failed; nothing was written.
        """
        assert page.cluster_id == self.cluster_id, (page.cluster_id, self.cluster_id)
        trades, orders = self._columns(page.rows)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_TRADE, trades)
            self._db.executemany(_ORDER, orders)
            if page.last >= page.first:
                self._cover(page.first, page.last)
            self._db.execute("COMMIT")
        except BaseException as error:
            self._undo(error)
            raise

    def _undo(self, error: BaseException) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        _tell_damage(error)

    def _columns(self, rows: Sequence[Row]) -> tuple[list[tuple[object, ...]], ...]:
        trades: list[tuple[object, ...]] = []
        orders: list[tuple[object, ...]] = []
        for row in rows:
            name = (self._cluster, row.sequence, row.index, row.time_us)
            event = row.event
            blob = _encode(event)
            if isinstance(event, TradeExecuted):
                accounts = (event.maker_account, event.taker_account)
                trades.append((*name, event.market, event.trade_id, *accounts, blob))
            else:
                order = event.order
                orders.append(
                    (
                        *(*name, order.order_id, order.account, order.market),
                        *(order.client_order_id, int(order.status), blob),
                    )
                )
        return trades, orders

    def _cover(self, first: int, last: int) -> None:
        """Unite [first, last] with what it overlaps or touches."""
        touched = self._db.execute(
            "SELECT first, last FROM coverage WHERE cluster = ? AND first <= ? AND last >= ?",
            (self._cluster, last + 1, first - 1),
        ).fetchall()
        for known, _ in touched:
            self._db.execute(
                "DELETE FROM coverage WHERE cluster = ? AND first = ?", (self._cluster, known)
            )
        first = min([first, *(known for known, _ in touched)])
        last = max([last, *(known for _, known in touched)])
        self._db.execute("INSERT INTO coverage VALUES (?, ?, ?)", (self._cluster, first, last))

    def expire(self, before_us: int) -> int:
        """Delete rows logged before a time, the oldest first; return how many.

        At most about `EXPIRED_ROWS_MAX`, never a part of a sequence; the covered sequences
        begin after them.
        """
        covered = self.coverage()
        if not covered:
            return 0
        old = self._db.execute(
            "SELECT sequence, time_us FROM ("
            "SELECT sequence, time_us FROM trades WHERE cluster = ?1 UNION ALL "
            "SELECT sequence, time_us FROM orders WHERE cluster = ?1) "
            "ORDER BY sequence LIMIT ?2",
            (self._cluster, EXPIRED_ROWS_MAX),
        ).fetchall()
        expired = [sequence for sequence, time_us in old if time_us < before_us]
        if not expired:
            return 0
        until = max(expired)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            deleted = 0
            for table in ("trades", "orders"):
                deleted += self._db.execute(
                    f"DELETE FROM {table} WHERE cluster = ? AND sequence <= ?",
                    (self._cluster, until),
                ).rowcount
            self._uncover(covered, until)
            floor = (until + 1, self._cluster)
            self._db.execute("UPDATE clusters SET floor = ? WHERE cluster = ?", floor)
            self._db.execute("COMMIT")
        except BaseException as error:
            self._undo(error)
            raise
        return deleted

    def _uncover(self, covered: Sequence[Interval], until: int) -> None:
        for first, last in covered:
            if first > until:
                break
            self._db.execute(
                "DELETE FROM coverage WHERE cluster = ? AND first = ?", (self._cluster, first)
            )
            if last > until:
                row = (self._cluster, until + 1, last)
                self._db.execute("INSERT INTO coverage VALUES (?, ?, ?)", row)

    # Reading --------------------------------------------------------------------------------------

    def coverage(self) -> list[Interval]:
        """Return the covered sequences, oldest first; more than one interval means a hole."""
        return self._db.execute(
            "SELECT first, last FROM coverage WHERE cluster = ? ORDER BY first", (self._cluster,)
        ).fetchall()

    def floor(self) -> int:
        """Return the first sequence that is to be kept; what is older was deleted on purpose."""
        found = self._db.execute("SELECT floor FROM clusters WHERE cluster = ?", (self._cluster,))
        (floor,) = found.fetchone()
        return int(floor)

    def page(self, first: int, *, limit: int) -> Page:
        """Return the rows from the first covered sequence at or after `first`, about `limit`.

        Whole sequences only: one command's rows may go beyond `limit`, as far as its bounds let
        it. Where nothing is covered from there on, the page covers nothing.
        """
        assert 1 <= limit <= PAGE_ROWS_MAX, limit
        self._db.execute("BEGIN")  # coverage and rows of one moment
        try:
            found = next(((max(first, a), b) for a, b in self.coverage() if b >= first), None)
            if found is None:
                return Page(self.cluster_id, first, first - 1, [])
            first, last = found
            rows = self._rows(first, last, limit + 1)
            if len(rows) > limit:
                cut = rows[limit].sequence
                if cut == rows[0].sequence:  # one command fills more than the page
                    rows, last = self._rows(cut, cut, -1), cut
                else:
                    rows = [row for row in rows if row.sequence < cut]
                    last = cut - 1
            return Page(self.cluster_id, first, last, rows)
        finally:
            self._db.execute("COMMIT")

    def _rows(self, first: int, last: int, limit: int) -> list[Row]:
        found = self._db.execute(_PAGE, (self._cluster, first, last, limit))
        return [Row(sequence, idx, time, _decode(event)) for sequence, idx, time, event in found]

    def trades(self, market: str, *, before: int | None, limit: int) -> list[Row]:
        """Return trades of a market, newest first, of those older than trade id `before`."""
        found = self._db.execute(
            "SELECT sequence, idx, time_us, event FROM trades WHERE cluster = ? AND market = ? "
            "AND trade_id < ? ORDER BY trade_id DESC LIMIT ?",
            (self._cluster, market, _below(before), limit),
        )
        return [Row(sequence, idx, time, _decode(event)) for sequence, idx, time, event in found]

    def trades_of(
        self, account: str, *, market: str | None, before: Interval | None, limit: int
    ) -> list[Row]:
        """Return trades of an account, newest first, of those before `(sequence, index)`."""
        place = before or (2**63 - 1, 0)
        parts = []
        for column, other in (("maker_account", ""), ("taker_account", "AND maker_account <> ?2")):
            parts.append(
                "SELECT * FROM (SELECT sequence, idx, time_us, event FROM trades "
                f"WHERE cluster = ?1 AND {column} = ?2 {other} "
                "AND (sequence, idx) < (?3, ?4) AND (?5 IS NULL OR market = ?5) "
                "ORDER BY sequence DESC, idx DESC LIMIT ?6)"
            )
        found = self._db.execute(
            " UNION ALL ".join(parts) + " ORDER BY sequence DESC, idx DESC LIMIT ?6",
            (self._cluster, account, *place, market, limit),
        )
        return [Row(sequence, idx, time, _decode(event)) for sequence, idx, time, event in found]

    def orders(
        self, account: str, *, before: int | None, down_to: int, limit: int
    ) -> list[OrderEnded]:
        """Return finished orders, newest id first, of the ids from below `before` to `down_to`."""
        found = self._db.execute(
            "SELECT event FROM orders WHERE cluster = ? AND account = ? AND order_id < ? "
            "AND order_id >= ? ORDER BY order_id DESC LIMIT ?",
            (self._cluster, account, _below(before), down_to, limit),
        )
        ended = [_decode(event) for (event,) in found]
        return [event for event in ended if isinstance(event, OrderEnded)]


def _below(before: int | None) -> int:
    return 2**63 - 1 if before is None else min(before, 2**63 - 1)


def _cluster_number(db: sqlite3.Connection, cluster_id: str) -> int:
    found = db.execute("SELECT cluster FROM clusters WHERE cluster_id = ?", (cluster_id,))
    (number,) = found.fetchone()
    return int(number)


def _tell_damage(error: BaseException) -> None:
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode in damage:
        raise HistoryDamaged(str(error)) from error
