"""`raft-exchange probe` says that a cluster trades, and fails where it does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = pytest.mark.system


KEY = "the-first-key-of-this-cluster-0123456789"
SHOWN = {"Authorization": f"Bearer {KEY}"}


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raft_exchange", "probe", "--timeout", "3", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@in_loop
async def test_it_trades_through_two_nodes_and_sees_it_at_all(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
        for urls in (cluster.urls, [",".join(cluster.urls)]):  # the market is there the second time
            done = probe(*urls)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("seen at") == 3
        cluster.kill(cluster.nodes[2])
        done = probe(*cluster.urls)
        assert done.returncode == 1
        assert "raft-exchange: " in done.stderr


@in_loop
async def test_with_keys_it_trades_with_itself_and_needs_no_balance(tmp_path: Path) -> None:
    """In an exchange with balances, where an earlier release has opened its market with them."""
    key_file = tmp_path / "admin.key"
    key_file.write_text(KEY)
    settings = {"auth": "required", "admin_key_file": key_file, "accounts": "on"}
    with RealCluster(tmp_path, nodes=1, settings=settings) as cluster:
        (node,) = cluster.nodes
        async with Client(cluster) as client:
            await client.ready()
            grid = {"base": "PROBE", "quote": "TEST", "tick_size": "1", "lot_size": "1"}
            async with asyncio.timeout(60):  # until the first key is there
                market = {"market": "PROBE-TEST", **grid}
                while True:
                    if (await client.call(node, "POST", "/v1/markets", market, SHOWN))[0] == 201:
                        break
                    await asyncio.sleep(0.05)
            arguments = ["--key-file", str(key_file), node.url]
            done = await asyncio.to_thread(probe, *arguments)
            assert (done.returncode, done.stdout.count("seen at")) == (0, 1), done.stderr
            # What a probe that was killed left behind is met by the next, which leaves nothing.
            left = {"market": "PROBE-FREE", "side": "sell", "type": "limit", "price": "1"}
            left |= {"quantity": "1"}
            assert (await client.call(node, "POST", "/v1/orders", left, SHOWN))[0] == 201
            done = await asyncio.to_thread(probe, *arguments)
            assert done.returncode == 0, done.stderr
            _, found = await client.call(node, "GET", "/v1/orders?status=open", headers=SHOWN)
            assert found["orders"] == []
