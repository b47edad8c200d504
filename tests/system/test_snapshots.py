"""Real nodes that shorten their logs all the time: killed, left behind, damaged."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raft_exchange.raft.snapshot_store import SUFFIX, UNFINISHED_SUFFIX
from tests.support.coroutines import in_loop
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.system.test_survival import Load

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(600)]

ENTRIES = 200
WAIT_S_MAX = 30.0
POLL_S = 0.05


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with RealCluster(tmp_path, settings={"snapshot_entries": ENTRIES}) as running:
        yield running


def snapshots(node: NodeProcess) -> list[Path]:
    """The node's finished snapshots, oldest first."""
    return sorted((node.folder / "snapshots").glob(f"*{SUFFIX}"))


async def until_applied(client: Client, node: NodeProcess, entries: int) -> dict[str, Any]:
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        view = (await client.call(node, "GET", "/v1/cluster"))[1]
        if view["applied_index"] >= entries:
            return dict(view)
        assert time.monotonic() < deadline_s, view
        await asyncio.sleep(POLL_S)


@in_loop
async def test_kill_9_of_anybody_while_snapshots_are_written_loses_nothing(
    cluster: RealCluster, kills: int
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        for round_number in range(kills):
            await asyncio.sleep(1)
            victims = cluster.nodes if round_number % 3 == 2 else [cluster.nodes[round_number % 3]]
            for node in victims:
                cluster.kill(node)
            for node in victims:
                cluster.start(node)
            await client.ready()
        await load.stop()
        await check(client, load)
        for node in cluster.nodes:
            assert 1 <= len(snapshots(node)) <= 2
            assert len(list((node.folder / "snapshots").glob(f"*{UNFINISHED_SUFFIX}"))) <= 1


@in_loop
async def test_a_node_left_behind_the_others_logs_comes_back_by_a_snapshot(
    cluster: RealCluster,
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        away = cluster.nodes[2]
        cluster.kill(away)
        await until_applied(client, cluster.nodes[0], 5 * ENTRIES)
        cluster.start(away)
        await client.ready([away])
        await load.stop()
        await check(client, load)
        assert "installed a snapshot" in away.log


@in_loop
async def test_a_node_with_a_damaged_newest_snapshot_starts_from_the_one_before(
    cluster: RealCluster,
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        await until_applied(client, cluster.nodes[0], 4 * ENTRIES)
        await load.stop()
        await client.settled()
        node = cluster.nodes[0]
        cluster.kill(node)
        assert len(snapshots(node)) == 2
        damage(snapshots(node)[-1])
        cluster.start(node)
        await client.ready([node])
        await check(client, load)
        assert "passed over for an older one" in node.log


@in_loop
async def test_a_node_without_any_sound_snapshot_does_not_start_empty(
    cluster: RealCluster,
) -> None:
    """Exit code 4, and the log names every file and what is wrong with it."""
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        await until_applied(client, cluster.nodes[0], 4 * ENTRIES)
        await load.stop()
    node = cluster.nodes[0]
    cluster.kill(node)
    for path in snapshots(node):
        damage(path)
    cluster.start(node)
    assert node.process is not None
    assert node.process.wait(WAIT_S_MAX) == 4
    for path in snapshots(node):
        assert f"{path.name}: byte" in node.log


@in_loop
async def test_a_snapshot_can_be_asked_for(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        node = cluster.nodes[1]
        for _ in range(3):
            assert (await client.place(node, "buy", 100, 1))[0] == 201
        status, answer = await client.call(node, "POST", "/v1/cluster/snapshot")
        assert (status, answer["node"], answer["snapshot_index"]) == (202, node.id, 0)
        deadline_s = time.monotonic() + WAIT_S_MAX
        while (await client.call(node, "GET", "/v1/cluster"))[1]["snapshot_index"] < 3:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(POLL_S)
        assert len(snapshots(node)) == 1
        assert snapshots(cluster.nodes[0]) == [], "it is the addressed node's alone"


@in_loop
async def test_stopped_nodes_with_snapshots_verify_alike(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        await until_applied(client, cluster.nodes[0], 4 * ENTRIES)
        await load.stop()
        await client.settled()
    for node in cluster.nodes:
        cluster.terminate(node)
    found = [verify(node, "--json") for node in cluster.nodes]
    assert all(finding["snapshot_index"] > 0 for finding in found)
    index = min(finding["index"] for finding in found)
    alike = [verify(node, "--json", "--index", str(index)) for node in cluster.nodes]
    assert len({finding["state_hash"] for finding in alike}) == 1
    newest = snapshots(cluster.nodes[0])[-1]
    damage(newest)
    refused = run_verify(cluster.nodes[0])
    assert refused.returncode == 1
    assert f"damaged: {newest.name}: byte" in refused.stderr


async def check(client: Client, load: Load) -> None:
    """Assert that every node holds each acknowledged order, once, as it was answered.

    Asked over HTTP: the journals begin in the middle, and the projection is restored as well.
    """
    views = await client.settled()
    assert len({view["state_hash"] for view in views}) == 1
    for node in client.cluster.nodes:
        found = await orders_of(client, node)
        labels = Counter(order["client_order_id"] for order in found.values())
        assert all(count == 1 for count in labels.values()), "no order was applied twice"
        for label, answer in load.acknowledged.items():
            order = found[answer["order"]["order_id"]]
            assert order["client_order_id"] == label
            assert order["created_at"] == answer["order"]["created_at"]


async def orders_of(client: Client, node: NodeProcess) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        path = f"/v1/orders?limit=500{cursor and '&cursor=' + cursor}"
        status, page = await client.call(node, "GET", path)
        assert status == 200, page
        found.update({order["order_id"]: order for order in page["orders"]})
        cursor = page["cursor"] or ""
        if not cursor:
            return found


def run_verify(node: NodeProcess, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raft_exchange", "verify", str(node.folder), *flags]
    return subprocess.run(command, capture_output=True, text=True)


def verify(node: NodeProcess, *flags: str) -> dict[str, Any]:
    finished = run_verify(node, *flags)
    assert finished.returncode == 0, finished.stderr
    return dict(json.loads(finished.stdout))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
