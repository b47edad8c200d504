"""Placing, amending and canceling over HTTP, against the real state machine."""

import asyncio

import pytest

from raft_exchange.decoding.errors import ErrorCode
from raft_exchange.sequencer.outcome import Refusal, Refused, Unknown
from tests.support.coroutines import eventually, in_loop
from tests.support.fake_core import NO_LEADER
from tests.support.gateway import gateway

LIMIT = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "100"}


@in_loop
async def test_a_resting_order_is_answered_in_full() -> None:
    """Every field of an order has a value or null; decimals are canonical strings."""
    async with gateway() as g:
        body = LIMIT | {"quantity": "1.50", "price": "100.250", "client_order_id": "mine"}
        answer = await g.call("POST", "/v1/orders", body)
        assert answer.status == 201
        assert answer.headers["X-Sequence"] == "4"
        assert answer.body == {
            "order": {
                "order_id": "1",
                "client_order_id": "mine",
                "account": "anonymous",
                "market": "BTC-USD",
                "side": "buy",
                "type": "limit",
                "time_in_force": "gtc",
                "price": "100.25",
                "stop_price": None,
                "quantity": "1.5",
                "filled_quantity": "0",
                "remaining_quantity": "1.5",
                "average_price": None,
                "display_quantity": None,
                "quote_quantity": None,
                "oco_order_id": None,
                "expires_at": None,
                "post_only": False,
                "self_trade_prevention": "none",
                "status": "open",
                "created_at": "2023-11-14T22:13:20.000000Z",
                "updated_at": "2023-11-14T22:13:20.000000Z",
                "sequence": 4,
            },
            "trades": [],
            "sequence": 4,
        }


@in_loop
async def test_a_taker_is_told_its_trades_at_the_makers_prices() -> None:
    async with gateway() as g:
        await g.place("sell", "100", quantity="1")
        await g.place("sell", "100.01", quantity="2")
        answer = await g.place("buy", "101", quantity="3.5")
        assert [(t["trade_id"], t["price"], t["quantity"]) for t in answer.body["trades"]] == [
            ("1", "100", "1"),
            ("2", "100.01", "2"),
        ]
        assert answer.body["trades"][0] == {
            "trade_id": "1",
            "market": "BTC-USD",
            "price": "100",
            "quantity": "1",
            "maker_order_id": "1",
            "taker_order_id": "3",
            "taker_side": "buy",
            "time": "2023-11-14T22:13:20.000000Z",
            "sequence": 8,
        }
        order = answer.body["order"]
        assert (order["status"], order["filled_quantity"]) == ("partially_filled", "3")
        assert order["remaining_quantity"] == "0.5"
        assert order["average_price"] == "100.006666666666666667"


@pytest.mark.parametrize("text", ['"0.3"', "0.3", "3e-1", '"0.30"', '"3E-1"', "0.3000000000000000"])
@in_loop
async def test_numbers_may_be_strings_or_json_numbers_and_stay_exact(text: str) -> None:
    """0.3 is no binary fraction: a float on the way would show."""
    async with gateway() as g:
        body = b'{"market":"BTC-USD","side":"buy","type":"limit","price":100,"quantity":%s}'
        answer = await g.call("POST", "/v1/orders", body % text.encode())
        assert (answer.status, answer.body["order"]["quantity"]) == (201, "0.3")


