"""The seed's HTTP interface, shape by shape, and what of it was wrong made right."""

import pytest

from raft_exchange.sequencer.outcome import Unknown
from tests.support.coroutines import in_loop
from tests.support.fake_core import NO_LEADER
from tests.support.gateway import gateway

BUY = {"side": "buy", "type": "limit", "price": 100.25, "quantity": 0.5}
NOW_MS = 1_700_000_000_000


@in_loop
async def test_a_resting_order_is_the_remainder() -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/order", BUY)
        assert answer.status == 200
        assert answer.body["ok"] is True
        assert (answer.body["trades"], answer.body["status"]) == ([], "open")
        assert answer.body["remainder"] == {
            "id": "1",
            "order_id": "1",
            "side": "buy",
            "type": "limit",
            "price": 100.25,
            "quantity": 0.5,
            "peerId": "anonymous",
            "timestamp": NOW_MS,
            "status": "open",
        }
        assert answer.body["orderId"] == answer.body["order"]["order_id"] == "1"


@in_loop
async def test_a_trade_names_buyer_and_seller() -> None:
    async with gateway() as g:
        await g.call("POST", "/order", BUY)
        answer = await g.call("POST", "/order", BUY | {"side": "sell", "quantity": "0.75"})
        assert answer.body["trades"] == [
            {
                "id": "1",
                "pair": "BTC-USD",
                "price": 100.25,
                "quantity": 0.5,
                "buyOrderId": "1",
                "sellOrderId": "2",
                "buyPeerId": "anonymous",
                "sellPeerId": "anonymous",
                "timestamp": NOW_MS,
            }
        ]
        assert answer.body["status"] == "partially_filled"
        assert answer.body["remainder"]["quantity"] == 0.25


@in_loop
async def test_a_market_order_reports_what_became_of_it() -> None:
    """The seed dropped its remainder and called it open."""
    async with gateway() as g:
        market = {"side": "buy", "type": "market", "quantity": 1, "price": None}
        assert (await g.call("POST", "/order", market)).body["status"] == "expired"
        await g.call("POST", "/order", BUY | {"side": "sell"})
        answer = (await g.call("POST", "/order", market)).body
        assert (answer["status"], answer["remainder"]) == ("partially_filled", None)
        assert answer["order"]["status"] == "expired"
        await g.call("POST", "/order", BUY | {"side": "sell", "quantity": 1})
        assert (await g.call("POST", "/order", market)).body["status"] == "filled"


@in_loop
async def test_the_state_is_sorted_best_first_with_the_last_trades() -> None:
    async with gateway() as g:
        for price in (99, 100, 98.5):
            await g.call("POST", "/order", BUY | {"price": price})
            await g.call("POST", "/order", BUY | {"side": "sell", "price": price + 10})
        for _ in range(25):
            await g.call("POST", "/order", BUY | {"side": "sell", "price": 100, "quantity": 0.01})
        state = (await g.call("GET", "/state")).body
        assert (state["peerId"], state["pair"], state["timestamp"]) == ("n1", "BTC-USD", NOW_MS)
        assert [order["price"] for order in state["bids"]] == [100, 99, 98.5]
        assert [order["price"] for order in state["asks"]] == [108.5, 109, 110]
        assert state["bestBid"] == state["bids"][0]
        assert state["bestAsk"] == state["asks"][0]
        assert state["bids"][0]["quantity"] == 0.25
        assert state["spread"] == 8.5
        assert [trade["id"] for trade in state["trades"]] == [str(n) for n in range(6, 26)]


@in_loop
async def test_an_empty_book_has_no_best_and_no_spread() -> None:
    async with gateway() as g:
        state = (await g.call("GET", "/state")).body
        assert (state["bids"], state["asks"], state["trades"]) == ([], [], [])
        assert (state["bestBid"], state["bestAsk"], state["spread"]) == (None, None, None)


