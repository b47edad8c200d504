"""Stops, icebergs, OCO, replace, quote-sized orders, bands and the dead-man switch over HTTP."""

from __future__ import annotations

from typing import Any

from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

STOP = {"market": "BTC-USD", "side": "buy", "type": "stop", "quantity": "1", "stop_price": "101"}


def leg(type_: str, **terms: Any) -> dict[str, Any]:
    return {"market": "BTC-USD", "side": "sell", "type": type_, "quantity": "1"} | terms


@in_loop
async def test_a_stop_waits_is_elected_and_shows_its_life() -> None:
    async with gateway() as g:
        placed = await g.call("POST", "/v1/orders", STOP)
        assert placed.status == 201
        order = placed.body["order"]
        assert (order["status"], order["stop_price"], order["price"]) == ("pending", "101", None)
        assert order["time_in_force"] == "gtc"
        listed = await g.call("GET", "/v1/orders?status=pending")
        assert [o["order_id"] for o in listed.body["orders"]] == ["1"]
        book = await g.call("GET", "/v1/markets/BTC-USD/book")
        assert (book.body["bids"], book.body["asks"]) == ([], [])
        await g.place("sell", "101", quantity="2")
        crossing = await g.place("buy", "101", quantity="1")
        assert [t["taker_order_id"] for t in crossing.body["trades"]] == ["3"], "only its own"
        assert crossing.body["order"]["status"] == "filled"
        found = await g.call("GET", "/v1/orders/1")
        assert found.body["order"]["status"] == "filled"


@in_loop
async def test_an_elected_stop_limit_shows_as_triggered_and_is_amended_like_a_limit_order() -> None:
    async with gateway() as g:
        await g.call("POST", "/v1/orders", STOP | {"type": "stop_limit", "price": "99"})
        moved = await g.call("PATCH", "/v1/orders/1", {"stop_price": "100.5", "quantity": "2"})
        order = moved.body["order"]
        assert (order["status"], order["stop_price"]) == ("pending", "100.5")
        await g.place("sell", "101")
        await g.place("buy", "101")
        found = (await g.call("GET", "/v1/orders/1")).body["order"]
        assert (found["status"], found["price"], found["quantity"]) == ("triggered", "99", "2")
        late = await g.call("PATCH", "/v1/orders/1", {"stop_price": "102"})
        assert (late.status, late.code) == (422, "invalid_combination")
        assert late.body["field"] == "stop_price"


@in_loop
async def test_an_answer_shows_what_the_stops_it_elected_did_to_the_order() -> None:
    """It rests, its trade elects a stop, and that stop trades with what rests."""
    async with gateway() as g:
        await g.place("sell", "100", quantity="1")
        sell = {"side": "sell", "type": "stop_limit", "price": "90", "stop_price": "100"}
        await g.call("POST", "/v1/orders", STOP | sell)
        answer = await g.place("buy", "100", quantity="3")
        order = answer.body["order"]
        assert (order["status"], order["filled_quantity"]) == ("partially_filled", "2")
        roles = [(t["maker_order_id"], t["taker_order_id"]) for t in answer.body["trades"]]
        assert roles == [("1", "3"), ("3", "2")]
        assert (await g.call("GET", "/v1/orders/3")).body["order"] == order


@in_loop
async def test_a_stop_price_that_is_passed_is_refused_with_its_value() -> None:
    async with gateway() as g:
        await g.place("sell", "101")
        await g.place("buy", "101")
        for query in ("", "?dry_run=true"):
            answer = await g.call("POST", f"/v1/orders{query}", STOP)
            assert (answer.status, answer.code) == (422, "stop_would_trigger")
            assert (answer.body["field"], answer.body["value"]) == ("stop_price", "101")


@in_loop
async def test_the_book_shows_of_an_iceberg_what_it_displays() -> None:
    async with gateway() as g:
        placed = await g.place("sell", "100", quantity="10", display_quantity="3")
        assert placed.body["order"]["display_quantity"] == "3"
        assert placed.body["order"]["remaining_quantity"] == "10"
        for level, row in ((2, ["100", "3", 1]), (3, ["100", "3", "1"])):
            book = await g.call("GET", f"/v1/markets/BTC-USD/book?level={level}")
            assert book.body["asks"] == [row]
        await g.place("buy", "100", quantity="4")
        book = await g.call("GET", "/v1/markets/BTC-USD/book")
        assert book.body["asks"] == [["100", "2", 1]]
        state = await g.call("GET", "/state")
        assert state.body["asks"][0]["quantity"] == 2


@in_loop
async def test_one_leg_of_an_oco_ends_the_other() -> None:
    async with gateway() as g:
        legs = {"limit": leg("limit", price="110"), "stop": leg("stop", stop_price="90")}
        for query, status in (("?dry_run=true", 200), ("", 201)):
            answer = await g.call("POST", f"/v1/orders/oco{query}", legs)
            assert answer.status == status
            shown = [(o["type"], o["status"]) for o in answer.body["orders"]]
            assert shown == [("limit", "open"), ("stop", "pending")]
        limit, stop = answer.body["orders"]
        assert limit["oco_order_id"] == stop["order_id"]
        assert stop["oco_order_id"] == limit["order_id"]
        await g.call("DELETE", f"/v1/orders/{limit['order_id']}")
        found = await g.call("GET", f"/v1/orders/{stop['order_id']}")
        assert found.body["order"]["status"] == "canceled"