WRONG_ORDERS = [
    ({"price": "100.001"}, 422, "off_tick", "price"),
    ({"quantity": "0.000000001"}, 422, "off_lot", "quantity"),
    ({"price": "0"}, 422, "out_of_range", "price"),
    ({"price": "-1"}, 422, "out_of_range", "price"),
    ({"price": "1e30"}, 422, "out_of_range", "price"),
    ({"quantity": "0"}, 422, "out_of_range", "quantity"),
    ({"quantity": "1e30"}, 422, "out_of_range", "quantity"),
    ({"price": "41abc"}, 400, "bad_field", "price"),
    ({"price": "NaN"}, 400, "bad_field", "price"),
    ({"price": "1e999999"}, 400, "bad_field", "price"),
    ({"price": True}, 400, "bad_field", "price"),
    ({"price": ["1"]}, 400, "bad_field", "price"),
    ({"price": None}, 400, "bad_field", "price"),
    ({"quantity": None}, 400, "bad_field", "quantity"),
    ({"quantity": {}}, 400, "bad_field", "quantity"),
    ({"market": None}, 400, "bad_field", "market"),
    ({"market": 1}, 400, "bad_field", "market"),
    ({"market": "../x"}, 400, "bad_field", "market"),
    ({"market": "\ud800"}, 400, "bad_field", "market"),
    ({"market": "ETH-USD"}, 404, "unknown_market", "market"),
    ({"side": "BUY"}, 400, "bad_field", "side"),
    ({"side": None}, 400, "bad_field", "side"),
    ({"side": 0}, 400, "bad_field", "side"),
    ({"type": "trailing"}, 400, "bad_field", "type"),
    ({"type": "stop"}, 422, "invalid_combination", "price"),
    ({"type": "stop", "price": None}, 400, "bad_field", "stop_price"),
    ({"type": "stop_limit"}, 400, "bad_field", "stop_price"),
    ({"type": "stop_limit", "stop_price": "0.001"}, 422, "off_tick", "stop_price"),
    ({"type": "stop_limit", "stop_price": "0"}, 422, "out_of_range", "stop_price"),
    (
        {"type": "stop_limit", "stop_price": "9", "time_in_force": "fok"},
        422,
        "invalid_combination",
        "time_in_force",
    ),
    ({"display_quantity": "0.000000001"}, 422, "off_lot", "display_quantity"),
    ({"display_quantity": "0"}, 422, "out_of_range", "display_quantity"),
    ({"display_quantity": "2"}, 422, "out_of_range", "display_quantity"),
    ({"display_quantity": "0.009"}, 422, "out_of_range", "display_quantity"),
    (
        {"display_quantity": "0.1", "time_in_force": "ioc"},
        422,
        "invalid_combination",
        "display_quantity",
    ),
    ({"quote_quantity": "5"}, 422, "invalid_combination", "quote_quantity"),
    ({"quote_quantity": "five"}, 400, "bad_field", "quote_quantity"),
    ({"quote_quantity": "1e-11"}, 422, "out_of_range", "quote_quantity"),
    ({"time_in_force": "day"}, 400, "bad_field", "time_in_force"),
    ({"time_in_force": "gtd"}, 422, "invalid_combination", "expires_at"),
    ({"expires_at": "2030-01-01T00:00:00Z"}, 422, "invalid_combination", "expires_at"),
    ({"expires_at": "tomorrow"}, 400, "bad_field", "expires_at"),
    ({"expires_at": 5}, 400, "bad_field", "expires_at"),
    ({"expires_at": "1970-01-01T00:00:00Z"}, 422, "out_of_range", "expires_at"),
    (
        {"time_in_force": "gtd", "expires_at": "2020-01-01T00:00:00Z"},
        422,
        "out_of_range",
        "expires_at",
    ),
    ({"post_only": "yes"}, 400, "bad_field", "post_only"),
    ({"post_only": 1}, 400, "bad_field", "post_only"),
    ({"post_only": True, "time_in_force": "ioc"}, 422, "invalid_combination", "post_only"),
    ({"self_trade_prevention": "off"}, 400, "bad_field", "self_trade_prevention"),
    ({"client_order_id": ""}, 400, "bad_field", "client_order_id"),
    ({"client_order_id": "a" * 65}, 400, "bad_field", "client_order_id"),
    ({"client_order_id": "a\x00"}, 400, "bad_field", "client_order_id"),
    ({"client_order_id": "né"}, 400, "bad_field", "client_order_id"),
    ({"client_order_id": "\udfff"}, 400, "bad_field", "client_order_id"),
    ({"type": "market"}, 422, "invalid_combination", "price"),
    ({"type": "market", "price": None, "time_in_force": "gtc"}, 422, "invalid_combination", ""),
    ({"stop_price": "1"}, 422, "invalid_combination", "stop_price"),
    ({"\ud800": "1"}, 400, "bad_field", ""),
]


