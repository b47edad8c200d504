"""Beyond memory over HTTP: pages go on where the projection ends, and peers mend holes."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from raft_exchange.gateway.app import make_app
from raft_exchange.gateway.context import Context, Settings
from raft_exchange.gateway.streams import Streams
from raft_exchange.history import recorder as recording
from raft_exchange.history.backfill import (
    NONCE_HEADER,
    PAGE_TYPE,
    PROOF_HEADER,
    question_fields,
)
from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, positions, rows_of
from raft_exchange.history.service import History, HistoryHooks, HistorySettings
from raft_exchange.history.store import Store
from raft_exchange.matching.messages import OrderType, PlaceOrder, Side, TimeInForce
from raft_exchange.metrics import Metrics
from raft_exchange.raft.proof import sign
from raft_exchange.sequencer.applied import Applied, Result
from tests.support.coroutines import eventually, in_loop
from tests.support.fake_core import FakeCore
from tests.support.fake_operations import FakeOperations
from tests.support.gateway import derive
from tests.support.past import CLUSTER_ID, Past

SECRET = b"the secret of the cluster"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "WRITE_PAUSE_S", 0.0)


def history_at(path: Path, *, peers: list[str], secret: bytes = SECRET) -> History:
    return History(
        HistorySettings(path=path, cluster_id=CLUSTER_ID, days=0, url=""),
        HistoryHooks(
            now_us=lambda: 0,
            peers=lambda: peers,
            prove=partial(sign, secret),
            tls=ssl.create_default_context(),
            sizes=lambda _: (1, 1),
            is_leader=lambda: False,
        ),
    )


class Served:
    """A gateway over a fake core and a history, on a port of its own."""

    def __init__(self, history: History, core: FakeCore, *, auth_required: bool = False) -> None:
        context = Context(
            core,
            core.marketdata,
            Metrics(),
            Settings(node="n1", auth_required=auth_required),
            FakeOperations(core),
            derive,
            history,
        )
        self.history = history
        self._runner = web.AppRunner(
            make_app(context, lambda nonce, host: b"", Streams(core.marketdata))
        )
        self.url = ""

    async def __aenter__(self) -> Served:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()
        await self._runner.cleanup()
        await self.history.stop()

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.get(self.url + path, headers=sent) as answer:
            is_json = "json" in answer.headers["Content-Type"]
            return answer.status, (await answer.json(content_type=None) if is_json else None)


def written(path: Path, past: Past) -> None:
    store = Store.open(path, CLUSTER_ID)
    for page in past.pages(50):
        store.write(page)
    store.close()


async def all_of(served: Served, path: str, key: str, cursor: str) -> list[Any]:
    """Read every page of a listing, in pages of 7."""
    found: list[Any] = []
    where = ""
    while True:
        status, body = await served.get(f"{path}{'&' if '?' in path else '?'}limit=7{where}")
        assert status == 200, body
        found += body[key]
        if cursor == "before":
            if len(body[key]) < 7:
                return found
            where = f"&before={body[key][-1]['trade_id']}"
        elif body["cursor"] is None:
            return found
        else:
            where = f"&cursor={body['cursor']}"


def busy_exchange(orders: int) -> tuple[FakeCore, list[str]]:
    """Trade on a core that remembers four finished orders; return every order id."""
    core = FakeCore(finished_orders_max=4)
    core.open_market()
    for number in range(orders):
        side, price = (Side.BUY, 10_000) if number % 2 else (Side.SELL, 10_000)
        if number % 5 == 0:
            price = 20_000  # a sale that rests; a buy of it is never sent
            side = Side.SELL
        core.run(
            PlaceOrder(
                *("anonymous", "BTC-USD", side, OrderType.LIMIT, TimeInForce.GTC),
                *(price, 100, 0, False, None, f"label-{number}"),
            )
        )
    return core, [str(i) for i in range(orders, 0, -1)]


@pytest.mark.parametrize("status", ["", "?status=filled", "?status=open,partially_filled"])
@in_loop
async def test_orders_go_on_where_memory_ends(tmp_path: Path, status: str) -> None:
    core, every = busy_exchange(60)
    path = tmp_path / "history.sqlite3"
    record_all(path, core)
    async with Served(history_at(path, peers=[]), core) as served:
        found = await all_of(served, f"/v1/orders{status}", "orders", "cursor")
        ids = [order["order_id"] for order in found]
        live = {str(order.order_id) for order in core.marketdata.orders.live_orders()}
        wanted = {
            "": every,
            "?status=filled": [i for i in every if i not in live],
            "?status=open,partially_filled": [i for i in every if i in live],
        }[status]
        assert ids == wanted
        one = next(i for i in reversed(every) if i not in live)
        assert (await served.get(f"/v1/orders/{one}"))[1]["order"]["status"] == "filled"
        assert (await served.get("/v1/orders/61"))[0] == 404


@in_loop
async def test_an_order_of_another_account_is_as_unknown_as_none(tmp_path: Path) -> None:
    core, _ = busy_exchange(30)
    path = tmp_path / "history.sqlite3"
    record_all(path, core)
    async with Served(history_at(path, peers=[]), core) as served:
        assert (await served.get("/v1/orders/2", X_Account="mallory"))[0] == 404
        status, body = await served.get("/v1/orders", X_Account="mallory")
        assert (status, body["orders"]) == (200, [])


@in_loop
async def test_trades_go_on_where_memory_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raft_exchange.marketdata.trades.TRADES_PER_MARKET_MAX", 5)
    core, _ = busy_exchange(100)
    path = tmp_path / "history.sqlite3"
    record_all(path, core)
    async with Served(history_at(path, peers=[]), core) as served:
        found = await all_of(served, "/v1/markets/BTC-USD/trades", "trades", "before")
        ids = [int(trade["trade_id"]) for trade in found]
        assert len(ids) > 20
        assert ids == list(range(len(ids), 0, -1))


def record_all(path: Path, core: FakeCore) -> None:
    """Write what the core did into a history file, as its node would have."""
    store = Store.open(path, CLUSTER_ID)
    results = tuple(Result(sequence, events, 0, 0) for sequence, _, events in core.folded)
    applied = Applied(1, 1, core.exchange.time_us, "n1", 1, 1, False, results)
    store.write(Page(CLUSTER_ID, 1, core.exchange.sequence, rows_of(applied)))
    store.close()


@in_loop
async def test_history_is_readable_page_by_page(tmp_path: Path) -> None:
    core, _ = busy_exchange(20)
    path = tmp_path / "history.sqlite3"
    record_all(path, core)
    async with Served(history_at(path, peers=[]), core) as served:
        _, first = await served.get("/v1/history?limit=5")
        assert first["from_sequence"] == 1
        assert all("trade" in row or "order" in row for row in first["rows"])
        after = first["to_sequence"] + 1
        _, then = await served.get(f"/v1/history?from_sequence={after}&limit=1000")
        rows = first["rows"] + then["rows"]
        assert then["to_sequence"] == core.exchange.sequence
        places = [(row["sequence"], row["index"]) for row in rows]
        assert places == sorted(set(places))


@pytest.mark.parametrize("query", ["from_sequence=0", "from_sequence=x", "limit=0", "limit=1001"])
@in_loop
async def test_a_question_out_of_bounds_is_told_what_is_allowed(tmp_path: Path, query: str) -> None:
    core, _ = busy_exchange(2)
    async with Served(history_at(tmp_path / "h", peers=[]), core) as served:
        status, body = await served.get(f"/v1/history?{query}")
        assert (status, body["code"], body["field"]) == (400, "bad_field", query.split("=")[0])


@in_loop
async def test_a_file_that_cannot_be_read_is_no_error_of_the_client(tmp_path: Path) -> None:
    core, _ = busy_exchange(2)
    async with Served(history_at(tmp_path / "none", peers=[]), core) as served:
        status, body = await served.get("/v1/history")
        assert (status, body["code"]) == (503, "overloaded")


@in_loop
async def test_only_a_member_gets_the_rows_as_they_are_kept(tmp_path: Path) -> None:
    core, _ = busy_exchange(2)
    path = tmp_path / "history.sqlite3"
    record_all(path, core)
    async with Served(history_at(path, peers=[]), core) as served:
        headers = {NONCE_HEADER: "ab" * 16, PROOF_HEADER: "00" * 32, "Accept": PAGE_TYPE}
        status, body = await served.get("/v1/history", **headers)
        assert (status, body["field"]) == (400, PROOF_HEADER)


@in_loop
async def test_where_keys_are_required_history_is_for_members_and_operators(tmp_path: Path) -> None:
    """It tells of everybody's orders."""
    core, _ = busy_exchange(2)
    path = tmp_path / "history.sqlite3"
    record_all(path, core)
    async with Served(history_at(path, peers=[]), core, auth_required=True) as served:
        status, body = await served.get("/v1/history")
        assert (status, body["code"]) == (401, "unauthenticated")
        nonce = "ab" * 16
        proof = served.history.prove("history question", *question_fields(nonce, 1, 1_000)).hex()
        headers = {NONCE_HEADER: nonce, PROOF_HEADER: proof}
        assert (await served.get("/v1/history", **headers))[0] == 200


