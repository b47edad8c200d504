"""A cluster of the release before goes over to this one, node by node, while it trades.

The wheel under `tests/data/release1` is that release: the last one of version 1 of the log.
"""

from __future__ import annotations

import asyncio
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raft_exchange.matching.versions import VERSIONS
from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = pytest.mark.system
WHEEL = Path(__file__).parents[1] / "data" / "release1" / "raft_exchange-0.1.0-py3-none-any.whl"
PATIENCE_S = 60.0
STOP = {"market": "BTC-USD", "side": "buy", "type": "stop", "quantity": "1", "stop_price": "500"}


class Traders:
    """Place orders at nodes that run, one after the other; remember what was acknowledged."""

    def __init__(self, client: Client, cluster: RealCluster) -> None:
        self._client = client
        self._cluster = cluster
        self.acknowledged: dict[str, str] = {}
        self.is_over = False

    async def trade(self) -> None:
        number = 0
        while not self.is_over:
            number += 1
            running = [node for node in self._cluster.nodes if node.process is not None]
            node = running[number % len(running)]
            label = f"order-{number}"
            price = 90 + number % 20
            side = "buy" if number % 2 else "sell"
            try:
                status, body = await self._client.place(
                    node, side, price, "0.1", client_order_id=label
                )
            except (OSError, aiohttp.ServerDisconnectedError):
                continue  # the node is being stopped: nobody knows, nothing is claimed
            if status == 201:
                self.acknowledged[body["order"]["order_id"]] = label
            await asyncio.sleep(0.002)


async def versions(client: Client, cluster: RealCluster, key: str = "version") -> set[int]:
    views = [(await client.call(node, "GET", "/v1/cluster"))[1] for node in cluster.nodes]
    return {view[key] for view in views}


async def every_order(client: Client, cluster: RealCluster) -> dict[str, str]:
    """Return the label of every order there ever was, live and finished."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        path = f"/v1/orders?limit=1000{cursor}"
        status, body = await client.call(cluster.nodes[0], "GET", path)
        assert status == 200, body
        found |= {order["order_id"]: order["client_order_id"] for order in body["orders"]}
        if body["cursor"] is None:
            return found
        cursor = f"&cursor={body['cursor']}"


@pytest.mark.timeout(300)
@in_loop
async def test_a_cluster_is_upgraded_node_by_node_while_it_trades(tmp_path: Path) -> None:
    release = tmp_path / "release1"
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(release)
    cluster = RealCluster(tmp_path, settings={"snapshot_entries": 500})
    for node in cluster.nodes:
        node.release = release
    with cluster:
        async with Client(cluster) as client:
            await client.ready()
            assert await versions(client, cluster, "version_newest") == {1}, "the release before"
            traders = Traders(client, cluster)
            trading = asyncio.create_task(traders.trade())
            await asyncio.sleep(2)
            for node in cluster.nodes:
                assert await versions(client, cluster) == {1}, "not before all can"
                code = await asyncio.to_thread(cluster.terminate, node)
                assert code == 0, node.log
                node.release = None
                cluster.start(node)
                await client.ready([node])
                status, told = await client.call(cluster.nodes[0], "POST", "/v1/orders", STOP)
                if node is not cluster.nodes[-1]:
                    assert told["code"] == "upgrade_pending", (status, told)
            await switched(client, cluster)
            before = len(traders.acknowledged)
            await asyncio.sleep(2)
            traders.is_over = True
            await trading
            assert len(traders.acknowledged) > before, "it trades on in the new version"
            status, told = await client.call(cluster.nodes[1], "POST", "/v1/orders", STOP)
            assert status == 201, told
            views = await client.settled()
            assert len({view["state_hash"] for view in views}) == 1
            assert not any(_is_fenced(view) for view in views)
            found = await every_order(client, cluster)
            lost = traders.acknowledged.items() - found.items()
            assert not lost, f"{len(lost)} of {len(traders.acknowledged)} acknowledged orders"


async def switched(client: Client, cluster: RealCluster) -> None:
    """Wait until the log has moved every node to the newest version."""
    async with asyncio.timeout(PATIENCE_S):
        while await versions(client, cluster) != {VERSIONS.newest}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _is_fenced(view: Any) -> bool:
    return any(member["fenced"] for member in view["members"])
