"""Real nodes as real processes on this machine: started, killed, stopped and asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from raft_exchange.client.sender import pinned
from raft_exchange.config import node_arguments
from raft_exchange.matching.messages import Order, OrderAccepted
from raft_exchange.raft.identity import FILE_NAME
from raft_exchange.raft.library import REGULAR
from raft_exchange.raft.recovery import recover
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.codec import decode_batch
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.certificates import Certificates

READY_S_MAX = 30.0
POLL_S = 0.05


_given: set[int] = set()


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Return ports that were free a moment ago; none is given twice."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket(type=kind) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            ports.append(port)
    return ports


class NodeProcess:
    """One node's folder and ports, and its process while it runs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.http_port, self.raft_port, self.pubsub_port, self.grape_http_port = free_ports(4)
        (self.dht_port,) = free_ports(1, socket.SOCK_DGRAM)
        self.host = "127.0.0.1"  # where it is reached by the other nodes
        self.http_host = "127.0.0.1"
        self.scheme = "http"
        self.launcher: list[str] = []  # what the node's command is given to
        self.release: Path | None = None  # a folder with another release, instead of this one
        self.process: subprocess.Popen[bytes] | None = None

    def move(self, host: str) -> None:
        """Be at another address of this machine, and at other ports, from the next start on."""
        self.host = self.http_host = host
        self.http_port, self.raft_port, self.pubsub_port, self.grape_http_port = free_ports(4)
        (self.dht_port,) = free_ports(1, socket.SOCK_DGRAM)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.http_host}:{self.http_port}"

    @property
    def grape_url(self) -> str:
        return f"http://127.0.0.1:{self.grape_http_port}"

    @property
    def id(self) -> str:
        """The id that its folder was given at the first start."""
        sealed = json.loads((self.folder / FILE_NAME).read_bytes())
        return str(sealed["identity"]["node"])

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    def assert_running(self) -> None:
        """Fail with its log if it exited by itself; whoever was stopped or killed is fine."""
        code = None if self.process is None else self.process.poll()
        assert code is None, f"{self.name} exited with {code}:\n{self.log}"


