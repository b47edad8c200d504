"""Finding a cluster through the DHT, where anyone may announce anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from grape import Grape
from raft_exchange import ExchangeNode
from raft_exchange.client import ExchangeClient, NewOrder, RequestRefused, Unavailable
from tests.support.certificates import make_certificates
from tests.support.coroutines import in_loop
from tests.support.gateway import Gateway, gateway
from tests.support.grapes import grapes
from tests.support.processes import free_ports
from tests.support.scripted_node import problem, reply, scripted_nodes

SERVICE = "raft_exchange_nodes:test"


@asynccontextmanager
async def announced() -> AsyncIterator[tuple[Gateway, Grape]]:
    """A gateway that the DHT knows as a node of the cluster `test`, and another grape."""
    async with gateway() as g, grapes(2) as (one, other):
        await one.announce(SERVICE, g.port)
        yield g, other


@in_loop
async def test_a_cluster_is_found_by_its_name() -> None:
    async with announced() as (_, grape):
        client = await ExchangeClient.discover(grape.api_url, "test", account="ann")
        async with client:
            order = NewOrder(market="BTC-USD", side="buy", price=1, quantity=1)
            placed = await client.place_order(order)
            assert placed.order.account == "ann"
        with pytest.raises(Unavailable, match="LOOKUP_EMPTY"):
            await ExchangeClient.discover(grape.api_url, "another")


@in_loop
async def test_what_answers_as_no_node_of_the_cluster_is_left_out() -> None:
    async with announced() as (g, grape), scripted_nodes(3) as (mute, other, broken):
        cluster = {"cluster": "other", "node": "x", "role": "leader", "term": 1, "sequence": 1}
        other.otherwise = reply(200, cluster | {"members": []})
        broken.otherwise = problem(404, "unknown_route")
        for liar in (mute, other, broken):
            await grape.announce(SERVICE, int(liar.url.rpartition(":")[2]))
        await grape.announce(SERVICE, free_ports(1)[0])
        async with await ExchangeClient.discover(grape.api_url, "test") as client:
            for _ in range(5):
                assert (await client.get_cluster()).cluster == "test"
        assert all(len(liar.asked) <= 20 for liar in (mute, other, broken))
        assert g.core.marketdata.sequence


@in_loop
async def test_a_key_is_not_given_to_whoever_announces_the_name(tmp_path: Path) -> None:
    async with announced() as (_, grape):
        with pytest.raises(ValueError, match="TLS"):
            await ExchangeClient.discover(grape.api_url, "test", key="secret")
        ca = make_certificates(tmp_path).ca
        with pytest.raises(Unavailable, match="https://"):
            await ExchangeClient.discover(grape.api_url, "test", key="secret", ca=ca)


@in_loop
async def test_a_grape_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(Unavailable, match=url):
        await ExchangeClient.discover(url, "test")


@in_loop
async def test_exchange_node_trades_as_the_seeds_class_did() -> None:
    """And raises where that one lost the order."""
    async with announced() as (_, grape):
        async with ExchangeNode(grape.api_url, cluster="test") as node:
            await node.submit_order("sell", "100.25", "0.5")
            placed = await node.submit_order("buy", Decimal(101), "0.2")
            assert [(t.price, t.quantity) for t in placed.trades] == [
                (Decimal("100.25"), Decimal("0.2"))
            ]
            book = await node.get_order_book()
            assert book["buys"] == []
            assert [(o.price, o.quantity) for o in book["sells"]] == [
                (Decimal("100.25"), Decimal("0.3"))
            ]
            with pytest.raises(RequestRefused, match="off_tick"):
                await node.submit_order("buy", "1.001", "1")
            await node.reset_order_book()
            assert await node.get_order_book() == {"buys": [], "sells": []}
        nobody = ExchangeNode(grape.api_url, cluster="nobody")
        with pytest.raises(Unavailable):
            await nobody.submit_order("buy", "1", "1")
        await nobody.close()