@in_loop
async def test_a_wrong_order_is_refused_by_name() -> None:
    """The problem names the field, shows the value and says what is allowed; nothing rests."""
    async with gateway() as g:
        for changes, status, code, field in WRONG_ORDERS:
            answer = await g.call("POST", "/v1/orders", LIMIT | changes)
            assert (answer.status, answer.code) == (status, code), changes
            assert answer.body["field"] == field or not field, changes
            assert status != 400 or answer.body["allowed"], changes
        assert not g.core.exchange.live.by_id


@in_loop
async def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    async with gateway() as g:
        answer = await g.place(pots_only=True)
        assert answer.code == "bad_field"
        assert answer.body["field"] == "pots_only"
        assert "post_only" in answer.body["allowed"]


@in_loop
async def test_a_refusal_by_the_exchange_shows_value_and_bounds() -> None:
    async with gateway() as g:
        g.core.open_market("ETH-USD", price_ticks_min=1_000, price_ticks_max=2_000, notional_min=10)
        answer = await g.place(market="ETH-USD", price="9.99")
        assert (answer.status, answer.code) == (422, "out_of_range")
        assert answer.body["value"] == "9.99"
        assert answer.body["allowed"] == "10 to 20 in steps of 0.01"
        assert answer.headers["X-Sequence"] == str(g.core.exchange.sequence)


@in_loop
async def test_what_the_book_decides_is_refused_with_its_code() -> None:
    async with gateway() as g:
        await g.place("sell", "100", client_order_id="a")
        assert (await g.place("buy", "100", post_only=True)).code == "would_take"
        fok = await g.place("buy", "100", quantity="2", time_in_force="fok")
        assert (fok.status, fok.code) == (422, "unfillable")
        twice = await g.place("sell", "100", client_order_id="a")
        assert (twice.status, twice.code) == (409, "duplicate_client_order_id")


@in_loop
async def test_a_market_order_takes_what_is_there_and_never_rests() -> None:
    async with gateway() as g:
        await g.place("sell", "100")
        order = {"market": "BTC-USD", "side": "buy", "type": "market", "quantity": "3"}
        answer = await g.call("POST", "/v1/orders", order)
        view = answer.body["order"]
        assert (answer.status, view["status"], view["filled_quantity"]) == (201, "expired", "1")
        assert (view["price"], view["time_in_force"]) == (None, "ioc")


@in_loop
async def test_an_order_that_expires_says_when() -> None:
    async with gateway() as g:
        at = "2023-11-14T23:13:20+00:30"
        answer = await g.place(time_in_force="gtd", expires_at=at)
        assert answer.body["order"]["expires_at"] == "2023-11-14T22:43:20.000000Z"
        g.core.advance(30 * 60)
        found = await g.call("GET", "/v1/orders/1")
        assert found.body["order"]["status"] == "expired"


@in_loop
async def test_an_amend_changes_price_and_total_in_one_step() -> None:
    async with gateway() as g:
        await g.place(price="100", quantity="2")
        answer = await g.call("PATCH", "/v1/orders/1", {"price": "99.5", "quantity": 3})
        assert answer.status == 200
        order = answer.body["order"]
        assert (order["price"], order["quantity"], order["status"]) == ("99.5", "3", "open")
        assert answer.body["trades"] == []


@in_loop
async def test_an_amend_that_crosses_trades_at_once() -> None:
    async with gateway() as g:
        await g.place("sell", "101", quantity="1")
        await g.place("buy", "100", quantity="1")
        answer = await g.call("PATCH", "/v1/orders/2", {"price": "101"})
        assert answer.body["order"]["status"] == "filled"
        assert [t["price"] for t in answer.body["trades"]] == ["101"]


