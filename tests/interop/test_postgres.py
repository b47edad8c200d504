"""History in a real PostgreSQL: complete and without duplicates, whatever becomes of the server."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from raft_exchange.history.rows import Page
from raft_exchange.history.service import History, HistoryHooks, HistorySettings
from raft_exchange.history.store import Store
from raft_exchange.matching.messages import TradeExecuted
from raft_exchange.raft.proof import sign
from tests.support.coroutines import eventually, in_loop
from tests.support.past import CLUSTER_ID, Past
from tests.support.postgres import Postgres
from tests.support.processes import Client, RealCluster

pytestmark = [pytest.mark.interop, pytest.mark.system]
PATIENCE_S = 60.0


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


async def rows_in(postgres: Postgres, query: str) -> list[Any]:
    database = await asyncpg.connect(postgres.url)
    try:
        return list(await database.fetch(query))
    finally:
        await database.close()


def history_at(path: Path, url: str, *, leads: list[bool]) -> History:
    return History(
        HistorySettings(path=path, cluster_id=CLUSTER_ID, days=0, url=url),
        HistoryHooks(
            now_us=lambda: 0,
            peers=lambda: [],
            prove=partial(sign, b"secret"),
            tls=ssl.create_default_context(),
            sizes=lambda _: (10**16, 10**10),
            is_leader=lambda: leads[0],
        ),
    )


@in_loop
async def test_the_leader_ships_every_row_once_and_a_follower_none(
    tmp_path: Path, postgres: Postgres
) -> None:
    past, leads = Past(seed=21, sequences=3_000), [False]
    store = Store.open(tmp_path / "h", CLUSTER_ID)
    for page in past.pages(700):
        store.write(page)
    store.close()
    history = history_at(tmp_path / "h", postgres.url, leads=leads)
    history.start(3_000)
    await asyncio.sleep(1)
    assert history.figures().shipped_to == 0
    leads[0] = True
    await eventually(lambda: history.figures().shipped_to == 3_000)
    await history.stop()
    other = history_at(tmp_path / "h", postgres.url, leads=leads)  # another leader, later
    other.start(3_000)
    await eventually(lambda: other.figures().shipped_to == 3_000)
    await other.stop()
    trades = await rows_in(postgres, "SELECT * FROM raft_exchange_trades ORDER BY sequence, idx")
    kept = [row for row in past.rows if isinstance(row.event, TradeExecuted)]
    assert [(t["sequence"], t["idx"]) for t in trades] == [(r.sequence, r.index) for r in kept]
    assert (trades[0]["price"], trades[0]["quantity"]) == (Decimal(100), Decimal("0.00000005"))
    orders = await rows_in(postgres, "SELECT * FROM raft_exchange_orders")
    assert len(orders) == len(past.rows) - len(kept)


@in_loop
async def test_shipping_stops_before_a_hole_and_goes_on_when_it_is_mended(
    tmp_path: Path, postgres: Postgres
) -> None:
    past = Past(seed=22, sequences=300)
    store = Store.open(tmp_path / "h", CLUSTER_ID)
    for first, last in ((1, 100), (201, 300)):
        store.write(Page(CLUSTER_ID, first, last, past.between(first, last)))
    history = history_at(tmp_path / "h", postgres.url, leads=[True])
    history.start(300)
    await eventually(lambda: history.figures().shipped_to == 100)
    await asyncio.sleep(1)
    assert history.figures().shipped_to == 100
    store.write(Page(CLUSTER_ID, 101, 200, past.between(101, 200)))
    await eventually(lambda: history.figures().shipped_to == 300)
    await history.stop()
    store.close()
    found = await rows_in(postgres, "SELECT sequence FROM raft_exchange_trades")
    assert len(found) == sum(isinstance(row.event, TradeExecuted) for row in past.rows)


class Trader:
    """Sends crossing orders to every node in turn until told to stop; keeps the longest wait."""

    def __init__(self, client: Client, cluster: RealCluster) -> None:
        self._client = client
        self._nodes = cluster.nodes
        self.trades: set[str] = set()
        self.refused = 0
        self.latencies_s: list[float] = []
        self.is_over = False

    async def trade(self) -> None:
        number = 0
        while not self.is_over:
            number += 1
            node = self._nodes[number % len(self._nodes)]
            began_s = time.perf_counter()
            status, body = await self._client.place(
                node, "buy" if number % 2 else "sell", "100", "0.1"
            )
            self.latencies_s.append(time.perf_counter() - began_s)
            if status == 201:
                self.trades |= {trade["trade_id"] for trade in body["trades"]}
            else:
                self.refused += 1


@pytest.mark.timeout(300)
@in_loop
async def test_a_dead_and_a_frozen_database_leave_trading_alone_and_history_whole(
    tmp_path: Path, postgres: Postgres
) -> None:
    settings = {"history_url": postgres.url}
    with RealCluster(tmp_path, settings=settings) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            trader = Trader(client, cluster)
            trading = asyncio.create_task(trader.trade())
            await asyncio.sleep(2)
            calm = len(trader.latencies_s)
            await asyncio.to_thread(postgres.kill)
            await asyncio.sleep(3)
            await asyncio.to_thread(postgres.start)
            await asyncio.sleep(2)
            await asyncio.to_thread(postgres.stop_answering)
            await asyncio.sleep(3)
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)
            troubled = sorted(trader.latencies_s[calm:])
            trader.is_over = True
            await trading
            assert trader.refused == 0
            assert len(troubled) > 100
            assert troubled[-1] < 1.0, "no order waited for the database"
            await whole(client, postgres, trader)


async def whole(client: Client, postgres: Postgres, trader: Trader) -> None:
    """Wait until the database holds every trade, once."""
    deadline_s = time.monotonic() + PATIENCE_S
    wanted = sorted(trader.trades, key=int)
    found: list[str] = []
    while time.monotonic() < deadline_s:
        rows = await rows_in(
            postgres, "SELECT trade_id FROM raft_exchange_trades ORDER BY trade_id"
        )
        found = [str(row["trade_id"]) for row in rows]
        if found == wanted:
            return
        await asyncio.sleep(0.2)
    assert found == wanted