class RealCluster:
    """N nodes of one group; a context manager that leaves no process behind.

    With `open_files_max`, the system allows each node no more descriptors than that. With
    `certificates`, the nodes serve TLS and look at each other's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 3,
        settings: dict[str, Any] | None = None,
        open_files_max: int | None = None,
        certificates: Certificates | None = None,
    ):
        self.folder = folder
        self.settings = settings or {}
        self.certificates = certificates
        if certificates is not None:
            files = {f"tls_{name}": path for name, path in certificates.files().items()}
            self.settings = self.settings | files
        self.expect = nodes
        self._limit = []
        if open_files_max is not None:
            self._limit = ["sh", "-c", f'ulimit -n {open_files_max}; exec "$@"', "sh"]
        (folder / "cluster.secret").write_text("0123456789abcdef0123456789abcdef")
        self.nodes: list[NodeProcess] = []
        for _ in range(nodes):
            self.add()

    def __enter__(self) -> RealCluster:
        for node in self.nodes:
            self.start(node)
        return self

    def __exit__(self, *exc: object) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()
                node.process.wait()

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def add(self) -> NodeProcess:
        """Return one more node, with an empty folder and not started."""
        name = f"n{len(self.nodes) + 1}"
        node = NodeProcess(name, self.folder / name)
        node.folder.mkdir(exist_ok=True)
        node.scheme = "http" if self.certificates is None else "https"
        self.nodes.append(node)
        return node

    def start(self, node: NodeProcess, **settings: Any) -> None:
        """Start a node; it is told the DHT addresses of the first two."""
        flags = {
            "name": node.name,
            "expect": self.expect,
            "bootstrap": ",".join(f"{n.host}:{n.dht_port}" for n in self.nodes[:2]),
            "data_dir": node.folder,
            "cluster_secret_file": self.folder / "cluster.secret",
            "host": node.http_host,
            "http_port": node.http_port,
            "raft_host": node.host,
            "raft_port": node.raft_port,
            "dht_host": node.host,
            "dht_port": node.dht_port,
            "grape_http_port": node.grape_http_port,
            "pubsub_port": node.pubsub_port,
            "auth": "open",
            **self.settings,
            **settings,
        }
        program = [sys.executable, "-m", "raft_exchange", "node"]
        command = [*node.launcher, *self._limit, *program, *node_arguments(flags)]
        where: dict[str, Any] = {}
        if node.release is not None:  # before the working folder and before what is installed
            where = {"cwd": node.folder, "env": os.environ | {"PYTHONPATH": str(node.release)}}
        with (node.folder / "node.log").open("ab") as log:
            node.process = subprocess.Popen(command, stdout=log, stderr=log, **where)

    def connector(self) -> aiohttp.TCPConnector:
        """Return how clients reach the nodes."""
        if self.certificates is None:
            return aiohttp.TCPConnector(limit=0)
        return aiohttp.TCPConnector(limit=0, ssl=pinned(self.certificates.ca) or True)

    def kill(self, node: NodeProcess) -> None:
        """kill -9, and wait until it is gone."""
        assert node.process is not None
        node.process.kill()
        node.process.wait()
        node.process = None

    def terminate(self, node: NodeProcess) -> int:
        """SIGTERM; return the exit code."""
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        code = node.process.wait(30)
        node.process = None
        return code


def accepted_orders(node: NodeProcess) -> list[Order]:
    """Return every order a stopped node accepted, replayed from its journal alone."""
    directory = Directory(node.folder / "journal")
    try:
        found = recover(directory)
    finally:
        directory.close()
    assert found.entries.base.index == 0, "the journal begins at the beginning"
    accepted: list[Order] = []
    state = ReplicatedState()
    for command, index, term in found.entries.run(
        1, bytes_max=1 << 40, count_max=found.commit_index
    ):
        if command[:1] != REGULAR:
            continue
        for result in state.apply(index, term, *decode_batch(command[1:])).results:
            if not result.replayed_sequence:
                events = (e for e in result.events if isinstance(e, OrderAccepted))
                accepted.extend(event.order for event in events)
    return accepted


class Client:
    """A minimal HTTP client of the cluster for tests; keeps one session.

    `ready_s_max` is how long it waits for nodes to be ready, to lead, to agree.
    """

    def __init__(self, cluster: RealCluster, *, ready_s_max: float = READY_S_MAX) -> None:
        self.cluster = cluster
        self.ready_s_max = ready_s_max

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=30), connector=self.cluster.connector()
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def call(
        self,
        node: NodeProcess,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return status and decoded body; raises aiohttp's errors where no answer came."""
        async with self._session.request(
            method, node.url + path, json=body, headers=headers
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def place(
        self, node: NodeProcess, side: str, price: object, quantity: object, **more: object
    ) -> tuple[int, Any]:
        order = {
            "market": "BTC-USD",
            "side": side,
            "type": "limit",
            "price": str(price),
            "quantity": str(quantity),
            **more,
        }
        return await self.call(node, "POST", "/v1/orders", order)

    async def ready(self, nodes: Sequence[NodeProcess] | None = None) -> None:
        """Wait until the nodes say they are ready; where one exits, the rest may never be."""
        deadline_s = time.monotonic() + self.ready_s_max
        awaited = nodes or self.cluster.nodes
        told: object = "no answer"
        for node in awaited:
            while True:
                try:
                    status, told = await self.call(node, "GET", "/readyz?verbose")
                    if status == 200:
                        break
                except aiohttp.ClientError:
                    assert node.process is not None
                for each in awaited:
                    each.assert_running()
                assert time.monotonic() < deadline_s, (
                    f"{node.name} is not ready: {told}\n{node.log}"
                )
                await asyncio.sleep(POLL_S)

    async def leader(self, *, other_than: NodeProcess | None = None) -> NodeProcess:
        """Return the node that says it leads, as soon as one does."""
        deadline_s = time.monotonic() + self.ready_s_max
        while time.monotonic() < deadline_s:
            for node in self.cluster.nodes:
                if node is other_than or node.process is None:
                    continue
                try:
                    _, found = await self.call(node, "GET", "/v1/cluster")
                except aiohttp.ClientError:
                    continue
                if found.get("role") == "leader":
                    return node
            await asyncio.sleep(POLL_S)
        raise AssertionError("no leader")

    async def settled(self) -> list[Any]:
        """Return every node's cluster view with its state hash, once all are at one sequence."""
        deadline_s = time.monotonic() + self.ready_s_max
        while True:
            views = [
                (await self.call(node, "GET", "/v1/cluster?hash=now"))[1]
                for node in self.cluster.nodes
            ]
            if len({view["sequence"] for view in views}) == 1:
                return views
            assert time.monotonic() < deadline_s, views
            await asyncio.sleep(POLL_S)