@in_loop
async def test_an_amend_below_what_is_filled_ends_the_order() -> None:
    async with gateway() as g:
        await g.place("sell", "100", quantity="2")
        await g.place("buy", "100", quantity="1")
        answer = await g.call("PATCH", "/v1/orders/1", {"quantity": "0.5"})
        assert (answer.status, answer.body["order"]["status"]) == (200, "canceled")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/orders/1", {}, 400, "bad_field"),
        ("/v1/orders/1", {"price": None}, 400, "bad_field"),
        ("/v1/orders/1", {"side": "buy"}, 400, "bad_field"),
        ("/v1/orders/1", {"price": "100.001"}, 422, "off_tick"),
        ("/v1/orders/1", {"price": "0"}, 422, "out_of_range"),
        ("/v1/orders/2", {"price": "100"}, 404, "unknown_order"),
        ("/v1/orders/0", {"price": "100"}, 400, "bad_field"),
        ("/v1/orders/1a", {"price": "100"}, 400, "bad_field"),
        ("/v1/orders/99999999999999999999", {"price": "100"}, 400, "bad_field"),
    ],
)
@in_loop
async def test_a_wrong_amend_is_refused(path: str, body: object, status: int, code: str) -> None:
    async with gateway() as g:
        await g.place(price="100")
        answer = await g.call("PATCH", path, body)
        assert (answer.status, answer.code) == (status, code)


@in_loop
async def test_a_final_order_is_not_open_any_more() -> None:
    async with gateway() as g:
        await g.place(price="100")
        assert (await g.call("DELETE", "/v1/orders/1")).status == 200
        for method, body in (("DELETE", None), ("PATCH", {"price": "99"})):
            answer = await g.call(method, "/v1/orders/1", body)
            assert (answer.status, answer.code) == (422, "not_open")


@in_loop
async def test_a_cancel_answers_with_the_order_as_it_ended() -> None:
    async with gateway() as g:
        await g.place(price="100", client_order_id="x/y{1}")
        answer = await g.call("DELETE", "/v1/orders/by-client-id/x%2Fy%7B1%7D")
        assert answer.status == 200
        assert answer.body["order"]["status"] == "canceled"
        assert answer.body["sequence"] == answer.body["order"]["sequence"]
        again = await g.call("DELETE", "/v1/orders/by-client-id/x%2Fy%7B1%7D")
        assert (again.status, again.code) == (404, "unknown_order")


@in_loop
async def test_cancel_all_takes_one_market_or_side_or_everything() -> None:
    async with gateway() as g:
        g.core.open_market("ETH-USD")
        await g.place("buy", "1")
        await g.place("sell", "9")
        await g.place("buy", "1", market="ETH-USD")
        canceled = await g.call("DELETE", "/v1/orders?market=BTC-USD&side=sell")
        assert [o["order_id"] for o in canceled.body["canceled"]] == ["2"]
        canceled = await g.call("DELETE", "/v1/orders")
        assert [o["order_id"] for o in canceled.body["canceled"]] == ["1", "3"]
        assert (await g.call("DELETE", "/v1/orders")).body["canceled"] == []
        assert (await g.call("DELETE", "/v1/orders?market=LTC-USD")).code == "unknown_market"
        assert (await g.call("DELETE", "/v1/orders?side=left")).code == "bad_field"


@in_loop
async def test_another_account_is_opened_through_the_log_on_first_use() -> None:
    """In front of its first command, in the same group; and only once."""
    async with gateway() as g:
        for _ in range(2):
            answer = await g.call("POST", "/v1/orders", LIMIT, X_Account="ann")
            assert (answer.status, answer.body["order"]["account"]) == (201, "ann")
        assert [len(group) for group in g.core.submitted] == [2, 1]


@in_loop
async def test_an_account_opened_through_another_node_is_no_obstacle() -> None:
    """This node does not know it yet and asks again: `already_exists` is fine."""
    async with gateway() as g:
        await g.call("POST", "/v1/orders", LIMIT, X_Account="ann")
        del g.core.marketdata.accounts["ann"]
        assert (await g.call("POST", "/v1/orders", LIMIT, X_Account="ann")).status == 201


@in_loop
async def test_nobody_touches_or_sees_the_orders_of_another_account() -> None:
    async with gateway() as g:
        await g.call("POST", "/v1/orders", LIMIT, X_Account="ann")
        for method, body in (("GET", None), ("PATCH", {"price": "9"}), ("DELETE", None)):
            answer = await g.call(method, "/v1/orders/1", body)
            assert (answer.status, answer.code) == (404, "unknown_order"), method
        assert (await g.call("GET", "/v1/orders")).body["orders"] == []


