"""What `account` prints of the answers of a node."""

from __future__ import annotations

import asyncio

import pytest

from raft_exchange.__main__ import main
from tests.support.coroutines import in_loop
from tests.support.scripted_node import problem, reply, scripted_nodes

ACCOUNT = {
    "account": "ann",
    "balances": {"USD": {"free": "99.5", "held": "0.5"}, "BTC": {"free": "1", "held": "0"}},
    "frozen": False,
    "sequence": 4,
}
FILL = {
    "trade_id": "17",
    "market": "BTC-USD",
    "price": "100.25",
    "quantity": "0.5",
    "maker_order_id": "1",
    "taker_order_id": "2",
    "taker_side": "buy",
    "time": "2026-01-01T00:00:00Z",
    "sequence": 4,
    "order_id": "2",
    "side": "buy",
    "liquidity": "taker",
    "fee": "0.050125",
    "fee_asset": "USD",
}


@in_loop
async def test_balances_and_fills_are_tables(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, ACCOUNT))
        node.script.append(reply(200, {"fills": [FILL], "cursor": "16", "sequence": 4}))
        url = ("--url", node.url, "--account", "ann")
        assert await asyncio.to_thread(main, ["account", "balances", *url]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["BTC", "1", "0"] in rows
        assert ["USD", "99.5", "0.5"] in rows
        assert await asyncio.to_thread(main, ["account", "fills", *url]) == 0
        out = capsys.readouterr().out
        assert "0.050125 USD" in out
        assert "more: --cursor 16" in out
        assert {asked.headers["X-Account"] for asked in node.asked} == {"ann"}


@in_loop
async def test_an_account_that_is_not_there_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(1) as (node,):
        node.otherwise = problem(404, "unknown_account")
        code = await asyncio.to_thread(main, ["account", "balances", "--url", node.url])
        assert code == 1
        assert "unknown_account" in capsys.readouterr().err