@in_loop
async def test_numbers_are_written_exactly() -> None:
    """As JSON numbers, from exact decimals: nothing of a float's tail."""
    async with gateway() as g:
        await g.call("POST", "/order", BUY | {"price": "100.07", "quantity": "0.30000001"})
        head = b"GET /state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert b'"price":100.07,"quantity":0.30000001,' in await g.raw(head)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"side": "hold"}, "Order side must be one of: buy, sell"),
        ({"side": None}, "Order side must be one of: buy, sell"),
        ({"side": ["buy"]}, "Order side must be one of: buy, sell"),
        ({"type": "stop"}, "Order type must be one of: limit, market"),
        ({"price": 0}, "Limit order must have a positive price"),
        ({"price": None}, "Limit order must have a positive price"),
        ({"price": "41abc"}, "Limit order must have a positive price"),
        ({"price": "NaN"}, "Limit order must have a positive price"),
        ({"price": 1e308}, "Limit order must have a positive price"),
        ({"price": True}, "Limit order must have a positive price"),
        ({"quantity": 0}, "Order quantity must be positive"),
        ({"quantity": -1}, "Order quantity must be positive"),
        ({"quantity": "1x"}, "Order quantity must be positive"),
        ({"quantity": 1e-9}, "Order quantity must be positive, a multiple of 0.00000001"),
        ({"price": 1.001}, "Limit order must have a positive price, a multiple of 0.01"),
        ({"price": 1e40}, "Order price must be 0.01 to 10000000000000 in steps of 0.01"),
    ],
)
@in_loop
async def test_a_wrong_order_is_400_with_the_seeds_words(body: object, error: str) -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/order", BUY | body)
        assert (answer.status, answer.body) == (400, {"ok": False, "error": error})
        assert not g.core.submitted


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"side":"buy","side":"sell"}'])
@in_loop
async def test_a_body_that_is_no_order_is_400_with_a_text(body: bytes) -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/order", body)
        assert (answer.status, answer.body["ok"]) == (400, False)
        assert answer.body["error"]


@in_loop
async def test_any_content_type_is_taken_as_the_seed_did() -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/order", BUY, Content_Type="text/plain")
        assert answer.status == 200


@in_loop
async def test_a_cancel_is_always_200_and_tells_whether_it_did() -> None:
    async with gateway() as g:
        await g.call("POST", "/order", BUY)
        answer = await g.call("DELETE", "/order/1")
        assert (answer.status, answer.body["ok"]) == (200, True)
        assert (answer.body["cancelled"]["id"], answer.body["cancelled"]["status"]) == (
            "1",
            "cancelled",
        )
        for order_id in ("1", "2", "0", "x", "9" * 30, "41abc", "%D9%A3", "%00"):
            answer = await g.call("DELETE", f"/order/{order_id}")
            assert (answer.status, answer.body) == (200, {"ok": False, "cancelled": None})


@in_loop
async def test_nobodys_order_but_the_anonymous_is_canceled_here() -> None:
    async with gateway() as g:
        order = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": 1, "price": 1}
        await g.call("POST", "/v1/orders", order, X_Account="ann")
        assert (await g.call("DELETE", "/order/1")).body["ok"] is False


@in_loop
async def test_every_origin_may_use_it_and_the_preflight_allows_delete() -> None:
    async with gateway() as g:
        for method, path in (
            ("GET", "/state"),
            ("POST", "/order"),
            ("DELETE", "/order/1"),
            ("OPTIONS", "/order"),
        ):
            answer = await g.call(method, path, Origin="http://foreign.example")
            assert answer.headers["Access-Control-Allow-Origin"] == "*", path
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE, OPTIONS"
            assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
        assert (await g.call("OPTIONS", "/order")).status == 204
        assert (await g.call("OPTIONS", "/anything")).status == 204


@in_loop
async def test_without_a_leader_nothing_is_acknowledged() -> None:
    """The seed answered 200 while no peer got the order."""
    async with gateway() as g:
        for answer, code in ((NO_LEADER, "no_leader"), (Unknown(), "outcome_unknown")):
            g.core.answer = answer
            placed = await g.call("POST", "/order", BUY)
            assert (placed.status, placed.body["ok"], placed.body["code"]) == (503, False, code)
            gone = await g.call("DELETE", "/order/1")
            assert (gone.status, gone.body["ok"], gone.body["cancelled"]) == (503, False, None)


@in_loop
async def test_the_surface_can_be_switched_off() -> None:
    for settings in ({"seed_services": False}, {"default_market": ""}):
        async with gateway(**settings) as g:
            assert (await g.call("GET", "/state")).code == "unknown_route"
            assert (await g.call("POST", "/order", BUY)).code == "unknown_route"
