"""An operator at work on a cluster that trades: leadership handed over, backed up, restored."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.coroutines import eventually, in_loop
from tests.support.processes import Client, NodeProcess, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


async def run(*words: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raft_exchange", *map(str, words)]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=120, check=False
    )


async def told(*words: Path | str) -> Any:
    """What a command says in JSON; it must succeed."""
    done = await run(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@asynccontextmanager
async def trading(client: Client, nodes: list[NodeProcess]) -> AsyncIterator[list[str]]:
    """Place orders that rest, at one node after the other; give the ids acknowledged so far."""
    placed: list[str] = []
    is_over = asyncio.Event()

    async def trade() -> None:
        while not is_over.is_set():
            node = nodes[len(placed) % len(nodes)]
            status, body = await client.place(node, "buy", 50 + len(placed) % 50, 1)
            assert status == 201, body
            placed.append(body["order"]["order_id"])

    task = asyncio.create_task(trade())
    try:
        yield placed
    finally:
        is_over.set()
        await task


async def grown(placed: list[str], by: int) -> None:
    aim = len(placed) + by
    await eventually(lambda: len(placed) >= aim)


async def leads(client: Client, node: NodeProcess) -> str:
    return str((await client.call(node, "GET", "/v1/cluster"))[1]["leader"])


@in_loop
async def test_a_backup_of_a_trading_cluster_is_restored_as_it_was_agreed_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "old").mkdir()
    backup, restored = tmp_path / "backup", tmp_path / "new"
    restored.mkdir()
    with RealCluster(tmp_path / "old") as cluster:
        first, second, third = cluster.nodes
        async with Client(cluster) as client:
            await client.ready()
            async with trading(client, cluster.nodes) as placed:
                await grown(placed, 20)
                before = list(placed)
                kept = await told("cluster-admin", "backup", backup, "--url", second.url)
                await grown(placed, 20)  # it goes on
        for node in cluster.nodes:
            cluster.terminate(node)
    manifest = kept["manifest"]
    assert (manifest["node"], kept["out"]) == (second.id, str(backup))
    for node in (first, third):
        found = await told("verify", node.folder, "--index", str(manifest["index"]))
        assert found["sequence"] == manifest["sequence"]
        assert found["state_hash"] == manifest["state_hash"], "what all members had at that entry"
    assert (await run("restore", backup, restored / "n1", "--name", "n1")).returncode == 0
    with RealCluster(restored, nodes=1) as new:
        async with Client(new) as client:
            await client.ready()
            (node,) = new.nodes
            _, view = await client.call(node, "GET", "/v1/cluster")
            assert view["cluster_id"] != manifest["cluster_id"]
            for order_id in before:
                status, found = await client.call(node, "GET", f"/v1/orders/{order_id}")
                assert (status, found["order"]["status"]) == (200, "open")
            status, sold = await client.place(node, "sell", 50, 1)
            assert (status, sold["order"]["status"]) == (201, "filled")
    await _refuses_what_was_changed(backup, tmp_path / "never")


async def _refuses_what_was_changed(backup: Path, out: Path) -> None:
    (snapshot,) = (backup / "snapshots").iterdir()
    raw = bytearray(snapshot.read_bytes())
    raw[len(raw) // 2] ^= 1
    snapshot.write_bytes(raw)
    refused = await run("restore", backup, out, "--name", "n1")
    assert refused.returncode == 1
    assert "SHA-256" in refused.stderr
    assert not out.exists()


@in_loop
async def test_an_operator_moves_the_lead_and_drains_a_node_while_it_trades(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            urls = ("--url", ",".join(cluster.urls))
            leader = await client.leader()
            others = [node for node in cluster.nodes if node is not leader]
            async with trading(client, others) as placed:
                await grown(placed, 5)
                for to in (others[0], leader, others[1]):
                    said = await told("cluster-admin", "leader", to.name, *urls)
                    assert said["leader"] == to.id == await leads(client, others[0])
                await grown(placed, 5)
                assert (await told("cluster-admin", "drain", leader.name, *urls))["draining"]
                assert leader.process is not None
                assert await asyncio.to_thread(leader.process.wait, 30) == 0
                await grown(placed, 5)
                seen = await told("cluster-admin", "status", "--socket", others[0].folder)
                lacking = [m["id"] for m in seen["members"] if not m["reachable"]]
                assert lacking == [leader.id]
            refused = await run("cluster-admin", "leader", leader.name, *urls)
            assert refused.returncode == 1
            assert "no_quorum" in refused.stderr
