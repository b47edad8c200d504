"""Reads: what they show, how fresh they are, and that a lagging node never says "no such"."""

import zlib

import pytest

from raft_exchange.sequencer.outcome import Unknown
from tests.support.coroutines import in_loop
from tests.support.fake_core import NO_LEADER
from tests.support.gateway import gateway

READS = (
    *("/v1/time", "/v1/markets", "/v1/markets/BTC-USD", "/v1/markets/BTC-USD/book"),
    *("/v1/markets/BTC-USD/ticker", "/v1/markets/BTC-USD/candles"),
    *("/v1/markets/BTC-USD/trades", "/v1/orders", "/v1/orders/1"),
)
LIMIT = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "100"}


@pytest.mark.parametrize("path", READS)
@in_loop
async def test_every_read_says_how_fresh_it_is(path: str) -> None:
    async with gateway() as g:
        await g.place()
        answer = await g.call("GET", path)
        assert answer.status == 200
        assert answer.headers["X-Sequence"] == str(g.core.exchange.sequence)
        assert answer.body["sequence"]
        assert answer.headers["X-Age-Ms"] == "3"


@pytest.mark.parametrize("path", READS)
@in_loop
async def test_every_read_can_be_made_to_wait_refuse_or_be_linearizable(path: str) -> None:
    async with gateway() as g:
        await g.place()
        behind = await g.call("GET", f"{path}?min_sequence=99")
        assert (behind.status, behind.code) == (503, "behind")
        assert int(behind.headers["Retry-After"]) >= 1
        assert (await g.call("GET", f"{path}?min_sequence=3")).status == 200
        assert (await g.call("GET", f"{path}?max_age=2")).code == "behind"
        assert (await g.call("GET", f"{path}?max_age=3")).status == 200
        before = g.core.barriers
        assert (await g.call("GET", f"{path}?consistency=linearizable")).status == 200
        assert g.core.barriers == before + 1
        assert (await g.call("GET", f"{path}?consistency=local")).status == 200
        assert g.core.barriers == before + 1


@in_loop
async def test_a_node_that_never_heard_a_leader_is_older_than_any_age() -> None:
    async with gateway() as g:
        g.core.contact_age_ms = None
        assert (await g.call("GET", "/v1/time?max_age=999999")).code == "behind"
        assert "X-Age-Ms" not in (await g.call("GET", "/v1/time")).headers


@in_loop
async def test_a_linearizable_read_without_a_leader_is_refused_a_local_one_is_not() -> None:
    async with gateway() as g:
        g.core.answer = NO_LEADER
        assert (await g.call("GET", "/v1/time?consistency=linearizable")).code == "no_leader"
        assert (await g.call("GET", "/v1/time")).status == 200
        g.core.answer = Unknown()
        assert (await g.call("GET", "/v1/time?consistency=linearizable")).code == "behind"


@pytest.mark.parametrize(
    "query",
    [
        *("min_sequence=-1", "min_sequence=x", "min_sequence=", "min_sequence=" + "9" * 30),
        *(
            "max_age=1.5",
            "max_age=%D9%A3",
            "consistency=strong",
            "nonsense=1",
            "max_age=1&max_age=2",
        ),
        *("%ff=%00", "min_sequence=1e3"),
    ],
)
@in_loop
async def test_a_parameter_that_cannot_be_read_is_refused(query: str) -> None:
    async with gateway() as g:
        answer = await g.call("GET", f"/v1/time?{query}")
        assert (answer.status, answer.code) == (400, "bad_field")
        assert answer.body["allowed"]


@in_loop
async def test_what_another_node_was_told_is_found_here() -> None:
    """Markets and orders unknown to a lagging node: it catches up before it answers."""
    async with gateway() as g:
        g.core.folding = False
        g.core.open_market("ETH-USD")
        assert (await g.place(market="ETH-USD")).status == 201
        g.core.catch_up()
        for _ in range(2):
            g.core._sequence(g.core.submitted[0][0])
        assert g.core.marketdata.orders.get(3) is None
        assert (await g.call("GET", "/v1/orders/3")).status == 200
        g.core._sequence(g.core.submitted[0][0])
        assert (await g.call("PATCH", "/v1/orders/4", {"quantity": "2"})).status == 200


@in_loop
async def test_a_node_that_cannot_catch_up_does_not_say_there_is_none() -> None:
    async with gateway() as g:
        g.core.answer = NO_LEADER
        for path in ("/v1/orders/7", "/v1/markets/ETH-USD", "/v1/orders?market=ETH-USD"):
            answer = await g.call("GET", path)
            assert (answer.status, answer.code) == (503, "no_leader")