@in_loop
async def test_holes_are_mended_from_whichever_peer_has_the_rows(tmp_path: Path) -> None:
    past = Past(seed=11, sequences=3_000)
    written(tmp_path / "full", past)
    Store.open(tmp_path / "empty", CLUSTER_ID).close()
    core, _ = busy_exchange(2)
    async with (
        Served(history_at(tmp_path / "empty", peers=[]), core) as empty,
        Served(history_at(tmp_path / "full", peers=[]), core) as full,
    ):
        peers = ["http://127.0.0.1:1", empty.url, full.url]
        joined = history_at(tmp_path / "joined", peers=peers)
        joined.start(2_990)  # a snapshot brought it there
        for entry in past.entries(10)[299:]:
            joined.applied(entry)
        await eventually(lambda: joined.figures().behind_sequences == 0)
        await joined.stop()
    store = Store.open_to_read(tmp_path / "joined", CLUSTER_ID)
    assert store.coverage() == [(1, 3_000)]
    found: list[tuple[int, int]] = []
    while (page := store.page(found[-1][0] + 1 if found else 1, limit=PAGE_ROWS_MAX)).rows:
        found += positions(page.rows)
    store.close()
    assert found == positions(past.rows)


@in_loop
async def test_rows_of_a_peer_without_the_secret_are_not_believed(tmp_path: Path) -> None:
    past = Past(seed=12, sequences=100)
    written(tmp_path / "forged", past)
    core, _ = busy_exchange(2)
    stranger = history_at(tmp_path / "forged", peers=[], secret=b"another secret")
    async with Served(stranger, core) as served:
        joined = history_at(tmp_path / "joined", peers=[served.url])
        joined.start(90)
        for entry in past.entries(10)[9:]:
            joined.applied(entry)
        await eventually(lambda: joined.figures().covered_to == 100)
        await asyncio.sleep(0.2)  # nothing more happens: there is nothing to wait for
        assert joined.figures().behind_sequences == 90
        assert joined.figures().pages_from_peers == 0
        await joined.stop()
