"""Ticker and candles as a client sees them."""

from __future__ import annotations

import pytest

from raft_exchange.decoding.times import parse_time_us
from tests.support.coroutines import in_loop
from tests.support.gateway import Gateway, gateway

TICKER = "/v1/markets/BTC-USD/ticker"
CANDLES = "/v1/markets/BTC-USD/candles"
MINUTE = "2023-11-14T22:13:00Z"  # the fake core starts 20 s later


async def trade(g: Gateway, price: str, quantity: str = "1") -> None:
    await g.place("sell", price, quantity=quantity)
    await g.place("buy", price, quantity=quantity)


@in_loop
async def test_a_market_that_never_traded_has_a_ticker_of_nulls() -> None:
    async with gateway() as g:
        await g.place("buy", "99.5")
        body = (await g.call("GET", TICKER)).body
        assert (body["bid"], body["ask"]) == ("99.5", None)
        assert {body[name] for name in ("open", "high", "low", "last", "change")} == {None}
        assert (body["volume"], body["quote_volume"], body["trades"]) == ("0", "0", 0)
        assert (await g.call("GET", CANDLES)).body["candles"] == []


@in_loop
async def test_the_ticker_is_exact_and_forgets_after_24_hours() -> None:
    async with gateway() as g:
        await trade(g, "100.25", "0.00000003")
        await trade(g, "99.01", "2")
        body = (await g.call("GET", TICKER)).body
        assert (body["open"], body["high"], body["low"]) == ("100.25", "100.25", "99.01")
        assert (body["last"], body["change"]) == ("99.01", "-1.24")
        assert (body["volume"], body["quote_volume"]) == ("2.00000003", "198.0200030075")
        assert (body["trades"], body["sequence"]) == (2, g.core.exchange.sequence)
        g.core.advance(24 * 3_600 - 21)
        assert (await g.call("GET", TICKER)).body["trades"] == 2
        g.core.advance(60)
        assert (await g.call("GET", TICKER)).body["last"] is None


@in_loop
async def test_candles_are_of_the_logged_clock_and_leave_out_what_did_not_trade() -> None:
    async with gateway() as g:
        await trade(g, "100", "1")
        await trade(g, "103", "2")
        g.core.advance(180)
        await trade(g, "101", "1")
        body = (await g.call("GET", f"{CANDLES}?interval=1m")).body
        first, second = body["candles"]
        assert (body["market"], body["interval"]) == ("BTC-USD", "1m")
        assert (first["time"], second["time"]) == (
            "2023-11-14T22:13:00.000000Z",
            "2023-11-14T22:16:00.000000Z",
        )
        assert [first[name] for name in ("open", "high", "low", "close")] == [
            *("100", "103", "100", "103"),
        ]
        assert (first["volume"], first["quote_volume"], first["trades"]) == ("3", "306", 2)
        day = (await g.call("GET", f"{CANDLES}?interval=1d")).body["candles"]
        assert [(c["time"], c["close"], c["trades"]) for c in day] == [
            ("2023-11-14T00:00:00.000000Z", "101", 3)
        ]


@in_loop
async def test_a_page_of_candles_begins_at_start_or_else_ends_at_the_end() -> None:
    async with gateway() as g:
        for _ in range(5):
            await trade(g, "100")
            g.core.advance(60)

        async def minutes(query: str) -> list[int]:
            body = (await g.call("GET", f"{CANDLES}?{query}")).body
            first_us = parse_time_us(MINUTE)
            times = [parse_time_us(candle["time"]) for candle in body["candles"]]
            return [(time_us - first_us) // 60_000_000 for time_us in times]

        assert await minutes("") == [0, 1, 2, 3, 4]
        assert await minutes("limit=2") == [3, 4]
        assert await minutes(f"start={MINUTE}&limit=2") == [0, 1]
        assert await minutes("start=2023-11-14T22:15:00Z&end=2023-11-14T22:17:00Z") == [2, 3]
        assert await minutes("end=2023-11-14T22:16:00Z&limit=2") == [1, 2]


@in_loop
@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(("interval=2m", "interval"), ("limit=0", "limit"), ("limit=1441", "limit")),
        *(("start=yesterday", "start"), ("end=1", "end"), ("depth=1", "depth")),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, field: str) -> None:
    async with gateway() as g:
        answer = await g.call("GET", f"{CANDLES}?{query}")
        assert (answer.status, answer.code, answer.body["field"]) == (400, "bad_field", field)


@in_loop
async def test_pages_of_trades_are_walked_by_their_cursor() -> None:
    async with gateway() as g:
        for _ in range(5):
            await trade(g, "100")
        found, cursor = [], ""
        while True:
            page = (await g.call("GET", f"/v1/markets/BTC-USD/trades?limit=2{cursor}")).body
            found += [trade["trade_id"] for trade in page["trades"]]
            if page["cursor"] is None:
                break
            cursor = f"&before={page['cursor']}"
        assert found == ["5", "4", "3", "2", "1"]