@in_loop
async def test_an_order_this_node_knows_to_have_existed_needs_no_barrier() -> None:
    async with gateway() as g:
        await g.call("POST", "/v1/orders", LIMIT, X_Account="ann")
        assert (await g.call("GET", "/v1/orders/1")).code == "unknown_order"
        assert g.core.barriers == 0
        assert (await g.call("GET", "/v1/orders/2")).code == "unknown_order"
        assert g.core.barriers == 1


@in_loop
async def test_the_book_is_best_first_in_levels_or_orders() -> None:
    async with gateway() as g:
        for price in ("99", "100", "100"):
            await g.place("buy", price, quantity="0.5")
        await g.place("sell", "101.10")
        book = (await g.call("GET", "/v1/markets/BTC-USD/book")).body
        assert book["bids"] == [["100", "1", 2], ["99", "0.5", 1]]
        assert book["asks"] == [["101.1", "1", 1]]
        assert book["sequence"] == g.core.exchange.sequence
        by_order = (await g.call("GET", "/v1/markets/BTC-USD/book?level=3&depth=2")).body
        assert by_order["bids"] == [["100", "0.5", "2"], ["100", "0.5", "3"]]


@in_loop
async def test_the_checksum_covers_the_ten_best_levels_whatever_is_shown() -> None:
    """A client that keeps a book can compute it from what it holds."""
    async with gateway() as g:
        for tick in range(12):
            await g.place("buy", str(100 - tick))
        await g.place("sell", "101.5", quantity="0.25")
        text = ":".join(f"{100 - tick}:1" for tick in range(10)) + ":101.5:0.25"
        for query in ("", "?depth=1", "?level=3"):
            book = (await g.call("GET", f"/v1/markets/BTC-USD/book{query}")).body
            assert book["checksum"] == zlib.crc32(text.encode())


@pytest.mark.parametrize("query", ["depth=0", "depth=1001", "depth=x", "level=1", "level=22"])
@in_loop
async def test_depth_and_level_are_bounded(query: str) -> None:
    async with gateway() as g:
        answer = await g.call("GET", f"/v1/markets/BTC-USD/book?{query}")
        assert (answer.status, answer.code) == (400, "bad_field")


@in_loop
async def test_trades_are_paged_backwards() -> None:
    async with gateway() as g:
        await g.place("sell", quantity="5")
        for _ in range(3):
            await g.place("buy")
        path = "/v1/markets/BTC-USD/trades"
        page = (await g.call("GET", f"{path}?limit=2")).body["trades"]
        assert [trade["trade_id"] for trade in page] == ["3", "2"]
        page = (await g.call("GET", f"{path}?limit=2&before=2")).body["trades"]
        assert [trade["trade_id"] for trade in page] == ["1"]


@in_loop
async def test_orders_are_listed_newest_first_with_a_cursor() -> None:
    async with gateway() as g:
        for number in range(5):
            await g.place(client_order_id=f"c{number}")
        await g.call("DELETE", "/v1/orders/2")
        page = (await g.call("GET", "/v1/orders?limit=3")).body
        assert [order["order_id"] for order in page["orders"]] == ["5", "4", "3"]
        page = (await g.call("GET", f"/v1/orders?limit=3&cursor={page['cursor']}")).body
        assert [order["order_id"] for order in page["orders"]] == ["2", "1"]
        assert page["cursor"] is None
        canceled = (await g.call("GET", "/v1/orders?status=canceled,filled")).body["orders"]
        assert [order["order_id"] for order in canceled] == ["2"]
        labelled = (await g.call("GET", "/v1/orders?client_order_id=c3")).body["orders"]
        assert [order["order_id"] for order in labelled] == ["4"]
        for query in ("status=dead", "limit=0", "limit=1001", "cursor=x", "client_order_id="):
            assert (await g.call("GET", f"/v1/orders?{query}")).code == "bad_field", query


@in_loop
async def test_the_view_of_the_cluster_is_the_cores() -> None:
    async with gateway() as g:
        body = (await g.call("GET", "/v1/cluster")).body
        assert (body["node"], body["role"], body["leader"], body["term"]) == (
            "n1",
            "leader",
            "n1",
            7,
        )
        assert body["state_hash"] is None
        assert body["members"][0]["id"] == "n1"
        hashed = (await g.call("GET", "/v1/cluster?hash=now")).body
        assert len(hashed["state_hash"]) == 64
        await g.place()
        assert (await g.call("GET", "/v1/cluster?hash=now")).body["state_hash"] != hashed[
            "state_hash"
        ]
        assert (await g.call("GET", "/v1/cluster?hash=1")).code == "bad_field"
