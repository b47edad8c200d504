"""Grenache calls over HTTP and WebSocket: one order once, our own service, and errors."""

from __future__ import annotations

import asyncio
import gzip
import json

import aiohttp
import pytest

from grape.rpc import GrenacheError, HttpTransport, WebSocketTransport
from raft_exchange.sequencer.outcome import Unknown
from tests.support.coroutines import in_loop
from tests.support.fake_core import NO_LEADER
from tests.support.grenache_calls import (
    OWN,
    SEED_ORDER,
    caller,
    orders_placed,
    p2p_message,
)

# One order, however often it is sent


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("exchange_orders", {"type": "order", "order": SEED_ORDER}),
        ("orderbook_service", {"type": "NEW_ORDER", "order": SEED_ORDER}),
        ("p2p_exchange", p2p_message()),
        (
            OWN,
            {
                "op": "place",
                "idempotency_key": "k",
                "order": {"side": "buy", "type": "limit", "price": "1", "quantity": "1"},
            },
        ),
    ],
)
@in_loop
async def test_an_order_sent_to_many_nodes_is_one_order(service: str, message: object) -> None:
    async with caller() as call:
        answers = await asyncio.gather(*(call(service, message) for _ in range(5)))
        assert answers == [answers[0]] * 5
        assert orders_placed(call) == 1


@in_loop
async def test_an_id_stands_for_one_order_in_each_service() -> None:
    """And for no other: the same id with other terms is refused."""
    async with caller() as call:
        await call("exchange_orders", {"type": "order", "order": SEED_ORDER})
        other = SEED_ORDER | {"price": 101}
        error = await call.refusal("exchange_orders", {"type": "order", "order": other})
        assert "different command" in error.text
        taken = await call.refusal("orderbook_service", {"type": "NEW_ORDER", "order": other})
        assert taken.text == "Another live order has this id"
        assert orders_placed(call) == 1


# Our own service


@in_loop
async def test_our_service_trades_and_tells() -> None:
    async with caller() as call:
        order = {"side": "sell", "type": "limit", "price": "100.25", "quantity": "0.5"}
        place = {"op": "place", "idempotency_key": "a", "order": order}
        placed = await call(OWN, place)
        assert placed["order"]["status"] == "open"
        assert await call(OWN, {"op": "best_price"}) == {
            "market": "BTC-USD",
            "sequence": placed["sequence"],
            "bid": None,
            "ask": {"price": "100.25", "quantity": "0.5"},
        }
        amend = {"op": "amend", "order": {"order_id": "1", "quantity": "0.4"}}
        assert (await call(OWN, amend))["order"]["quantity"] == "0.4"
        taker = place | {"idempotency_key": "b", "order": order | {"side": "buy", "quantity": 0.1}}
        assert len((await call(OWN, taker))["trades"]) == 1
        (trade,) = (await call(OWN, {"op": "trades", "limit": 10}))["trades"]
        assert (trade["price"], trade["quantity"]) == ("100.25", "0.1")
        canceled = await call(OWN, {"op": "cancel", "order": {"order_id": "1"}})
        assert canceled["order"]["status"] == "canceled"
        orders = [order | {"market": "BTC-USD", "price": n} for n in (1, 2)]
        batch = await call(OWN, {"op": "batch", "idempotency_key": "c", "orders": orders})
        assert [result["order"]["status"] for result in batch["results"]] == ["open", "open"]
        status = await call(OWN, {"op": "status"})
        assert (status["cluster"], status["node"], status["role"]) == ("test", "n1", "leader")
        assert status["markets"] == ["BTC-USD"]


@in_loop
async def test_our_service_refuses_with_the_problem_beside_the_text() -> None:
    async with caller() as call:
        order = {"side": "sell", "type": "limit", "price": "1", "quantity": "1"}
        place = {"op": "place", "idempotency_key": "a", "order": order}
        for payload, code, field in (
            (place | {"idempotency_key": None}, "bad_field", "idempotency_key"),
            (place | {"order": order | {"price": "1.001"}}, "off_tick", "price"),
            (place | {"order": order | {"postonly": True}}, "bad_field", "postonly"),
            (place | {"order": 7}, "bad_field", "order"),
            (place | {"account": "no name"}, "bad_field", "account"),
            ({"op": "cancel", "order": {"order_id": "9"}}, "unknown_order", "order_id"),
            ({"op": "cancel", "order": {}}, "bad_field", "order_id"),
            ({"op": "amend", "order": {"order_id": "9", "price": 1}}, "unknown_order", "order_id"),
            ({"op": "batch", "orders": []}, "bad_field", "idempotency_key"),
            ({"op": "book", "market": "X-Y"}, "unknown_market", "market"),
            ({"op": "book", "depth": 0}, "bad_field", "depth"),
            ({"op": "halt"}, "bad_field", "op"),
            ({}, "bad_field", "op"),
        ):
            error = await call.refusal(OWN, payload)
            assert error.text.startswith(f"{code}: "), payload
            assert (error.result["code"], error.result["field"]) == (code, field)
        assert (await call.refusal(OWN, [])).text.startswith("bad_json: ")
        assert orders_placed(call) == 0


@in_loop
async def test_an_account_owns_what_it_placed() -> None:
    async with caller() as call:
        order = {"side": "sell", "type": "limit", "price": "1", "quantity": "1"}
        mine = {"op": "place", "idempotency_key": "a", "order": order, "account": "ann"}
        placed = await call(OWN, mine)
        assert placed["order"]["account"] == "ann"
        theirs = {
            "op": "cancel",
            "order": {"order_id": placed["order"]["order_id"]},
            "account": "bob",
        }
        assert (await call.refusal(OWN, theirs)).result["code"] == "unknown_order"


