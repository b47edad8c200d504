"""Opening and changing markets over HTTP."""

import pytest

from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

NEW = {"market": "ETH-EUR", "base": "ETH", "quote": "EUR", "tick_size": "0.05", "lot_size": 0.001}


@in_loop
async def test_a_market_with_no_limits_takes_everything_on_its_grid() -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/markets", NEW)
        assert answer.status == 201
        assert answer.body == {
            "market": "ETH-EUR",
            "base": "ETH",
            "quote": "EUR",
            "tick_size": "0.05",
            "lot_size": "0.001",
            "min_price": "0.05",
            "max_price": "50000000000000",
            "min_quantity": "0.001",
            "max_quantity": "1000000000000000",
            "min_notional": "0",
            "self_trade_prevention": "expire_taker",
            "price_band": None,
            "accounts": "off",
            "signed_orders": "off",
            "maker_fee": "0",
            "taker_fee": "0",
            "max_open_orders": None,
            "max_notional": None,
            "order_types": ["limit", "market", "stop", "stop_limit"],
            "status": "trading",
            "sequence": 4,
        }
        found = await g.call("GET", "/v1/markets/ETH-EUR")
        assert found.body == answer.body
        assert len((await g.call("GET", "/v1/markets")).body["markets"]) == 2
        again = await g.call("POST", "/v1/markets", NEW)
        assert (again.status, again.code) == (409, "already_exists")


@in_loop
async def test_limits_bind_orders_exactly() -> None:
    """The least notional is met by the first product that is not below it."""
    async with gateway() as g:
        limits = {"min_price": "1", "max_price": "9", "min_quantity": "0.5", "min_notional": "10"}
        assert (await g.call("POST", "/v1/markets", NEW | limits)).status == 201
        order = {"market": "ETH-EUR", "side": "buy", "type": "limit"}
        for price, quantity, code in (
            ("0.95", "20", "out_of_range"),
            ("9.05", "20", "out_of_range"),
            ("5", "0.499", "out_of_range"),
            ("5", "1.999", "min_notional"),
            ("5", "2", None),
        ):
            answer = await g.call(
                "POST", "/v1/orders", order | {"price": price, "quantity": quantity}
            )
            assert (answer.code if code else answer.status) == (code or 201)


WRONG_MARKETS = [
    ({"market": "a b"}, 400, "bad_field", "market"),
    ({"base": None}, 400, "bad_field", "base"),
    ({"quote": "ETH"}, 422, "invalid_combination", "quote"),
    ({"tick_size": None}, 400, "bad_field", "tick_size"),
    ({"tick_size": "0"}, 422, "out_of_range", "tick_size"),
    ({"tick_size": "1e-19"}, 422, "out_of_range", "tick_size"),
    ({"lot_size": "1e30"}, 422, "out_of_range", "lot_size"),
    ({"lot_size": "x"}, 400, "bad_field", "lot_size"),
    ({"min_price": "0.01"}, 422, "off_tick", "min_price"),
    ({"max_price": "0"}, 422, "out_of_range", "max_price"),
    ({"min_price": "2", "max_price": "1"}, 422, "invalid_combination", "max_price"),
    ({"min_quantity": "0.0001"}, 422, "off_lot", "min_quantity"),
    ({"min_notional": "-1"}, 422, "out_of_range", "min_notional"),
    ({"min_notional": []}, 400, "bad_field", "min_notional"),
    ({"min_notional": "1e60"}, 422, "out_of_range", "min_notional"),
    ({"makers_fee": "0"}, 400, "bad_field", "makers_fee"),
    ({"maker_fee": "0.2"}, 422, "out_of_range", "maker_fee"),
    ({"taker_fee": "-0.001"}, 422, "out_of_range", "taker_fee"),
    ({"accounts": True}, 400, "bad_field", "accounts"),
    ({"self_trade_prevention": "x"}, 400, "bad_field", "self_trade_prevention"),
]


@in_loop
async def test_a_market_that_could_not_work_is_refused() -> None:
    async with gateway() as g:
        for changes, status, code, field in WRONG_MARKETS:
            answer = await g.call("POST", "/v1/markets", NEW | changes)
            found = (answer.status, answer.code, answer.body["field"])
            assert found == (status, code, field), changes


@in_loop
async def test_a_halted_market_takes_cancels_only() -> None:
    async with gateway() as g:
        await g.place()
        path = "/v1/markets/BTC-USD"
        changed = await g.call("PATCH", path, {"status": "halt", "max_price": "200"})
        assert (changed.body["status"], changed.body["max_price"]) == ("halt", "200")
        assert (await g.place()).code == "market_halted"
        assert (await g.call("DELETE", "/v1/orders/1")).status == 200
        assert (await g.call("PATCH", path, {"status": "trading"})).body["max_price"] == "200"
        assert (await g.place()).status == 201
        assert (await g.place(price="201")).code == "out_of_range"


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": "open"}, {"tick_size": "1"}])
@in_loop
async def test_a_change_that_says_nothing_or_too_much_is_refused(body: object) -> None:
    async with gateway() as g:
        answer = await g.call("PATCH", "/v1/markets/BTC-USD", body)
        assert (answer.status, answer.code) == (400, "bad_field")
        assert (await g.call("PATCH", "/v1/markets/NO-SUCH", {"status": "halt"})).status == 404
