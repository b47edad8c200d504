"""A node that was removed and is started again: it comes back as another node, if it may."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, NodeProcess, RealCluster

pytestmark = pytest.mark.system
WAIT_S_MAX = 30.0


async def removed(client: Client, node: NodeProcess, member: str) -> None:
    status, answer = await client.call(node, "DELETE", f"/v1/cluster/members/{member}")
    assert status == 200, answer


async def cluster_view(client: Client, node: NodeProcess) -> Any:
    return (await client.call(node, "GET", "/v1/cluster"))[1]


async def votes(client: Client, at: NodeProcess, member: str) -> None:
    """Wait until a member votes."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        members = (await cluster_view(client, at))["members"]
        if any(one["id"] == member and one["votes"] for one in members):
            return
        assert time.monotonic() < deadline_s, members
        await asyncio.sleep(0.05)


async def says_removed(client: Client, node: NodeProcess) -> None:
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        with suppress(aiohttp.ClientError):  # it may be starting
            status, view = await client.call(node, "GET", "/v1/cluster")
            if status == 200 and view["removed"]:
                return
        assert time.monotonic() < deadline_s, node.log
        await asyncio.sleep(0.05)


@pytest.mark.timeout(240)
@in_loop
async def test_a_removed_node_comes_back_as_another_one(tmp_path: Path) -> None:
    with RealCluster(tmp_path, settings={"rejoin_when_removed": "on"}) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            first, _, third = cluster.nodes
            assert (await client.place(first, "sell", 100, 1))[0] == 201
            before = third.id

            # It goes on running as nobody: what was removed may be about to be stopped for good.
            await removed(client, first, before)
            await says_removed(client, third)
            assert third.id == before

            # Started again with its folder, it is another node, with the same orders.
            assert cluster.terminate(third) == 0
            cluster.start(third)
            await client.ready([third])
            after = third.id
            assert after != before
            assert after.startswith("n3-")
            await votes(client, first, after)
            assert len({view["state_hash"] for view in await client.settled()}) == 1
            assert (third.folder / "aside" / before / "journal").is_dir()

            # The same where it was away when it was removed, and knows nothing of it.
            cluster.kill(third)
            await removed(client, first, after)
            cluster.start(third)
            await client.ready([third])
            assert third.id not in (before, after)
            await votes(client, first, third.id)
            assert [one.name for one in (third.folder / "aside").iterdir()] == [after]

            # Unless it is told so, a removed node stays removed.
            last = third.id
            cluster.kill(third)
            await removed(client, first, last)
            cluster.start(third, rejoin_when_removed="off")
            await says_removed(client, third)
            assert third.id == last
