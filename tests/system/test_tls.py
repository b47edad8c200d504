"""Three real nodes with certificates: trading, finding, mending and renewing over TLS."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from grape.link import Link
from raft_exchange.client import ExchangeClient, NewOrder, Unavailable
from raft_exchange.client.sender import pinned
from tests.support.certificates import Certificates, make_certificates
from tests.support.processes import Client, NodeProcess, RealCluster, free_ports

FIRST = "the-first-key-of-this-cluster-0123456789"
SHOWN = {"Authorization": f"Bearer {FIRST}"}
MARKET = "ETH-USD"


class Secured(RealCluster):
    """A cluster with TLS, keys, balances, and ports of their own for metrics and Grenache."""

    def __init__(self, folder: Path) -> None:
        (folder / "first.key").write_text(FIRST)
        settings = {"auth": "required", "admin_key_file": folder / "first.key", "accounts": "on"}
        super().__init__(folder, settings=settings, certificates=make_certificates(folder))
        self.metrics_ports = {node.name: free_ports(1)[0] for node in self.nodes}
        self.grenache_ports = {node.name: free_ports(1)[0] for node in self.nodes}

    def start(self, node: NodeProcess, **settings: object) -> None:
        ports = {
            "metrics_port": self.metrics_ports[node.name],
            "grenache_port": self.grenache_ports[node.name],
        }
        super().start(node, **ports, **settings)

    @property
    def own(self) -> Certificates:
        assert self.certificates is not None
        return self.certificates

    def trader(self, *nodes: NodeProcess) -> ExchangeClient:
        urls = [node.url for node in nodes or self.nodes]
        return ExchangeClient(urls, key=FIRST, ca=self.own.ca)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("tls")) as running:
        asyncio.run(_open(running))
        yield running


async def _open(cluster: Secured) -> None:
    async with Client(cluster) as client:
        await client.ready()

        async def is_let_in() -> bool:
            answer = await client.call(cluster.nodes[0], "GET", "/v1/account", headers=SHOWN)
            return answer[0] == 200

        await until(is_let_in)
        rules = {"base": "ETH", "quote": "USD", "tick_size": "1", "lot_size": "1"}
        body = {"market": MARKET, "accounts": "off"} | rules
        answer = await client.call(cluster.nodes[0], "POST", "/v1/markets", body, SHOWN)
        assert answer[0] == 201, answer


async def until(claim: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while True:
            if await claim():
                return
            await asyncio.sleep(0.05)


async def metric(cluster: Secured, node: NodeProcess, name: str) -> float:
    url = f"http://127.0.0.1:{cluster.metrics_ports[node.name]}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def shown_certificate(port: int) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))


@pytest.mark.timeout(300)
def test_an_order_over_tls_is_seen_at_every_node(cluster: Secured) -> None:
    async def trade() -> None:
        order = NewOrder(market=MARKET, side="buy", price=10, quantity=1)
        async with cluster.trader(cluster.nodes[0]) as trader:
            placed = await trader.place_order(order)
        for node in cluster.nodes:
            async with cluster.trader(node) as reader:
                book = await reader.get_book(MARKET)
                assert [level.price for level in book.bids] == [10], node.name
                members = (await reader.get_cluster()).members
                assert all(member.http_url.startswith("https://") for member in members)
        async with Client(cluster) as client:
            founded = await client.call(cluster.nodes[2], "GET", "/v1/markets/BTC-USD")
            assert founded[1]["accounts"] == "on"
        async with cluster.trader() as trader:
            await trader.cancel_order(placed.order.order_id)

    asyncio.run(trade())


def test_the_terminal_trusts_the_authority_that_it_is_told(cluster: Secured) -> None:
    command = [sys.executable, "-m", "raft_exchange", "book", "--market", MARKET, "--json"]
    flags = ["--url", cluster.nodes[1].url, "--timeout", "2"]
    told = [*command, *flags, "--ca-file", str(cluster.own.ca)]
    done = subprocess.run(told, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["market"] == MARKET
    untold = subprocess.run([*command, *flags], capture_output=True, timeout=60)
    assert untold.returncode == 1
    assert b"certificate" in untold.stderr + untold.stdout


def test_a_key_goes_to_discovered_nodes_of_the_authority_alone(
    cluster: Secured, tmp_path: Path
) -> None:
    async def discover() -> None:
        grape = cluster.nodes[0].grape_url
        found = await ExchangeClient.discover(grape, key=FIRST, ca=cluster.own.ca)
        async with found:
            assert (await found.get_account()).account == "admin"
        strange = make_certificates(tmp_path).ca
        with pytest.raises(Unavailable, match="https://"):
            await ExchangeClient.discover(grape, key=FIRST, ca=strange)

    asyncio.run(discover())


def test_metrics_and_health_are_plain_on_their_own_port(cluster: Secured) -> None:
    async def look() -> None:
        async with Client(cluster) as client:
            for node in cluster.nodes:
                assert await metric(cluster, node, "raft_exchange_raft_has_leader ") == 1
                assert (await client.call(node, "GET", "/metrics"))[0] == 404
                assert (await client.call(node, "GET", "/readyz"))[0] == 200
                base = f"http://127.0.0.1:{cluster.metrics_ports[node.name]}"
                async with aiohttp.ClientSession() as session:
                    for path, status in {"/livez": 200, "/readyz": 200, "/v1/markets": 404}.items():
                        async with session.get(base + path) as answer:
                            assert answer.status == status, path

    asyncio.run(look())


def test_stock_clients_are_sent_to_the_plain_port_which_takes_their_calls_alone(
    cluster: Secured,
) -> None:
    async def call() -> None:
        ports = sorted(cluster.grenache_ports.values())
        async with Link([cluster.nodes[0].grape_url]) as link:

            async def are_announced() -> bool:
                found = await link.lookup("exchange_orders")
                return sorted(int(address.rpartition(":")[2]) for address in found) == ports

            await until(are_announced)
        base = f"http://127.0.0.1:{ports[0]}"
        async with aiohttp.ClientSession() as session:
            question = ["1", "raft_exchange:exchange", {"op": "status"}]
            async with session.post(base, json=question) as answer:
                rid, error, result = json.loads(await answer.text())
                assert (rid, error, result["cluster"]) == ("1", None, "exchange")
            async with session.get(base + "/v1/markets") as answer:
                assert answer.status == 404
            async with session.post(base + "/v1/orders", json={}, headers=SHOWN) as answer:
                assert answer.status == 404

    asyncio.run(call())


def test_who_speaks_no_tls_gets_no_answer(cluster: Secured) -> None:
    async def speak() -> None:
        port = cluster.nodes[0].http_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            assert b"HTTP" not in await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
        async with Client(cluster) as client:
            assert (await client.call(cluster.nodes[0], "GET", "/livez"))[0] == 200

    asyncio.run(speak())


@pytest.mark.timeout(300)
def test_history_is_mended_from_peers_over_tls(cluster: Secured) -> None:
    async def trade(trader: ExchangeClient) -> None:
        for side in ("buy", "sell"):
            await trader.place_order(NewOrder(market=MARKET, side=side, price=9, quantity=1))

    async def mend() -> None:
        node = cluster.nodes[2]
        async with cluster.trader(cluster.nodes[0]) as trader:
            await trade(trader)
            async with Client(cluster) as client:
                await client.call(node, "POST", "/v1/cluster/snapshot", headers=SHOWN)
                await until(lambda: metric(cluster, node, "raft_exchange_snapshot_index "))
            cluster.terminate(node)
            for file in node.folder.glob("history.sqlite3*"):
                file.unlink()
            cluster.start(node)
            async with Client(cluster) as client:
                await client.ready([node])
            await trade(trader)  # from there on it writes, and misses what was before
            pages = "raft_exchange_history_pages_from_peers_total "
            await until(lambda: metric(cluster, node, pages))

    asyncio.run(mend())


@pytest.mark.timeout(300)
def test_certificates_are_renewed_without_dropping_a_connection(
    cluster: Secured, tmp_path: Path
) -> None:
    async def renew() -> None:
        own, node = cluster.own, cluster.nodes[0]
        old = shown_certificate(node.http_port)
        new = make_certificates(tmp_path, authority_name="the next authority")
        tls = pinned(own.ca)
        assert tls is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port, ssl=tls)

        async def still_answers() -> bool:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(size)
            return b" 200 " in head

        def hang_up() -> None:
            assert node.process is not None
            node.process.send_signal(signal.SIGHUP)

        async def logged(text: str) -> None:
            async def is_logged() -> bool:
                return text in node.log

            await until(is_logged)

        assert await still_answers()
        shutil.copy(new.cert, own.cert)
        hang_up()
        await logged("is served on")
        assert shown_certificate(node.http_port) == old, "the key is not of the new certificate"
        shutil.copy(new.key, own.key)
        own.ca.write_bytes(own.ca.read_bytes() + new.ca.read_bytes())
        hang_up()
        await logged("is served from now on")
        assert shown_certificate(node.http_port) == new.der != old
        assert await still_answers()
        writer.close()
        async with cluster.trader(node) as trader:
            assert (await trader.get_cluster()).cluster == "exchange"

    asyncio.run(renew())
