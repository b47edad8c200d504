"""Nodes that start in any order, late, restarted and lied to form one cluster, and only one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raft_exchange.introduction import Distrust
from tests.support.neighbours import SimNode, World
from tests.support.virtual_time import run_virtually

FORMED_S_MAX = 60.0


async def all_bound(nodes: list[SimNode], *, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not all(node.is_up and node.neighbourhood.is_bound for node in nodes):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def formed(world: World, nodes: list[SimNode]) -> None:
    """Wait until these nodes are bound; check that it is to one cluster with one list."""
    await all_bound(nodes, within_s=FORMED_S_MAX)
    stored = [node.identity.current for node in world.nodes if node.is_up]
    bound = [one for one in stored if one.cluster_id]
    assert len({one.cluster_id for one in bound}) == 1
    founders = {one.founders for one in bound if one.founders}
    assert len(founders) == 1
    (ids,) = founders
    assert len(ids) == 3
    assert {one.node for one in bound if one.founders} <= set(ids)
    for node in world.nodes:
        await node.stop()


def test_exactly_one_cluster_is_formed_whatever_the_order(tmp_path: Path, seed: int) -> None:
    """Three to five nodes, started at any time; one of them is killed and comes back."""

    async def life() -> None:
        world = World(tmp_path, seed)
        nodes = [world.add() for _ in range(world.random.choice((3, 3, 4, 5)))]
        victim = world.random.choice(nodes)

        async def live(node: SimNode) -> None:
            await asyncio.sleep(world.random.choice((0.0, world.random.uniform(0, 10))))
            node.start()
            if node is victim:
                await asyncio.sleep(world.random.uniform(0, 3))
                await node.stop()
                await asyncio.sleep(world.random.uniform(0, 5))
                node.port += world.random.choice((0, 100))  # it may come back elsewhere
                node.start()

        await asyncio.gather(*map(live, nodes))
        await formed(world, nodes)

    run_virtually(life())


def test_three_nodes_that_start_together_form_a_cluster_within_a_few_round_trips(
    tmp_path: Path, seed: int
) -> None:
    """A round trip takes up to 0.6 s here."""

    async def life() -> None:
        world = World(tmp_path, seed, loss=0)
        nodes = [world.add() for _ in range(3)]
        for node in nodes:
            node.start()
        await formed(world, nodes)
        assert asyncio.get_running_loop().time() < 4.0

    run_virtually(life())


def test_a_dht_full_of_lies_costs_a_bounded_effort_and_shuts_nobody_out(tmp_path: Path) -> None:
    """3,000 false addresses among three true ones: a few questions each round, and it forms."""

    async def life() -> None:
        world = World(tmp_path, 0, loss=0)
        lies = (Distrust.MALFORMED, Distrust.WRONG_SECRET, Distrust.UNREACHABLE)
        for number in range(3_000):
            world.strangers[f"http://10.0.{number // 250}.{number % 250}:1"] = lies[number % 3]
        nodes = [world.add() for _ in range(3)]
        for node in nodes:
            node.start()
        await all_bound(nodes, within_s=3_600)
        assert all(len(node.discovery._candidates) <= 1_100 for node in nodes)
        began_s = asyncio.get_running_loop().time()
        world.asked.clear()
        await asyncio.sleep(60)
        asked = sum(count for url, count in world.asked.items() if url in world.strangers)
        passed_s = asyncio.get_running_loop().time() - began_s
        assert asked / passed_s < 3 * 20, "four a round, two rounds a second, three nodes"
        await formed(world, nodes)

    run_virtually(life())


def test_who_holds_another_secret_is_named_once_and_never_joins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def life() -> None:
        world = World(tmp_path, 1, loss=0)
        nodes = [world.add() for _ in range(2)]
        stranger = world.add(secret=b"another secret of thirty-two byt")
        for node in (*nodes, stranger):
            node.start()
        await asyncio.sleep(60)
        assert not any(node.neighbourhood.is_bound for node in (*nodes, stranger))
        assert nodes[0].forming.reason == "2 of 3 nodes are here"
        assert stranger.forming.reason == "1 of 3 nodes are here"
        figures = nodes[0].discovery.figures()
        assert figures.answers["wrong_secret"] > 1
        nodes.append(world.add())
        nodes[-1].start()
        await formed(world, nodes)

    run_virtually(life())
    said = [line for line in caplog.messages if "does not hold this cluster's secret" in line]
    assert sum("http://127.0.0.1:8082 answers as a node" in line for line in said) == 3
    assert len(said) == 3 + 3, "each of three names it once, and it names each of them"


def test_two_clusters_of_one_name_refuse_each_other_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Halves that did not see each other founded one each: they stay what they are."""

    async def life() -> None:
        world = World(tmp_path, 3, loss=0)
        nodes = [world.add(expect=2) for _ in range(4)]
        world.cut = {frozenset((one.url, two.url)) for one in nodes[:2] for two in nodes[2:]}
        for node in nodes:
            node.start()
        await all_bound(nodes, within_s=FORMED_S_MAX)
        bound_to = [node.identity.current.cluster_id for node in nodes]
        assert bound_to[0] == bound_to[1] != bound_to[2] == bound_to[3]
        assert "clusters named" not in caplog.text
        world.cut = set()
        await asyncio.sleep(30)
        assert bound_to == [node.identity.current.cluster_id for node in nodes]
        for node in world.nodes:
            await node.stop()

    run_virtually(life())
    told = [line for line in caplog.messages if "one of them is to be ended" in line]
    assert len(told) == 4, "each node tells it once"
