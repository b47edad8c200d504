"""The seeds' Grenache services: their payloads and their words, over HTTP."""

from __future__ import annotations

from grape.rpc import WebSocketTransport
from tests.support.coroutines import in_loop
from tests.support.grenache_calls import (
    NOW_MS,
    OWN,
    SEED_ORDER,
    caller,
    orders_placed,
    p2p_message,
)

# exchange_orders


@in_loop
async def test_exchange_orders_speaks_as_the_seed_did() -> None:
    async with caller() as call:
        placed = await call("exchange_orders", {"type": "order", "order": SEED_ORDER})
        assert placed == {"status": "order received", "trades": []}
        taker = SEED_ORDER | {"id": "zz", "side": "buy", "price": 101, "quantity": 0.2}
        placed = await call("exchange_orders", {"type": "order", "order": taker})
        assert placed == {
            "status": "order received",
            "trades": [
                {"price": 100.25, "quantity": 0.2, "buyOrderId": "zz", "sellOrderId": "k3x9"}
            ],
        }
        resting = {
            "id": "k3x9",
            "side": "sell",
            "price": 100.25,
            "quantity": 0.3,
            "timestamp": NOW_MS,
        }
        book = await call("exchange_orders", {"type": "getOrders"})
        assert book == {"buys": [], "sells": [resting]}


@in_loop
async def test_exchange_orders_answers_what_it_does_not_know_as_the_seed_did() -> None:
    async with caller() as call:
        for nothing in (None, "", False):
            assert await call("exchange_orders", nothing) == {"status": "invalid request"}
        for unknown in ({"type": "cancel"}, {}, {"type": ["order"]}, "order", 7, [1]):
            expected = {"status": "unknown request" if unknown else "invalid request"}
            assert await call("exchange_orders", unknown) == expected


# orderbook_service


@in_loop
async def test_orderbook_service_speaks_as_the_seed_did() -> None:
    async with caller() as call:
        order = SEED_ORDER | {"type": "limit", "peerId": "peer_2"}
        answer = await call("orderbook_service", {"type": "NEW_ORDER", "order": order})
        remainder = {
            "id": "k3x9",
            "order_id": "1",
            "side": "sell",
            "type": "limit",
            "price": 100.25,
            "quantity": 0.5,
            "peerId": "anonymous",
            "timestamp": NOW_MS,
            "status": "open",
        }
        result = {"trades": [], "remainder": remainder, "status": "open"}
        assert answer == {"ok": True, "result": result}
        snapshot = await call("orderbook_service", {"type": "SNAPSHOT_REQUEST"})
        assert snapshot == {
            "ok": True,
            "result": {
                "pair": "BTC-USD",
                "timestamp": NOW_MS,
                "bids": [],
                "asks": [remainder],
                "bestBid": None,
                "bestAsk": remainder,
                "spread": None,
            },
        }
        market = {"id": "m", "side": "buy", "type": "market", "price": None, "quantity": 0.5}
        answer = await call("orderbook_service", {"type": "NEW_ORDER", "order": market})
        (trade,) = answer["result"]["trades"]
        assert (trade["buyOrderId"], trade["sellOrderId"]) == ("m", "k3x9")
        assert answer["result"]["status"] == "filled"


@in_loop
async def test_the_error_of_a_refused_order_arrives_in_the_seeds_words() -> None:
    """The seed lost the text: its callers got `[rid, null, null]`."""
    async with caller() as call:
        for change, text in (
            ({"id": None}, "Order must have an id"),
            ({"side": "hold"}, "Order side must be one of: buy, sell"),
            ({"type": "stop"}, "Order type must be one of: limit, market"),
            ({"price": "41abc"}, "Limit order must have a positive price"),
            ({"quantity": -1}, "Order quantity must be positive"),
            ({"id": "x" * 65}, "Order id must be 1 to 64 printable ASCII characters"),
        ):
            message = {"type": "NEW_ORDER", "order": SEED_ORDER | change}
            assert (await call.refusal("orderbook_service", message)).text == text
        assert orders_placed(call) == 0


# p2p_exchange


@in_loop
async def test_p2p_exchange_speaks_as_the_seed_did() -> None:
    async with caller() as call:
        answer = await call("p2p_exchange", p2p_message())
        assert answer == {"success": True, "nodeId": "n1", "message": "Message processed"}
        book = await call(OWN, {"op": "book"})
        assert book["bids"] == [["99.5", "0.5", 1]]


@in_loop
async def test_a_trade_somebody_tells_of_changes_nothing() -> None:
    async with caller() as call:
        trade = p2p_message() | {"type": "trade"}
        answer = await call("p2p_exchange", trade)
        assert answer == {"success": True, "message": "Ignored trade message"}
        assert orders_placed(call) == 0


@in_loop
async def test_p2p_exchange_refuses_an_unknown_pair_by_name() -> None:
    async with caller() as call:
        error = await call.refusal("p2p_exchange", p2p_message(pair="ABC/DEF"))
        assert error.text.startswith("unknown_market: ")
        assert error.result["value"] == "ABC-DEF"


# createOrderRequest


@in_loop
async def test_create_order_request_speaks_as_the_seed_did() -> None:
    async with caller(WebSocketTransport()) as call:
        order = {"asset": "BTC", "price": 100, "quantity": 5, "type": "SELL", "userId": "2"}
        created = "2023-11-14T22:13:20.000Z"
        answer = await call("createOrderRequest", order)
        assert answer == order | {
            "id": "1",
            "createdOn": created,
            "updatedOn": created,
            "status": "OPEN",
            "version": 1,
            "matchedWith": [],
        }
        answer = await call("createOrderRequest", order | {"type": "BUY", "quantity": 2})
        assert (answer["status"], answer["matchedWith"]) == ("MATCHED", ["1"])
        answer = await call("createOrderRequest", order | {"type": "BUY", "quantity": 4})
        assert (answer["status"], answer["version"]) == ("PARTIAL_MATCHED", 2)


@in_loop
async def test_only_the_leader_takes_orders_that_have_no_id() -> None:
    """They are sent to every node that is announced, and nothing tells their copies apart."""
    async with caller() as call:
        call.gateway.core.leader = "n2"
        order = {"asset": "BTC", "price": 100, "quantity": 5, "type": "SELL", "userId": "2"}
        error = await call.refusal("createOrderRequest", order)
        assert error.text.startswith("no_leader: ")
        assert orders_placed(call) == 0


@in_loop
async def test_what_is_echoed_is_cut_to_size() -> None:
    async with caller() as call:
        order = {"asset": "BTC", "price": 100, "quantity": 5, "type": "SELL"}
        for sent, echoed in (("x" * 9_000, "x" * 128 + "…"), ({"a": 1}, "an object"), (7, 7)):
            answer = await call("createOrderRequest", order | {"userId": sent})
            assert answer["userId"] == echoed
