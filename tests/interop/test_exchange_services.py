"""Stock Node.js clients trade on a real cluster: through every service, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.coroutines import in_loop
from tests.support.node_modules import RealGrape, ask, real_grapes
from tests.support.node_peer import NodeError, NodePeer, node_peer
from tests.support.processes import Client, NodeProcess, RealCluster

pytestmark = [pytest.mark.interop, pytest.mark.system, pytest.mark.timeout(120)]

HTTP: dict[str, Any] = {"transport": "http", "opts": {"timeout": 20_000}}
GZIP: dict[str, Any] = {"transport": "http", "opts": {"timeout": 20_000, "compress": True}}
SOCKET: dict[str, Any] = {"transport": "ws", "opts": {"timeout": 20_000}}
OWN = "raft_exchange:exchange"
SERVICES = ("exchange_orders", "p2p_exchange", "orderbook_service", OWN)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with RealCluster(tmp_path) as running:
        yield running


@pytest.fixture
def grape(cluster: RealCluster) -> Iterator[RealGrape]:
    """A real grape that joined the DHT of the nodes."""
    addresses = tuple(f"127.0.0.1:{node.dht_port}" for node in cluster.nodes)
    with real_grapes(1, bootstrap=addresses) as (running,):
        yield running


class Exchange(NamedTuple):
    """A cluster whose services are found at a real grape, and a stock client."""

    cluster: RealCluster
    client: Client
    node: NodePeer

    async def book(self, node: NodeProcess) -> tuple[Any, Any]:
        """What one node shows once it has caught up."""
        path = "/v1/markets/BTC-USD/book?consistency=linearizable"
        _, book = await self.client.call(node, "GET", path)
        return book["bids"], book["asks"]

    async def trades(self) -> list[tuple[str, str]]:
        """Price and quantity of every trade, oldest first; equal on every node."""
        told = []
        for node in self.cluster.nodes:
            path = "/v1/markets/BTC-USD/trades?consistency=linearizable"
            _, body = await self.client.call(node, "GET", path)
            told.append([(trade["price"], trade["quantity"]) for trade in body["trades"]][::-1])
        assert told[0] == told[1] == told[2]
        return told[0]


@contextlib.asynccontextmanager
async def exchange(cluster: RealCluster, grape: RealGrape) -> AsyncIterator[Exchange]:
    async with Client(cluster) as client:
        await client.ready()
        ports = {f"127.0.0.1:{node.http_port}" for node in cluster.nodes}
        for name in SERVICES:
            await found_at(grape, name, ports)
        async with node_peer(grape.url) as node:
            yield Exchange(cluster, client, node)


async def found_at(grape: RealGrape, name: str, addresses: set[str]) -> None:
    """Wait until a service is announced at exactly these addresses."""
    found: set[str] = set()
    async with asyncio.timeout(60):
        while found != addresses:
            await asyncio.sleep(0.1)
            found = set(await asyncio.to_thread(ask, grape.url, "lookup", name))


@in_loop
async def test_orders_of_stock_clients_trade_whatever_service_they_use(
    cluster: RealCluster, grape: RealGrape
) -> None:
    async with exchange(cluster, grape) as x:
        order = {"id": "k3", "side": "sell", "price": 100.25, "quantity": 0.5, "timestamp": 1}
        answer = await x.node.do(
            "request", key="exchange_orders", payload={"type": "order", "order": order}, **HTTP
        )
        assert answer == {"status": "order received", "trades": []}

        order = {"id": "8f-uuid", "side": "buy", "type": "limit", "price": 101, "quantity": 0.1}
        order |= {"peerId": "peer_1", "timestamp": 1}
        message = {"type": "NEW_ORDER", "order": order}
        answer = await x.node.do("request", key="orderbook_service", payload=message, **GZIP)
        assert answer["result"]["status"] == "filled"
        assert answer["result"]["trades"][0]["sellOrderId"] == "k3"

        order = {"id": "9d-uuid", "side": "buy", "amount": "0.2", "price": "100.5"}
        order |= {"pair": "BTC/USD", "userId": "u", "status": "pending", "timestamp": 1}
        message = {"id": "m-1", "type": "order", "fromNode": "f", "payload": order}
        answer = await x.node.do("request", key="p2p_exchange", payload=message, **HTTP)
        assert answer["message"] == "Message processed"

        order = {"side": "buy", "type": "limit", "price": "100.25", "quantity": "0.1"}
        message = {"op": "place", "idempotency_key": "a", "order": order}
        answer = await x.node.do("request", key=OWN, payload=message, **HTTP)
        assert answer["order"]["status"] == "filled"

        leader = await x.client.leader()
        await found_at(grape, "createOrderRequest", {f"127.0.0.1:{leader.http_port}"})
        order = {"asset": "BTC", "price": 100, "quantity": 5, "type": "BUY", "userId": "2"}
        answer = await x.node.do("request", key="createOrderRequest", payload=order, **SOCKET)
        assert (answer["status"], answer["matchedWith"]) == ("OPEN", [])

        assert await x.trades() == [("100.25", "0.1"), ("100.25", "0.2"), ("100.25", "0.1")]
        for node in x.cluster.nodes:
            assert await x.book(node) == ([["100", "5", 1]], [["100.25", "0.1", 1]])


@in_loop
async def test_one_order_mapped_to_every_node_is_one_order(
    cluster: RealCluster, grape: RealGrape
) -> None:
    """The seeds made as many copies of it as there were nodes."""
    async with exchange(cluster, grape) as x:
        order = {"id": "once", "side": "sell", "price": 100, "quantity": 3, "timestamp": 1}
        message: dict[str, Any] = {"type": "order", "order": order}
        answers = await x.node.do("map", key="exchange_orders", payload=message, **HTTP)
        assert answers == [{"status": "order received", "trades": []}] * 3

        order = {"id": "two", "side": "buy", "type": "market", "price": None, "quantity": 1}
        message = {"type": "NEW_ORDER", "order": order}
        answers = await x.node.do("map", key="orderbook_service", payload=message, **HTTP)
        assert [answer["result"]["status"] for answer in answers] == ["filled"] * 3
        assert len({json.dumps(answer["result"]) for answer in answers}) == 1

        order = {"id": "three", "side": "buy", "amount": "1", "price": "100", "pair": "BTC/USD"}
        message = {"id": "m-3", "type": "order", "payload": order}
        assert len(await x.node.do("map", key="p2p_exchange", payload=message, **HTTP)) == 3

        assert await x.trades() == [("100", "1"), ("100", "1")]
        for node in x.cluster.nodes:
            assert await x.book(node) == ([], [["100", "1", 1]])


@in_loop
async def test_a_refused_order_is_an_error_at_a_stock_client(
    cluster: RealCluster, grape: RealGrape
) -> None:
    async with exchange(cluster, grape) as x:
        order = {"id": "bad", "side": "sell", "price": -1, "quantity": 3}
        message = {"type": "NEW_ORDER", "order": order}
        with pytest.raises(NodeError, match=r"^Limit order must have a positive price$"):
            await x.node.do("request", key="orderbook_service", payload=message, **HTTP)
        message = {"op": "place", "order": {"side": "buy"}}
        with pytest.raises(NodeError, match=r"^bad_field: idempotency_key is missing$"):
            await x.node.do("request", key=OWN, payload=message, **HTTP)


@in_loop
async def test_a_stock_subscriber_hears_of_every_order_and_trade(
    cluster: RealCluster, grape: RealGrape
) -> None:
    async with exchange(cluster, grape) as x:
        ports = {f"127.0.0.1:{node.pubsub_port}" for node in x.cluster.nodes}
        await found_at(grape, "raft_exchange:events", ports)
        await x.node.do("subscribe", key="raft_exchange:events")
        assert await x.node.event() == ("connected", None)
        await x.client.place(x.cluster.nodes[0], "sell", 100, 1)
        await x.client.place(x.cluster.nodes[0], "buy", 100, 1)
        heard = []
        async with asyncio.timeout(30):
            while len(heard) < 5:
                kind, data = await x.node.event()
                assert kind == "text"
                heard.append(json.loads(data))
        assert [(m["type"], m.get("event")) for m in heard] == [
            ("order", "accepted"),
            ("order", "rested"),
            ("order", "accepted"),
            ("trade", None),
            ("order", "ended"),
        ]
        assert (heard[3]["trade"]["price"], heard[3]["trade"]["quantity"]) == ("100", "1")
        chain = [(m["previous_sequence"], m["sequence"]) for m in heard if m["index"] == 0]
        assert chain[1][0] == chain[0][1]


@in_loop
async def test_orders_without_an_id_go_to_the_new_leader(
    cluster: RealCluster, grape: RealGrape
) -> None:
    """The former one, which is found until its announcement lapses, refuses them."""
    async with exchange(cluster, grape) as x:
        leader = await x.client.leader()
        former = f"127.0.0.1:{leader.http_port}"
        await found_at(grape, "createOrderRequest", {former})
        x.cluster.terminate(leader)
        new = await x.client.leader(other_than=leader)
        x.cluster.start(leader)
        await x.client.ready()
        await found_at(grape, "createOrderRequest", {former, f"127.0.0.1:{new.http_port}"})
        order = {"asset": "BTC", "price": 100, "quantity": 5, "type": "BUY", "userId": "2"}
        call = ["r", "createOrderRequest", order]
        status, reply = await x.client.call(leader, "POST", "/", call)
        assert (status, reply[0]) == (200, "r")
        assert reply[1].startswith("no_leader: ")
        _, reply = await x.client.call(new, "POST", "/", call)
        assert (reply[1], reply[2]["status"]) == (None, "OPEN")
        for node in x.cluster.nodes:
            assert await x.book(node) == ([["100", "5", 1]], [])
