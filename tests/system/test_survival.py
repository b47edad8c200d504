"""Three real nodes survive: the leader's kill -9 under load, everybody's, a clean stop."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, NodeProcess, RealCluster, accepted_orders

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(600)]

RECOVERY_S_MAX = 3.0


class Load:
    """Clients that place labelled orders at their node and, when it fails them, at another.

    Every order has an idempotency key and is asked for again until it gets a definite answer:
    as a trader's program would do it.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged: dict[str, Any] = {}
        self.refused: Counter[str] = Counter()
        self.accepted_at_s: list[float] = []
        self._labels = itertools.count()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, clients: int) -> None:
        self._tasks = [asyncio.create_task(self._trader(number)) for number in range(clients)]

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _trader(self, number: int) -> None:
        draw = random.Random(number)
        nodes = itertools.cycle(
            self.client.cluster.nodes[number % 3 :] + self.client.cluster.nodes[: number % 3]
        )
        node = next(nodes)
        while not self._stop.is_set():
            label = f"order-{next(self._labels)}"
            order = {
                "market": "BTC-USD",
                "side": draw.choice(("buy", "sell")),
                "type": "limit",
                "price": str(draw.randrange(90, 111)),
                "quantity": str(draw.randrange(1, 6)),
                "client_order_id": label,
            }
            while not await self._place(node, label, order):
                node = next(nodes)
                await asyncio.sleep(0.02)

    async def _place(self, node: NodeProcess, label: str, order: dict[str, str]) -> bool:
        try:
            status, answer = await self.client.call(
                node, "POST", "/v1/orders", order, {"Idempotency-Key": label}
            )
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        if status != 201:
            assert status == 503, answer
            self.refused[answer["code"]] += 1
            return False
        self.acknowledged[label] = answer
        self.accepted_at_s.append(time.monotonic())
        return True

    async def check(self) -> None:
        """Stop all; assert that each acknowledged order is in every journal, once, as answered."""
        cluster = self.client.cluster
        views = await self.client.settled()
        assert len({view["state_hash"] for view in views}) == 1
        for node in cluster.nodes:
            assert cluster.terminate(node) == 0
        for node in cluster.nodes:
            labels = {order.client_order_id: order.order_id for order in accepted_orders(node)}
            assert len(labels) == len(accepted_orders(node)), "no order was applied twice"
            for label, answer in self.acknowledged.items():
                assert labels[label] == int(answer["order"]["order_id"])


@in_loop
async def test_kill_9_of_the_leader_under_load_loses_and_doubles_nothing(
    cluster: RealCluster, kills: int
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        gaps_s = []
        for _ in range(kills):
            await asyncio.sleep(1)
            victim = await client.leader()
            killed_s = time.monotonic()
            cluster.kill(victim)
            await asyncio.sleep(RECOVERY_S_MAX)
            moments_s = [killed_s, *sorted(s for s in load.accepted_at_s if s > killed_s)]
            gaps_s.append(max(b - a for a, b in itertools.pairwise([*moments_s, time.monotonic()])))
            assert gaps_s[-1] < RECOVERY_S_MAX, "orders flow again without a person"
            cluster.start(victim)
            await client.ready([victim])
        await load.stop()
        await load.check()
        assert len(load.acknowledged) > 100 * kills
        print(
            f"{kills} kills, {len(load.acknowledged)} orders acknowledged; without an accepted "
            f"order: median {statistics.median(gaps_s):.3f} s, longest {max(gaps_s):.3f} s"
        )


@in_loop
async def test_kill_9_of_everybody_loses_nothing_acknowledged(
    cluster: RealCluster, kills: int
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(9)
        for _ in range(kills):
            await asyncio.sleep(1)
            for node in cluster.nodes:
                cluster.kill(node)
            for node in cluster.nodes:
                cluster.start(node)
            await client.ready()
        await load.stop()
        await load.check()


@in_loop
async def test_a_clean_stop_of_the_leader_fails_no_order_it_had_taken(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        load = Load(client)
        load.start(6)
        await asyncio.sleep(1)
        leader = await client.leader()
        assert cluster.terminate(leader) == 0
        await asyncio.sleep(1)
        gaps = [b - a for a, b in itertools.pairwise(sorted(load.accepted_at_s))]
        cluster.start(leader)
        await client.ready([leader])
        await load.stop()
        await load.check()
        assert not load.refused, "whoever asked got an answer"
        assert max(gaps) < RECOVERY_S_MAX


async def quiet(client: Client) -> list[Any]:
    """Return the views once nothing is applied any more: a young cluster still says who it is."""
    views = await client.settled()
    while True:
        await asyncio.sleep(1)
        again = await client.settled()
        if again[0]["sequence"] == views[0]["sequence"]:
            return again
        views = again


@in_loop
async def test_a_restart_on_the_same_folder_goes_on_where_it_was(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        _, first = await client.place(cluster.nodes[0], "sell", 101, 2)
        before = await quiet(client)
        for node in cluster.nodes:
            assert cluster.terminate(node) == 0
        for node in cluster.nodes:
            cluster.start(node)
        await client.ready()
        after = await client.settled()
        assert after[0]["state_hash"] == before[0]["state_hash"]
        _, second = await client.place(cluster.nodes[1], "buy", 101, 1)
        assert int(second["order"]["order_id"]) == int(first["order"]["order_id"]) + 1
        assert second["trades"][0]["maker_order_id"] == first["order"]["order_id"]


@in_loop
async def test_a_lost_answer_can_be_asked_for_at_any_node(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        order = {
            "market": "BTC-USD",
            "side": "buy",
            "type": "limit",
            "price": "100",
            "quantity": "1",
        }
        key = {"Idempotency-Key": "lost"}
        answers = [
            await client.call(node, "POST", "/v1/orders", order, key) for node in cluster.nodes
        ]
        assert [status for status, _ in answers] == [201, 201, 201]
        assert answers[0][1] == answers[1][1] == answers[2][1]
        changed = {**order, "quantity": "2"}
        status, problem = await client.call(cluster.nodes[2], "POST", "/v1/orders", changed, key)
        assert (status, problem["code"]) == (422, "idempotency_mismatch")


@in_loop
async def test_a_frozen_follower_slows_nobody(cluster: RealCluster, tmp_path: Path) -> None:
    import signal

    async with Client(cluster) as client:
        await client.ready()
        leader = await client.leader()
        frozen, other = (node for node in cluster.nodes if node is not leader)
        assert frozen.process is not None
        frozen.process.send_signal(signal.SIGSTOP)
        try:
            took_s = []
            for _ in range(50):
                started_s = time.monotonic()
                status, _ = await client.place(other, "buy", 100, 1)
                assert status == 201
                took_s.append(time.monotonic() - started_s)
            assert max(took_s) < 1.0
        finally:
            frozen.process.send_signal(signal.SIGCONT)
        views = await client.settled()
        assert len({view["state_hash"] for view in views}) == 1