@in_loop
async def test_a_wrong_leg_is_named_and_neither_is_placed() -> None:
    async with gateway() as g:
        limit, stop = leg("limit", price="110"), leg("stop", stop_price="90")
        wrong = [
            ({"limit": limit}, 400, "bad_field", "stop"),
            ({"limit": limit, "stop": []}, 400, "bad_field", "stop"),
            ({"limit": limit, "stop": stop, "x": 1}, 400, "bad_field", "x"),
            ({"limit": limit | {"price": "1.001"}, "stop": stop}, 422, "off_tick", "limit.price"),
            ({"limit": limit, "stop": stop | {"y": 1}}, 400, "bad_field", "stop.y"),
            (
                {"limit": limit, "stop": stop | {"side": "buy"}},
                422,
                "invalid_combination",
                "stop.side",
            ),
            ({"limit": stop, "stop": stop}, 422, "invalid_combination", "limit.type"),
        ]
        for body, status, code, field in wrong:
            answer = await g.call("POST", "/v1/orders/oco", body)
            assert (answer.status, answer.code, answer.body["field"]) == (status, code, field)
        named = await g.call("POST", "/v1/orders/oco", wrong[5][0])
        assert named.body["value"] == "buy"
        assert not g.core.exchange.live.by_id


@in_loop
async def test_replace_is_one_step_or_nothing() -> None:
    async with gateway() as g:
        await g.place("buy", "100", client_order_id="mine")
        await g.place("sell", "105")
        body = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "2"}
        refused = body | {"price": "105", "post_only": True}
        answer = await g.call("POST", "/v1/orders/1/replace", refused)
        assert (answer.status, answer.code) == (422, "would_take")
        assert (await g.call("GET", "/v1/orders/1")).body["order"]["status"] == "open"
        new = body | {"price": "101", "client_order_id": "mine"}
        answer = await g.call("POST", "/v1/orders/1/replace", new)
        assert answer.status == 201
        assert answer.body["replaced"]["status"] == "canceled"
        order = answer.body["order"]
        assert (order["order_id"], order["price"], order["status"]) == ("3", "101", "open")
        again = await g.call("POST", "/v1/orders/1/replace", new)
        assert (again.status, again.code, again.body["value"]) == (422, "not_open", "1")


@in_loop
async def test_a_quote_sized_order_spends_at_most_its_amount() -> None:
    async with gateway() as g:
        await g.place("sell", "100", quantity="1")
        await g.place("sell", "300", quantity="1")
        body = {"market": "BTC-USD", "side": "buy", "type": "market", "quote_quantity": "250"}
        answer = await g.call("POST", "/v1/orders", body)
        order = answer.body["order"]
        assert (order["status"], order["filled_quantity"]) == ("filled", "1.5")
        assert (order["quantity"], order["quote_quantity"]) == ("1.5", "250")


@in_loop
async def test_a_band_is_set_shown_and_kept_to() -> None:
    async with gateway() as g:
        changed = await g.call("PATCH", "/v1/markets/BTC-USD", {"price_band": "0.1"})
        assert changed.body["price_band"] == "0.1"
        await g.place("sell", "100")
        await g.place("buy", "100")
        answer = await g.place("buy", "89.99")
        assert (answer.status, answer.code) == (422, "price_band")
        assert (answer.body["field"], answer.body["value"]) == ("price", "89.99")
        assert answer.body["allowed"].startswith("within 0.1 of the last trade")
        assert (await g.place("buy", "90")).status == 201
        for wrong in ("-0.1", "10.1", "0.0000001"):
            answer = await g.call("PATCH", "/v1/markets/BTC-USD", {"price_band": wrong})
            assert (answer.status, answer.code) == (422, "out_of_range"), wrong


@in_loop
async def test_the_dead_man_switch_is_armed_pushed_back_and_disarmed() -> None:
    async with gateway() as g:
        await g.place("buy", "100")
        armed = await g.call("POST", "/v1/cancel-after", {"seconds": 60})
        assert armed.status == 200
        assert armed.body["cancel_at"] == "2023-11-14T22:14:20.000000Z"
        g.core.advance(59)
        await g.call("POST", "/v1/cancel-after", {"seconds": "60"})
        g.core.advance(59)
        assert (await g.call("GET", "/v1/orders/1")).body["order"]["status"] == "open"
        g.core.advance(1)
        assert (await g.call("GET", "/v1/orders/1")).body["order"]["status"] == "canceled"
        off = await g.call("POST", "/v1/cancel-after", {"seconds": 0})
        assert off.body["cancel_at"] is None
        for wrong, code in ((None, "bad_field"), (-1, "out_of_range"), (86_401, "out_of_range")):
            answer = await g.call("POST", "/v1/cancel-after", {"seconds": wrong})
            assert answer.code == code
