"""A real node whose memory is damaged: it says so and serves nobody, and the others trade on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import damaging
from tests.support.coroutines import in_loop
from tests.support.processes import Client, NodeProcess, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ORDERS_MAX = 2_000
NOBODY_LEADS_S = 5.0
"""Many election timeouts."""


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[RealCluster]:
    cluster = RealCluster(tmp_path, settings={"snapshot_entries": 100})
    for node in cluster.nodes:
        node.launcher = [sys.executable, str(damaging.__file__)]
    with cluster:
        yield cluster


async def view(client: Client, node: NodeProcess) -> dict[str, Any]:
    status, answer = await client.call(node, "GET", "/v1/cluster")
    assert status == 200
    return dict(answer)


async def trade_until(
    client: Client, node: NodeProcess, claim: Callable[[], Awaitable[bool]]
) -> None:
    """Place resting orders at `node` until something came of it; entries are what time is."""
    for number in range(ORDERS_MAX):
        status, answer = await client.place(node, "buy", 100, 1)
        assert status in (201, 503), answer
        if number % 20 == 19 and await claim():
            return
        if status == 503:
            await asyncio.sleep(0.05)
    pytest.fail(f"not within {ORDERS_MAX} orders")


@pytest.mark.parametrize("victim", ["leader", "follower"])
@in_loop
async def test_a_damaged_node_is_fenced_and_the_others_trade_on(
    fragile: RealCluster, victim: str
) -> None:
    async with Client(fragile) as client:
        await client.ready()
        views = [await view(client, node) for node in fragile.nodes]
        damaged = next(
            node
            for node, seen in zip(fragile.nodes, views, strict=True)
            if (seen["role"] == "leader") == (victim == "leader")
        )
        others = [node for node in fragile.nodes if node is not damaged]
        await client.place(others[0], "buy", 99, 1)
        assert damaged.process is not None
        damaged.process.send_signal(signal.SIGUSR1)

        async def is_fenced() -> bool:
            return (await view(client, damaged))["standing"] == "fenced"

        await trade_until(client, others[0], is_fenced)
        for method, path in (("GET", "/v1/markets/BTC-USD/book"), ("GET", "/v1/orders")):
            status, problem = await client.call(damaged, method, path)
            assert (status, problem["code"]) == (503, "state_divergence")
        status, problem = await client.place(damaged, "buy", 100, 1)
        assert (status, problem["code"]) == (503, "state_divergence")
        assert (await client.call(damaged, "GET", "/readyz"))[0] == 503
        assert (await client.call(damaged, "GET", "/livez"))[0] == 200
        assert "state_divergence: this node differs" in damaged.log

        async def is_named() -> bool:
            members = (await view(client, others[0]))["members"]
            return [m["id"] for m in members if m["fenced"]] == [damaged.id]

        await trade_until(client, others[0], is_named)
        status, placed = await client.place(others[1], "buy", 98, 1)
        assert status == 201, placed
        assert (await view(client, others[1]))["leader"] != damaged.id
        if victim == "follower":  # its log is kept short meanwhile, and it stays fenced
            fenced_at = (await view(client, damaged))["applied_index"]

            async def has_a_snapshot_of_the_leaders() -> bool:
                seen = await view(client, damaged)
                return bool(seen["snapshot_index"] > fenced_at and seen["standing"] == "fenced")

            await trade_until(client, others[0], has_a_snapshot_of_the_leaders)
        await rebuild(fragile, client, damaged, others)


@in_loop
async def test_what_only_a_fenced_node_holds_is_kept_by_recovering_it(
    fragile: RealCluster, tmp_path: Path
) -> None:
    """The worst that README names: one is fenced, one was away, and the leader never returns.

    Nobody may lead, since it would be without what was acknowledged. The fenced node's log has it.
    """
    async with Client(fragile) as client:
        await client.ready()
        views = {node.name: await view(client, node) for node in fragile.nodes}
        leader = next(n for n in fragile.nodes if views[n.name]["role"] == "leader")
        damaged, away = (node for node in fragile.nodes if node is not leader)
        await client.place(leader, "buy", 99, 1)
        assert damaged.process is not None
        damaged.process.send_signal(signal.SIGUSR1)

        async def is_fenced() -> bool:
            return (await view(client, damaged))["standing"] == "fenced"

        await trade_until(client, leader, is_fenced)
        fragile.kill(away)
        status, placed = await client.place(leader, "buy", 77, 1)
        assert status == 201, "leader and fenced node are a majority"
        fragile.kill(leader)
        fragile.start(away)
        await answers(client, away)
        until_s = time.monotonic() + NOBODY_LEADS_S
        while time.monotonic() < until_s:
            for node in (damaged, away):
                status, problem = await client.place(node, "buy", 76, 1)
                assert status == 503, problem
            await asyncio.sleep(0.1)
        fragile.kill(away)
        fragile.kill(damaged)
    (tmp_path / "new").mkdir()
    new = RealCluster(tmp_path / "new", nodes=1)
    new.nodes[0].folder.rmdir()
    command = [sys.executable, "-m", "raft_exchange", "recover", str(damaged.folder)]
    command += [str(new.nodes[0].folder), "--name", "n1", "--i-accept-data-loss"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with new:
        async with Client(new) as client:
            await client.ready()
            status, found = await client.call(
                new.nodes[0], "GET", f"/v1/orders/{placed['order']['order_id']}"
            )
            assert (status, found["order"]["price"]) == (200, placed["order"]["price"])
            assert (await client.place(new.nodes[0], "sell", 200, 1))[0] == 201


async def answers(client: Client, node: NodeProcess) -> None:
    """Wait until a node that was started listens."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await view(client, node)
                return
            await asyncio.sleep(0.05)


async def rebuild(
    cluster: RealCluster, client: Client, damaged: NodeProcess, others: list[NodeProcess]
) -> None:
    """The operator's way back: another member's snapshot, and the members' own judgement."""
    before = damaged.id
    _, asked = await client.call(others[0], "POST", "/v1/cluster/snapshot")
    while (await view(client, others[0]))["snapshot_index"] < asked["applied_index"]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    cluster.kill(damaged)
    newest = max((others[0].folder / "snapshots").glob("*.snapshot"))
    command = [sys.executable, "-m", "raft_exchange", "rebuild", str(damaged.folder)]
    command += ["--snapshot", str(newest)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    cluster.start(damaged)

    async def serves() -> bool:
        try:
            return bool((await view(client, damaged))["standing"] == "full")
        except (aiohttp.ClientError, AssertionError, KeyError):
            return False

    await trade_until(client, others[0], serves)
    assert damaged.id == before, "the same member, which remembers its vote"
    status, placed = await client.place(damaged, "buy", 97, 1)
    assert status == 201, placed
