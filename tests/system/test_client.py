"""The Python client on a real cluster whose nodes go away under it."""

from __future__ import annotations

import asyncio

import pytest

from raft_exchange.client import ExchangeClient, NewOrder
from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

TRADERS = 8
ORDERS_EACH = 40


@in_loop
async def test_no_order_is_lost_or_doubled_when_the_leader_is_killed(cluster: RealCluster) -> None:
    """Every order returned by the client is in the book once, and nothing else is."""
    async with Client(cluster) as http:
        await http.ready()
        leader = await http.leader()
        others = [node for node in cluster.nodes if node is not leader]
        urls = [leader.url, *(node.url for node in others)]
        halfway = asyncio.Event()
        placed: list[str] = []

        async def trade(client: ExchangeClient, number: int) -> None:
            for n in range(ORDERS_EACH):
                label = f"{number}-{n}"
                order = NewOrder(
                    market="BTC-USD", side="buy", price=n + 1, quantity=1, client_order_id=label
                )
                answer = await client.place_order(order)
                assert answer.order.client_order_id == label
                placed.append(answer.order.order_id)
                if len(placed) == TRADERS * ORDERS_EACH // 4:
                    halfway.set()

        async def kill() -> None:
            await halfway.wait()
            cluster.kill(leader)

        async with ExchangeClient(urls, patience_s=60) as client, asyncio.TaskGroup() as group:
            group.create_task(kill())
            for number in range(TRADERS):
                group.create_task(trade(client, number))

        async with ExchangeClient([node.url for node in others]) as client:
            page = await client.get_orders(limit=1000)
            assert len(set(placed)) == TRADERS * ORDERS_EACH
            assert sorted(order.order_id for order in page.orders) == sorted(placed)
            assert all(order.status == "open" for order in page.orders)