@pytest.mark.parametrize("account", ["", "-x", "a" * 33, "a b", "né", "../etc"])
@in_loop
async def test_an_account_that_is_no_name_is_refused(account: str) -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders", LIMIT, X_Account=account)
        assert (answer.status, answer.code, answer.body["field"]) == (400, "bad_field", "X-Account")


@in_loop
async def test_a_write_sequenced_after_its_deadline_does_nothing() -> None:
    async with gateway() as g:
        late = await g.call("POST", "/v1/orders", LIMIT, X_Deadline="2023-11-14T22:13:19Z")
        assert (late.status, late.code) == (422, "deadline_passed")
        in_time = await g.call("POST", "/v1/orders", LIMIT, X_Deadline="2023-11-14T22:13:20Z")
        assert in_time.status == 201
        bad = await g.call("POST", "/v1/orders", LIMIT, X_Deadline="soon")
        assert (bad.status, bad.body["field"]) == (400, "X-Deadline")


@in_loop
async def test_a_dry_run_answers_the_order_and_submits_nothing() -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders?dry_run=true", LIMIT)
        assert answer.status == 200
        order = answer.body["order"]
        assert (order["order_id"], order["status"], order["price"]) == (None, "open", "100")
        await g.place(price="100", quantity="2")
        amended = await g.call("PATCH", "/v1/orders/1?dry_run=true", {"quantity": "5"})
        assert (amended.status, amended.body["order"]["quantity"]) == (200, "5")
        assert len(g.core.submitted) == 1
        assert g.core.exchange.live.by_id[1].quantity_lots == 2 * 10**8


@in_loop
async def test_a_dry_run_refuses_what_the_rules_refuse() -> None:
    async with gateway() as g:
        g.core.open_market("ETH-USD", price_ticks_max=2_000)
        path = "/v1/orders?dry_run=true"
        answer = await g.call("POST", path, LIMIT | {"market": "ETH-USD"})
        assert (answer.status, answer.code) == (422, "out_of_range")
        answer = await g.call("POST", path, LIMIT | {"post_only": True, "time_in_force": "ioc"})
        assert answer.code == "invalid_combination"
        await g.call("PATCH", "/v1/markets/BTC-USD", {"status": "halt"})
        assert (await g.call("POST", path, LIMIT)).code == "market_halted"
        assert (await g.call("POST", "/v1/orders?dry_run=1", LIMIT)).code == "bad_field"


@pytest.mark.parametrize("refusal", list(Refusal))
@in_loop
async def test_what_never_reached_the_log_says_why_and_when_to_retry(refusal: Refusal) -> None:
    async with gateway() as g:
        g.core.answer = Refused(refusal, "because")
        for call in (
            g.call("POST", "/v1/orders", LIMIT),
            g.call("DELETE", "/v1/orders/1"),
            g.call("DELETE", "/v1/orders"),
            g.call("POST", "/v1/orders/batch", {"orders": [LIMIT]}),
        ):
            answer = await call
            assert (answer.status, answer.code) == (503, refusal.value)
            assert int(answer.headers["Retry-After"]) >= 1


@in_loop
async def test_an_unknown_outcome_is_called_unknown() -> None:
    async with gateway() as g:
        g.core.answer = Unknown()
        answer = await g.call("POST", "/v1/orders", LIMIT)
        assert (answer.status, answer.code) == (503, "outcome_unknown")
        assert "Idempotency-Key" in answer.body["detail"]


@in_loop
async def test_an_order_is_never_acknowledged_before_it_is_committed() -> None:
    async with gateway() as g:
        g.core.gate.clear()
        placing = asyncio.create_task(g.place())
        await eventually(lambda: bool(g.core.submitted))
        assert not placing.done()
        g.core.gate.set()
        assert (await placing).status == 201


@in_loop
async def test_no_leader_does_not_hide_a_malformed_order() -> None:
    """What is wrong whatever the cluster says is refused without asking it."""
    async with gateway() as g:
        g.core.answer = NO_LEADER
        assert (await g.place(price="abc")).code == ErrorCode.BAD_FIELD
        assert not g.core.submitted
