"""A stop ends in its time, whatever clients do meanwhile, and costs nobody an answer."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path

import aiohttp
import pytest

from tests.support.coroutines import eventually, in_loop
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.trading import Outcome, Trading
from tests.system.conftest import size

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

DRAIN_SECONDS = 2
ORDER = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "1", "quantity": "1"}


def send_order(node: NodeProcess, *, is_whole: bool) -> socket.socket:
    """Begin to place an order, and leave the connection open."""
    body = json.dumps(ORDER).encode()
    head = f"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", node.http_port))
    connection.sendall(head.encode() + (body if is_whole else body[:10]))
    return connection


def requests_in_flight(node: NodeProcess) -> int:
    """Return how many requests the node works on, besides the one that asks."""
    with urllib.request.urlopen(node.url + "/metrics") as answer:
        found = re.search(
            r"^raft_exchange_http_requests_in_flight (\d+)", answer.read().decode(), re.M
        )
    assert found is not None
    return int(found[1]) - 1


@in_loop
async def test_a_stop_ends_in_its_time_though_nobody_else_does_their_part(tmp_path: Path) -> None:
    """No majority to commit an order, and a client that never sends the rest of its body."""
    with RealCluster(tmp_path, settings={"drain_seconds": DRAIN_SECONDS}) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            stopped, *others = cluster.nodes
            for node in others:
                cluster.kill(node)
            connections = [send_order(stopped, is_whole=is_whole) for is_whole in (True, False)]
            await eventually(lambda: requests_in_flight(stopped) == len(connections))
            assert stopped.process is not None
            began_s = time.monotonic()
            stopped.process.send_signal(signal.SIGTERM)
            assert stopped.process.wait(30) == 0
            assert time.monotonic() - began_s < DRAIN_SECONDS + 1.5
            for connection in connections:
                connection.close()


class ConnectedAnew(RealCluster):
    """Its clients connect for each request, so that somebody always does while a node stops."""

    def connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0, force_close=True)


@in_loop
async def test_no_request_goes_unanswered_when_leaders_are_stopped(tmp_path: Path) -> None:
    """The port of a node that has gone refuses connections: then nothing was asked."""
    with ConnectedAnew(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            trading = Trading(client, clients=12)
            trading.start()
            for _ in range(size("STOPS", 2)):
                await asyncio.sleep(0.5)
                leader = await client.leader()
                assert await asyncio.to_thread(cluster.terminate, leader) == 0
                cluster.start(leader)
                await client.ready()
            await trading.stop()
    assert set(trading.problems) <= {"not connected"}, trading.problems
    assert trading.count(Outcome.OK) > 0