# What is no answer of a service


@in_loop
async def test_numbers_are_read_from_their_text() -> None:
    """Through a float this price would be rounded onto the grid."""
    async with caller() as call:
        body = (
            b'["r","%s",{"op":"place","idempotency_key":"a","order":{"side":"buy",' % OWN.encode()
        )
        body += b'"type":"limit","quantity":1,"price":100.250000000000000001}}]'
        answer = await call.gateway.call("POST", "/", body)
        assert answer.body[0] == "r"
        assert answer.body[1].startswith("off_tick: ")


@in_loop
async def test_a_draining_node_answers_errors() -> None:
    async with caller() as call:
        call.gateway.core.draining = True
        for service in ("exchange_orders", "p2p_exchange", "orderbook_service", OWN):
            assert (await call.refusal(service, {})).text.startswith("draining: ")


@in_loop
async def test_what_became_of_an_order_is_never_guessed() -> None:
    async with caller() as call:
        message = {"type": "order", "order": SEED_ORDER}
        call.gateway.core.answer = NO_LEADER
        assert (await call.refusal("exchange_orders", message)).text.startswith("no_leader: ")
        call.gateway.core.answer = Unknown()
        error = await call.refusal("exchange_orders", message)
        assert error.text.startswith("outcome_unknown: ")


@in_loop
async def test_an_unknown_service_is_named() -> None:
    async with caller() as call:
        error = await call.refusal("exchange", {})
        assert error.text.startswith("unknown_route: ")
        assert OWN in error.result["allowed"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{}", 400), (b"[1]", 400), (b'["r",7,1]', 400), (b"[" * 50_000, 400)],
)
@in_loop
async def test_what_is_no_call_is_refused(body: bytes, status: int) -> None:
    async with caller() as call:
        assert (await call.gateway.call("POST", "/", body)).status == status


@pytest.mark.parametrize(
    "payload", [b"nonsense", b'{"a":1,"a":2}', b'"\xff"', b'"\\ud800"', b"NaN"]
)
@in_loop
async def test_a_malformed_payload_is_the_callers_error(payload: bytes) -> None:
    """Its rid could be read, or the whole body could not: nothing is taken for a bug of ours."""
    async with caller() as call:
        answer = await call.gateway.call("POST", "/", b'["r","' + OWN.encode() + b'",%s]' % payload)
        if answer.status == 200:
            assert answer.body[:1] == ["r"]
            assert answer.body[1].startswith("bad_json: ")
        else:
            assert answer.status == 400


@in_loop
async def test_any_content_type_and_gzip_are_taken() -> None:
    async with caller() as call:
        body = json.dumps(["r", OWN, {"op": "status"}]).encode()
        answer = await call.gateway.call("POST", "/", body, Content_Type="text/plain;charset=UTF-8")
        assert answer.body[1] is None
    async with caller(HttpTransport(compress=True)) as call:
        assert (await call(OWN, {"op": "status"}))["node"] == "n1"


@in_loop
async def test_a_bomb_is_refused_at_its_bound() -> None:
    async with caller() as call:
        packed = gzip.compress(b'["r","x","' + b"0" * 10_000_000 + b'"]')
        answer = await call.gateway.call("POST", "/", packed, grc_compress="gzip")
        assert answer.status == 413


@in_loop
async def test_a_web_page_of_another_origin_cannot_call() -> None:
    """A form post of plain text would reach the node without being asked for."""
    async with caller() as call:
        body = json.dumps(["r", "exchange_orders", {"type": "order", "order": SEED_ORDER}]).encode()
        answer = await call.gateway.call("POST", "/", body, Origin="https://evil.example")
        assert (answer.status, answer.code) == (403, "bad_origin")
        assert orders_placed(call) == 0


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket"])
@pytest.mark.parametrize("path", ["/ws", "/", "/state", "/events", "/order", "/order/1"])
@in_loop
async def test_a_web_page_of_another_origin_gets_no_socket(path: str, upgrade: str) -> None:
    """Also under the paths that are open to every page: what it could call trades for anybody."""
    async with caller() as call, aiohttp.ClientSession() as session:
        url, headers = f"http://127.0.0.1:{call.gateway.port}{path}", {"Upgrade": upgrade}
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(url, headers=headers, origin="https://evil.example")
        async with session.ws_connect(url, headers=headers) as socket:  # as Node.js peers ask
            await socket.send_str(json.dumps(["r", OWN, {"op": "status"}]))
            assert json.loads((await socket.receive()).data)[:2] == ["r", None]


@in_loop
async def test_the_surface_can_be_switched_off() -> None:
    async with caller(seed_services=False) as call:
        with pytest.raises(GrenacheError):
            await call(OWN, {"op": "status"})
    async with caller(WebSocketTransport(), seed_services=False) as call:
        with pytest.raises(GrenacheError):
            await call(OWN, {"op": "status"})


@in_loop
async def test_a_socket_serves_on_any_path_and_many_calls_at_once() -> None:
    async with caller() as call, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{call.gateway.port}/any/path"
        async with session.ws_connect(url) as socket:
            for rid in range(50):
                await socket.send_str(json.dumps([rid, OWN, {"op": "best_price"}]))
            answers = [json.loads((await socket.receive()).data) for _ in range(50)]
        assert sorted(answer[0] for answer in answers) == list(range(50))
        assert all(answer[1] is None for answer in answers)
