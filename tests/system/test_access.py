"""Keys on three real nodes: the first one, those made with it, and their end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raft_exchange.control import SOCKET_FILE
from tests.support.processes import Client, NodeProcess, RealCluster

FIRST = "the-first-key-of-this-cluster-0123456789"
ORDER = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "99"}


def shown(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def known(client: Client, node: NodeProcess, key: str) -> None:
    """Wait until the node knows the key."""
    async with asyncio.timeout(60):
        while True:
            if (await client.call(node, "GET", "/v1/account", headers=shown(key)))[0] != 401:
                return
            await asyncio.sleep(0.02)


async def new_key(client: Client, node: NodeProcess, account: str) -> Any:
    await client.call(node, "POST", "/v1/accounts", {"account": account}, shown(FIRST))
    path, body = f"/v1/accounts/{account}/keys", {"scopes": ["read", "trade"]}
    status, made = await client.call(node, "POST", path, body, shown(FIRST))
    assert status == 201, made
    return made


@pytest.mark.timeout(300)
def test_a_revoked_key_fails_on_every_node_right_after_the_revocation(tmp_path: Path) -> None:
    (tmp_path / "first.key").write_text(FIRST + "\n")
    settings = {"auth": "required", "admin_key_file": tmp_path / "first.key"}
    with RealCluster(tmp_path, settings=settings) as cluster:
        asyncio.run(_revoke(cluster))


async def _revoke(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        first, *others = cluster.nodes
        await known(client, first, FIRST)
        assert (await client.call(first, "POST", "/v1/orders", ORDER))[0] == 401
        for node in cluster.nodes:
            made = await new_key(client, first, "ann")
            key, key_id = made["bearer"], made["key"]["id"]
            for each in cluster.nodes:
                await known(client, each, key)
                assert (await client.call(each, "POST", "/v1/orders", ORDER, shown(key)))[0] == 201
            path = f"/v1/accounts/ann/keys/{key_id}"
            await known(client, node, FIRST)
            status, revoked = await client.call(node, "DELETE", path, headers=shown(FIRST))
            assert status == 200, revoked
            for each in cluster.nodes:
                written = await client.call(each, "POST", "/v1/orders", ORDER, shown(key))
                assert (written[0], written[1]["code"]) == (401, "unauthenticated")
                fresh = f"/v1/orders?min_sequence={revoked['sequence']}"
                read = await client.call(each, "GET", fresh, headers=shown(key))
                assert (read[0], read[1]["code"]) == (401, "unauthenticated")
        # Asked for again under its key, at any node, it is the same one.
        again = shown(FIRST) | {"Idempotency-Key": "once"}
        bearers = set()
        for each in cluster.nodes:
            await known(client, each, FIRST)
            body = {"scopes": ["trade"]}
            made = await client.call(each, "POST", "/v1/accounts/ann/keys", body, again)
            bearers.add(made[1]["bearer"])
        assert len(bearers) == 1
        # Whoever leads next proposes nothing that was revoked: the first key stays replaced.
        body = {"scopes": ["admin"], "replaces": "first-key"}
        replaced = await client.call(first, "POST", "/v1/accounts/admin/keys", body, shown(FIRST))
        assert replaced[0] == 201
        leader = await client.leader()
        cluster.kill(leader)
        cluster.start(leader)
        await client.ready()
        for each in cluster.nodes:
            await known(client, each, replaced[1]["bearer"])
            opened = await client.call(each, "POST", "/v1/accounts", {"account": "x"}, shown(FIRST))
            assert opened[0] == 401
        # Who lost every key gets in from the machine of any node.
        connector = aiohttp.UnixConnector(str(others[0].folder / SOCKET_FILE))
        async with aiohttp.ClientSession(connector=connector) as operator:
            async with operator.post("http://node/keys") as answer:
                recovered = (await answer.json())["bearer"]
            await known(client, first, recovered)
            async with operator.post("http://node/v1/cluster/drain") as answer:
                assert answer.status == 202
        assert others[0].process is not None
        assert await asyncio.to_thread(others[0].process.wait, 60) == 0
