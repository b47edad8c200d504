"""Real nodes find each other through their own DHT: form, trade, move, and refuse strangers."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from grape.link import Link
from raft_exchange.dht_network import service_name
from tests.support.coroutines import in_loop
from tests.support.processes import READY_S_MAX, Client, NodeProcess, RealCluster, free_ports
from tests.system.conftest import size

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SERVICE = service_name("exchange")
PEER_AGE_S = 6


async def statement(client: Client, node: NodeProcess) -> dict[str, Any]:
    _, body = await client.call(node, "GET", "/v1/node")
    return body["statement"]


async def until(claim: Any, *, within_s: float = READY_S_MAX, what: str = "") -> Any:
    """Return what `claim` gives as soon as it gives something."""
    deadline_s = time.monotonic() + within_s
    while not (found := await claim()):
        assert time.monotonic() < deadline_s, what or claim
        await asyncio.sleep(0.05)
    return found


async def trade(client: Client, seller: NodeProcess, buyer: NodeProcess) -> None:
    """An order placed at one node is taken at another."""
    assert (await client.place(seller, "sell", "100", "1"))[0] == 201
    status, answer = await client.place(buyer, "buy", "100", "1")
    assert status == 201
    assert len(answer["trades"]) == 1


@pytest.mark.parametrize("round_", range(size("FORMATIONS", 2)))
def test_nodes_started_in_any_order_and_killed_while_forming_are_one_cluster(
    tmp_path: Path, round_: int
) -> None:
    @in_loop
    async def life() -> None:
        chance = random.Random(round_)
        cluster = RealCluster(tmp_path)
        try:
            order = chance.sample(cluster.nodes, 3)
            victim = chance.choice(order)
            began_s = time.monotonic()
            for node in order:
                await asyncio.sleep(chance.choice((0, 0, chance.uniform(0, 1.5))))
                cluster.start(node)
            await asyncio.sleep(chance.uniform(0.3, 1.2))
            cluster.kill(victim)
            cluster.start(victim)
            async with Client(cluster) as client:
                await client.ready()
                print(f"formed in {time.monotonic() - began_s:.2f} s")
                said = [await statement(client, node) for node in cluster.nodes]
                assert len({one["cluster_id"] for one in said}) == 1
                ids = sorted(node.id for node in cluster.nodes)
                assert all(one["accepted"] == ids for one in said)
                await trade(client, cluster.nodes[0], cluster.nodes[1])
                assert len({view["state_hash"] for view in await client.settled()}) == 1
        finally:
            cluster.__exit__()

    life()


@in_loop
async def _stays_out(cluster: RealCluster, stranger: NodeProcess) -> None:
    async with Client(cluster) as client:
        trusted = [node for node in cluster.nodes if node is not stranger]
        await client.ready(trusted)
        await until(
            lambda: _has_logged(trusted, f"{stranger.url} answers as a node but does not hold"),
            what="every node names the stranger",
        )
        assert "does not hold this cluster's secret: it is not trusted" in stranger.log
        status, body = await client.call(stranger, "GET", "/readyz")
        assert (status, body["reason"]) == (503, "1 of 3 nodes are here")
        status, body = await client.call(stranger, "GET", "/v1/markets")
        assert (status, body["code"]) == (503, "no_leader")
        status, body = await client.call(stranger, "GET", "/livez")
        assert status == 200
        _, view = await client.call(trusted[0], "GET", "/v1/cluster")
        assert [member["id"] for member in view["members"]] == sorted(n.id for n in trusted)


async def _has_logged(nodes: list[NodeProcess], text: str) -> bool:
    return all(text in node.log for node in nodes)


def test_a_node_with_a_wrong_secret_never_joins_and_is_named_in_the_log(tmp_path: Path) -> None:
    other = tmp_path / "other.secret"
    other.write_text("another secret, of the same length")
    cluster = RealCluster(tmp_path)
    try:
        stranger = cluster.add()
        cluster.start(stranger, cluster_secret_file=other)
        for node in cluster.nodes[:3]:
            cluster.start(node)
        _stays_out(cluster, stranger)
    finally:
        cluster.__exit__()


def test_a_cluster_forms_and_trades_when_all_grapes_but_its_own_are_dead(tmp_path: Path) -> None:
    """The nodes were told an outside grape and one of theirs; the outside one is killed."""

    dht_port, http_port = free_ports(2)
    listening = ["--dp", str(dht_port), "--aph", str(http_port), "--bn", "127.0.0.1:9"]
    command = [sys.executable, "-m", "grape", *listening]
    grape = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cluster = RealCluster(tmp_path)
    first, second, third = cluster.nodes
    bootstrap = f"127.0.0.1:{dht_port},127.0.0.1:{first.dht_port}"

    @in_loop
    async def life() -> None:
        cluster.start(first, bootstrap=bootstrap)
        cluster.start(second, bootstrap=bootstrap)
        async with Client(cluster) as client:
            await until(lambda: _waits(client, second, "2 of 3 nodes are here"))
            grape.kill()
            cluster.start(third, bootstrap=bootstrap)
            await client.ready()
            await trade(client, first, third)
            cluster.kill(second)
            cluster.start(second, bootstrap=bootstrap)
            await client.ready()
            await trade(client, second, third)

    try:
        life()
    finally:
        cluster.__exit__()
        grape.kill()
        grape.wait()


async def _waits(client: Client, node: NodeProcess, reason: str) -> bool:
    try:
        _, body = await client.call(node, "GET", "/readyz")
    except OSError:
        return False
    return bool(body.get("reason") == reason)


@in_loop
async def _moves(cluster: RealCluster) -> None:
    first, second, moved = cluster.nodes
    async with Client(cluster) as client:
        await client.ready()
        cluster.terminate(moved)
        await trade(client, first, second)
        moved.move("127.0.0.3")
        cluster.start(moved)
        await client.ready()
        await trade(client, moved, first)
        assert len({view["state_hash"] for view in await client.settled()}) == 1
        for node in (first, second):
            await until(lambda node=node: _is_seen_at(client, node, moved))
        # The others find it by themselves, too: not only because it dialled them.
        for node in (first, second):
            cluster.terminate(node)
            cluster.start(node)
            await client.ready()
        await trade(client, second, moved)


async def _is_seen_at(client: Client, node: NodeProcess, moved: NodeProcess) -> bool:
    _, view = await client.call(node, "GET", "/v1/cluster")
    member = next(one for one in view["members"] if one["id"] == moved.id)
    where = (f"{moved.host}:{moved.raft_port}", moved.url)
    return (member["raft_address"], member["http_url"]) == where and member["reachable"]


def test_a_node_that_comes_back_at_another_address_and_port_is_found_without_a_restart(
    tmp_path: Path,
) -> None:
    with RealCluster(tmp_path) as cluster:
        _moves(cluster)


@in_loop
async def _goes_missing(cluster: RealCluster) -> None:
    first, _, victim = cluster.nodes
    gone = f"127.0.0.1:{victim.http_port}"
    async with Client(cluster) as client, Link([first.grape_url]) as link:
        await client.ready()
        assert gone in await link.lookup(SERVICE)
        cluster.kill(victim)
        killed_s = time.monotonic()
        member = await until(lambda: _missing(client, first, victim), within_s=5)
        assert member["seen_age_ms"] is not None

        async def is_gone() -> bool:
            async with Link([first.grape_url]) as fresh:
                return gone not in await fresh.lookup(SERVICE)

        await until(is_gone, within_s=2 * PEER_AGE_S)
        print(f"announced for {time.monotonic() - killed_s:.1f} s after its end")
        later = await until(lambda: _missing(client, first, victim))
        assert later["seen_age_ms"] > member["seen_age_ms"]
        cluster.start(victim)
        await client.ready()
        assert gone in await until(lambda: link.lookup(SERVICE))


async def _missing(client: Client, node: NodeProcess, victim: NodeProcess) -> Any:
    _, view = await client.call(node, "GET", "/v1/cluster")
    member = next(one for one in view["members"] if one["id"] == victim.id)
    return None if member["reachable"] else member


def test_a_killed_node_is_shown_as_missing_and_forgotten_by_the_dht_within_two_ages(
    tmp_path: Path,
) -> None:
    with RealCluster(tmp_path, settings={"dht_peer_age_seconds": PEER_AGE_S}) as cluster:
        _goes_missing(cluster)


@in_loop
async def _joins(cluster: RealCluster) -> None:
    first = cluster.nodes[0]
    async with Client(cluster) as client:
        await client.ready()
        await trade(client, *cluster.nodes[:2])
        fourth = cluster.add()
        cluster.start(fourth)
        await client.ready([fourth])
        await trade(client, fourth, first)
        said = [await statement(client, node) for node in cluster.nodes]
        assert len({one["cluster_id"] for one in said}) == 1
        ids = sorted(node.id for node in cluster.nodes)
        await until(lambda: _has_voters(client, first, ids))
        assert len({view["state_hash"] for view in await client.settled()}) == 1
        # It counts: with one of the first three gone for good, and one of four away, it goes on.
        cluster.kill(cluster.nodes[1])
        await client.ready([first, cluster.nodes[2], fourth])
        await trade(client, fourth, cluster.nodes[2])
        cluster.terminate(fourth)
        cluster.start(fourth)
        await client.ready([fourth])
        await trade(client, first, fourth)


async def _has_voters(client: Client, node: NodeProcess, ids: list[str]) -> bool:
    _, view = await client.call(node, "GET", "/v1/cluster")
    return [member["id"] for member in view["members"] if member["votes"]] == ids


def test_a_fourth_node_joins_a_live_cluster_and_trades(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        _joins(cluster)


@in_loop
async def _comes_back_empty(cluster: RealCluster) -> None:
    first, second, wiped = cluster.nodes
    async with Client(cluster) as client:
        await client.ready()
        await trade(client, first, second)
        old = wiped.id
        cluster.kill(wiped)
        shutil.rmtree(wiped.folder)
        wiped.folder.mkdir()
        cluster.start(wiped)
        await client.ready([wiped])
        assert wiped.id != old
        await trade(client, wiped, first)
        new = sorted(node.id for node in cluster.nodes)
        await until(lambda: _has_voters(client, first, sorted([*new, old])))
        status, _ = await client.call(second, "DELETE", f"/v1/cluster/members/{old}")
        assert status == 200
        await until(lambda: _has_voters(client, wiped, new))
        # Two of the three that are left are a majority: the dead id does not count any more.
        cluster.kill(second)
        await client.ready([first, wiped])
        await trade(client, first, wiped)
        cluster.start(second)
        await client.ready()
        assert len({view["state_hash"] for view in await client.settled()}) == 1


def test_a_node_whose_disk_was_wiped_comes_back_as_another_id_and_replaces_the_old_one(
    tmp_path: Path,
) -> None:
    with RealCluster(tmp_path) as cluster:
        _comes_back_empty(cluster)
