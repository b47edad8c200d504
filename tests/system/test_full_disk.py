"""Real nodes on disks that fill up: read-only in time, exit 4 too late, nothing lost either way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.storage import Directory, StorageFailed
from tests.support.coroutines import in_loop
from tests.support.processes import POLL_S, READY_S_MAX, Client, NodeProcess, RealCluster
from tests.support.small_disk import MIB, grow, leave_free, remove_ballast, small_disks

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(300)]

DISK_MIB = 400
RESERVE_MIB = 128


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    made = RealCluster(tmp_path, settings={"disk_reserve_mib": RESERVE_MIB})
    with small_disks([node.folder for node in made.nodes], mib=DISK_MIB), made as running:
        yield running


async def until_read_only(client: Client, node: NodeProcess, *, wanted: bool = True) -> Any:
    deadline_s = time.monotonic() + READY_S_MAX
    while (view := (await client.call(node, "GET", "/v1/cluster"))[1])["read_only"] is not wanted:
        assert time.monotonic() < deadline_s, view
        await asyncio.sleep(POLL_S)


async def code_of(client: Client, node: NodeProcess, price: int) -> object:
    """Place an order; return 201 or the code of the problem."""
    status, answer = await client.place(node, "buy", price, 1)
    return status if status == 201 else answer["code"]


@in_loop
async def test_a_leader_at_its_reserve_makes_way_and_takes_cancels_but_no_orders(
    cluster: RealCluster,
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        full = await client.leader()
        _, placed = await client.place(full, "buy", 100, 1)
        leave_free(full.folder, (RESERVE_MIB - 28) * MIB)
        await until_read_only(client, full)
        successor = await client.leader(other_than=full)
        await client.ready([successor])
        order_id = placed["order"]["order_id"]
        assert await code_of(client, full, 101) == "read_only"
        amend = {"price": "99"}
        status, answer = await client.call(full, "PATCH", f"/v1/orders/{order_id}", amend)
        assert (status, answer["code"]) == (503, "read_only")
        market = {"market": "ETH-USD", "base": "ETH", "quote": "USD"}
        market |= {"tick_size": "0.01", "lot_size": "0.001"}
        assert (await client.call(full, "POST", "/v1/markets", market))[0] == 201
        assert (await client.call(full, "DELETE", f"/v1/orders/{order_id}"))[0] == 200
        status, ready = await client.call(full, "GET", "/readyz?verbose")
        failed = [check["name"] for check in ready["checks"] if not check["passed"]]
        assert (status, failed) == (503, ["disk_reserve"])
        for node in cluster.nodes:
            assert node is full or await code_of(client, node, 102) == 201
        remove_ballast(full.folder)
        await until_read_only(client, full, wanted=False)
        assert await code_of(client, full, 103) == 201
        assert len({view["state_hash"] for view in await client.settled()}) == 1


@in_loop
async def test_with_every_disk_at_its_reserve_the_cluster_still_takes_cancels(
    cluster: RealCluster,
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        _, placed = await client.place(cluster.nodes[0], "buy", 100, 1)
        for node in cluster.nodes:
            leave_free(node.folder, (RESERVE_MIB - 28) * MIB)
        for node in cluster.nodes:
            await until_read_only(client, node)
        for node in cluster.nodes:
            assert await code_of(client, node, 101) == "read_only"
        path = f"/v1/orders/{placed['order']['order_id']}"
        assert (await client.call(cluster.nodes[1], "DELETE", path))[0] == 200


@in_loop
async def test_a_node_without_any_space_does_not_start_and_the_others_go_on(
    cluster: RealCluster,
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        assert await code_of(client, cluster.nodes[0], 100) == 201
        full = cluster.nodes[2]
        cluster.kill(full)
        leave_free(full.folder, 0)
        cluster.start(full)
        assert full.process is not None
        assert full.process.wait(READY_S_MAX) == 4
        await client.leader(other_than=full)
        assert await code_of(client, cluster.nodes[0], 101) == 201
        remove_ballast(full.folder)
        cluster.start(full)
        await client.ready()
        assert len({view["state_hash"] for view in await client.settled()}) == 1


def test_a_journal_that_meets_the_end_of_the_disk_fails_and_keeps_all_it_had_synced(
    tmp_path: Path,
) -> None:
    """The real ENOSPC of a real filesystem; the entry that met it was never confirmed."""
    with small_disks([tmp_path], mib=4):
        journal = Journal(Directory(tmp_path), segment_bytes=MIB)
        synced = [0]
        with pytest.raises(StorageFailed, match="No space left"):
            append_until_it_fails(journal, synced)
        with pytest.raises(StorageFailed):
            journal.sync()
        journal.close()
        assert synced[0] > 60, "it went on to the last segment that fits"
        grow(tmp_path, mib=8)
        again = Journal(Directory(tmp_path), segment_bytes=MIB)
        assert again.last_index == synced[0]
        again.close()


def append_until_it_fails(journal: Journal, synced: list[int]) -> None:
    while True:
        journal.add(bytes(40_000), synced[0] + 1, 1)
        journal.sync()
        synced[0] += 1
