"""Three real nodes agree: on one order, in races for one lot, in bursts, under random load."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(600)]


@in_loop
async def test_an_order_at_any_node_is_in_every_book(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        for number, node in enumerate(cluster.nodes):
            status, answer = await client.place(node, "buy", 100 + number, 1)
            assert status == 201
            # Read your write: the answering node has applied it.
            _, book = await client.call(node, "GET", "/v1/markets/BTC-USD/book")
            assert book["sequence"] >= answer["sequence"]
            assert [str(100 + number), "1", 1] in book["bids"]
        views = await client.settled()
        assert len({view["state_hash"] for view in views}) == 1
        books = [
            (await client.call(node, "GET", "/v1/markets/BTC-USD/book"))[1]
            for node in cluster.nodes
        ]
        assert books[0]["bids"] == [["102", "1", 1], ["101", "1", 1], ["100", "1", 1]]
        assert books[0] == books[1] == books[2]


@in_loop
async def test_a_write_at_one_node_is_read_at_another_by_its_sequence(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()
        for number in range(30):
            writer, reader = random.Random(number).sample(cluster.nodes, 2)
            _, placed = await client.place(writer, "buy", 100, 1)
            order_id, sequence = placed["order"]["order_id"], placed["sequence"]
            for query in (f"min_sequence={sequence}", "consistency=linearizable"):
                status, found = await client.call(reader, "GET", f"/v1/orders/{order_id}?{query}")
                assert status == 200, found


@in_loop
async def test_one_lot_is_sold_once_whoever_asks_where_at_the_same_moment(
    cluster: RealCluster, races: int
) -> None:
    """The seeds' race: two or three takers at different nodes; theirs oversold in 20-97 %."""
    async with Client(cluster) as client:
        await client.ready()
        oversold = diverged = 0
        draw = random.Random(1)
        for number in range(races):
            price = f"{100 + number}.{draw.randrange(100):02}"
            maker = draw.choice(cluster.nodes)
            assert (await client.place(maker, "sell", price, 1))[0] == 201
            takers = draw.sample(cluster.nodes, draw.choice((2, 3)))
            answers = await asyncio.gather(
                *(client.place(node, "buy", price, 1, time_in_force="ioc") for node in takers)
            )
            filled = [Decimal(answer["order"]["filled_quantity"]) for _, answer in answers]
            oversold += sum(filled) != 1
            diverged += sorted(filled)[:-1] != [0] * (len(takers) - 1)
        assert (oversold, diverged) == (0, 0)
        views = await client.settled()
        assert len({view["state_hash"] for view in views}) == 1


@in_loop
async def test_bursts_of_crossing_orders_leave_one_truth(cluster: RealCluster, bursts: int) -> None:
    """The seeds' burst: 20 random crossing orders at each of three nodes at once."""
    async with Client(cluster) as client:
        await client.ready()
        draw = random.Random(2)
        acknowledged: list[Any] = []
        for _ in range(bursts):
            orders = [
                client.place(
                    node,
                    draw.choice(("buy", "sell")),
                    draw.randrange(98, 103),
                    draw.randrange(1, 6),
                )
                for node in cluster.nodes
                for _ in range(20)
            ]
            acknowledged += [answer for _, answer in await asyncio.gather(*orders)]
        await client.settled()
        await _check_one_truth(client, acknowledged)


@in_loop
async def test_random_orders_at_three_nodes_conserve_quantity_and_agree(
    cluster: RealCluster, random_orders: int
) -> None:
    async with Client(cluster) as client:
        await client.ready()
        acknowledged: list[Any] = []

        async def trader(number: int) -> None:
            draw = random.Random(number)
            node = cluster.nodes[number % len(cluster.nodes)]
            for _ in range(random_orders // 12):
                side, price = draw.choice(("buy", "sell")), draw.randrange(90, 111)
                status, answer = await client.place(node, side, price, draw.randrange(1, 6))
                assert status == 201, answer
                acknowledged.append(answer)

        async with asyncio.TaskGroup() as traders:
            for number in range(12):
                traders.create_task(trader(number))
        await client.settled()
        await _check_one_truth(client, acknowledged)


async def _check_one_truth(client: Client, acknowledged: list[Any]) -> None:
    """Assert equal hashes, equal trades and books, no order overfilled, quantity conserved."""
    nodes = client.cluster.nodes
    views = await client.settled()
    assert len({view["state_hash"] for view in views}) == 1
    tapes = [
        (await client.call(n, "GET", "/v1/markets/BTC-USD/trades?limit=500"))[1] for n in nodes
    ]
    assert tapes[0] == tapes[1] == tapes[2]
    books = [(await client.call(n, "GET", "/v1/markets/BTC-USD/book?depth=1000"))[1] for n in nodes]
    assert books[0] == books[1] == books[2]
    filled: dict[str, Decimal] = {}
    quantity: dict[str, Decimal] = {}
    traded = {"buy": Decimal(0), "sell": Decimal(0)}
    for answer in acknowledged:
        order = answer["order"]
        quantity[order["order_id"]] = Decimal(order["quantity"])
        for trade in answer["trades"]:
            amount = Decimal(trade["quantity"])
            for name in ("maker_order_id", "taker_order_id"):
                filled[trade[name]] = filled.get(trade[name], Decimal(0)) + amount
            traded["buy"] += amount
            traded["sell"] += amount
    assert all(filled[order_id] <= quantity[order_id] for order_id in filled), (
        "nothing is overfilled"
    )
    sides = {answer["order"]["order_id"]: answer["order"]["side"] for answer in acknowledged}
    resting = {
        side: sum(Decimal(level[1]) for level in books[0][name])
        for side, name in (("buy", "bids"), ("sell", "asks"))
    }
    for side in ("buy", "sell"):
        placed = sum(quantity[order_id] for order_id in quantity if sides[order_id] == side)
        assert placed == traded[side] + resting[side], f"{side} quantity is conserved"
