"""From the history file to PostgreSQL: the leader ships what the database does not have yet.

Theory of operation. Every node has its own file, so a database that is slow, down or restored from
a backup costs nothing but the time to catch up from there. The database says up to which sequence
it is complete (`complete_to`, in the transaction that brings the rows); whoever leads goes on from
there. Rows are named by (cluster_id, sequence, idx) and inserted with `ON CONFLICT DO NOTHING`, so
two nodes that both think they lead write the same rows once.

It runs in a thread with an event loop of its own: encoding rows must not delay orders.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg

from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, Row
from raft_exchange.history.store import Store
from raft_exchange.matching.messages import OrderEnded, TradeExecuted

LOOK_S: Final = 0.2
RETRY_S: Final = 1.0
STATEMENT_S_MAX: Final = 10.0
STOP_S_MAX: Final = 3.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=200)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS raft_exchange_progress (
  cluster_id text PRIMARY KEY, complete_to bigint NOT NULL);
CREATE TABLE IF NOT EXISTS raft_exchange_trades (
  cluster_id text NOT NULL, sequence bigint NOT NULL, idx integer NOT NULL,
  time timestamptz NOT NULL, market text NOT NULL, trade_id bigint NOT NULL,
  price numeric NOT NULL, quantity numeric NOT NULL, taker_side text NOT NULL,
  maker_order_id bigint NOT NULL, taker_order_id bigint NOT NULL,
  maker_account text NOT NULL, taker_account text NOT NULL,
  PRIMARY KEY (cluster_id, sequence, idx));
CREATE INDEX IF NOT EXISTS raft_exchange_trades_by_market
  ON raft_exchange_trades (cluster_id, market, trade_id);
CREATE TABLE IF NOT EXISTS raft_exchange_orders (
  cluster_id text NOT NULL, sequence bigint NOT NULL, idx integer NOT NULL,
  time timestamptz NOT NULL, order_id bigint NOT NULL, account text NOT NULL,
  market text NOT NULL, client_order_id text NOT NULL, side text NOT NULL, type text NOT NULL,
  status text NOT NULL, price numeric, quantity numeric NOT NULL,
  filled_quantity numeric NOT NULL, filled_value numeric NOT NULL, created_at timestamptz NOT NULL,
  PRIMARY KEY (cluster_id, sequence, idx));
CREATE INDEX IF NOT EXISTS raft_exchange_orders_by_account
  ON raft_exchange_orders (cluster_id, account, order_id);
CREATE OR REPLACE VIEW raft_exchange_fills AS
  SELECT cluster_id, sequence, idx, time, market, trade_id, price, quantity,
    maker_account AS account, maker_order_id AS order_id, 'maker' AS liquidity
    FROM raft_exchange_trades
  UNION ALL
  SELECT cluster_id, sequence, idx, time, market, trade_id, price, quantity,
    taker_account, taker_order_id, 'taker' FROM raft_exchange_trades;
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('raft_exchange schema'))"
_TRADE: Final = (
    "INSERT INTO raft_exchange_trades VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) "
    "ON CONFLICT DO NOTHING"
)
_ORDER: Final = (
    "INSERT INTO raft_exchange_orders VALUES "
    "($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16) ON CONFLICT DO NOTHING"
)
_PROGRESS: Final = (
    "INSERT INTO raft_exchange_progress VALUES ($1, $2) ON CONFLICT (cluster_id) DO UPDATE "
    "SET complete_to = greatest(raft_exchange_progress.complete_to, excluded.complete_to)"
)

Sizes = Callable[[str], tuple[int, int]]
"""Tick and lot size of a market, in units of 10^-18."""

logger = logging.getLogger(__name__)


class Shipping:
    """Keeps a PostgreSQL database complete while `is_leader` says so."""

    def __init__(
        self, url: str, path: Path, cluster_id: str, *, sizes: Sizes, is_leader: Callable[[], bool]
    ) -> None:
        self._url = url
        self._path = path
        self._cluster_id = cluster_id
        self._sizes = sizes
        self._is_leader = is_leader
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="history-shipping", daemon=True)
        self.complete_to = 0
        self.rows = 0
        self.failures = 0

    def start(self) -> None:
        """Begin to ship."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present transaction, within `STOP_S_MAX`."""
        self._is_stopping = True
        if self._thread.ident is not None:
            self._thread.join(STOP_S_MAX)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._keep_shipping())

    async def _keep_shipping(self) -> None:
        while not self._is_stopping:
            try:
                if self._is_leader():
                    await self._ship()
            except sqlite3.Error as error:
                self._failed("the history file", error)
            except Exception as error:  # a connection that breaks anywhere has errors of all kinds
                self._failed("PostgreSQL", error)
            await self._rest(RETRY_S)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        logger.warning("history: %s does not answer: %s; trying again", what, text)

    async def _rest(self, seconds: float) -> None:
        while seconds > 0 and not self._is_stopping:
            await asyncio.sleep(min(LOOK_S, seconds))
            seconds -= LOOK_S

    async def _ship(self) -> None:
        store = Store.open_to_read(self._path, self._cluster_id)
        try:
            database = await asyncpg.connect(
                self._url, timeout=STATEMENT_S_MAX, command_timeout=STATEMENT_S_MAX
            )
            try:
                await self._begin(database)
                while self._is_leader() and not self._is_stopping:
                    if not await self._ship_page(database, store):
                        await self._rest(LOOK_S)
            finally:
                database.terminate()
        finally:
            store.close()

    async def _begin(self, database: Any) -> None:
        async with database.transaction():
            await database.execute(_LOCK)
            await database.execute(SCHEMA)
        found = await database.fetchval(
            "SELECT complete_to FROM raft_exchange_progress WHERE cluster_id = $1", self._cluster_id
        )
        self.complete_to = found or 0

    async def _ship_page(self, database: Any, store: Store) -> bool:
        """Ship the next rows; return whether there were any to ship."""
        wanted = max(self.complete_to + 1, store.floor())
        page = store.page(wanted, limit=PAGE_ROWS_MAX)
        if page.first != wanted or page.last < page.first:
            return False  # nothing new, or a hole that is to be mended first
        trades, orders = self._columns(page)
        async with database.transaction():
            if trades:
                await database.executemany(_TRADE, trades)
            if orders:
                await database.executemany(_ORDER, orders)
            await database.execute(_PROGRESS, self._cluster_id, page.last)
        self.complete_to = page.last
        self.rows += len(page.rows)
        return True

    def _columns(self, page: Page) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        trades: list[tuple[Any, ...]] = []
        orders: list[tuple[Any, ...]] = []
        for row in page.rows:
            name = (self._cluster_id, row.sequence, row.index, _time(row.time_us))
            if isinstance(row.event, TradeExecuted):
                trades.append((*name, *self._trade(row.event)))
            else:
                orders.append((*name, *self._order(row, row.event)))
        return trades, orders

    def _trade(self, event: TradeExecuted) -> tuple[Any, ...]:
        tick, lot = self._sizes(event.market)
        return (
            *(event.market, event.trade_id),
            *(_decimal(event.price_ticks * tick, 18), _decimal(event.quantity_lots * lot, 18)),
            event.taker_side.name.lower(),
            *(event.maker_order_id, event.taker_order_id),
            *(event.maker_account, event.taker_account),
        )

    def _order(self, row: Row, event: OrderEnded) -> tuple[Any, ...]:
        order = event.order
        tick, lot = self._sizes(order.market)
        return (
            *(order.order_id, order.account, order.market, order.client_order_id),
            *(order.side.name.lower(), order.type.name.lower(), order.status.name.lower()),
            _decimal(order.price_ticks * tick, 18) if order.price_ticks else None,
            *(_decimal(order.quantity_lots * lot, 18), _decimal(order.filled_lots * lot, 18)),
            _decimal(int(order.filled_value) * tick * lot, 36),
            _time(order.created_at_us),
        )


def _decimal(units: int, places: int) -> Decimal:
    return _EXACT.scaleb(Decimal(units), -places)


def _time(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)
