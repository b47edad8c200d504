"""What `account` prints of the answers of a node."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path

import pytest

from raft_exchange.__main__ import main
from raft_exchange.matching.messages import (
    AdvanceTime,
    CreateAccount,
    CreateKey,
    KeyKind,
    Scope,
)
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway
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


@in_loop
async def test_a_key_pair_is_made_registered_and_signs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a trader and an operator do it: the private half never leaves its file."""
    async with gateway(auth_required=True) as g:
        g.core.run(AdvanceTime(time.time_ns() // 1_000))
        for account in ("ann", "admin"):
            g.core.run(CreateAccount(account))
        digest = hashlib.sha256(b"admin-key").digest()
        g.core.run(CreateKey("admin", "ops", KeyKind.BEARER, digest, int(Scope.ADMIN), ""))
        pem, admin, url = tmp_path / "ann.pem", tmp_path / "admin", f"http://127.0.0.1:{g.port}"
        admin.write_text("admin-key\n")
        assert main(["account", "make-key", str(pem)]) == 0
        public_key = capsys.readouterr().out.strip()
        register = ["account", "register-key", "ann", "ann-1", public_key, "--url", url]
        code = await asyncio.to_thread(main, [*register, "--key-file", str(admin)])
        assert (code, capsys.readouterr().out) == (0, "ann-1 signs for ann: read, trade\n")
        signs = ["--url", url, "--signing-key", str(pem), "--key-id", "ann-1"]
        assert await asyncio.to_thread(main, ["order", "place", "buy", "1", "100", *signs]) == 0
        assert await asyncio.to_thread(main, ["account", "balances", *signs]) == 0
        capsys.readouterr()
        assert main(["account", "make-key", str(pem)]) == 2, "it is not written over"
        assert "exists" in capsys.readouterr().err
        assert await asyncio.to_thread(main, ["account", "balances", *signs[:-2]]) == 2
        assert "key_id" in capsys.readouterr().err
