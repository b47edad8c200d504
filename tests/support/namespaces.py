"""A real cluster with a network that can be cut: one network namespace for each node.

A switch in a namespace of its own joins them; bytes are dropped where they would arrive, so that
a link can be cut in one direction. Clients reach each node inside its namespace, over loopback,
whatever becomes of the network: what is tested is the cluster's, not the clients', partition.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.processes import NodeProcess, RealCluster

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NamespacedCluster(RealCluster):
    """N nodes at 10.77.0.1, 10.77.0.2, …; skips the test where namespaces are not allowed."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        # Nodes ask each other over the network, clients come over loopback: on all addresses.
        self.settings |= {"host": "0.0.0.0", "allow_open_network": "on"}
        self._prefix = f"rx{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self._made: list[str] = []
        self._namespaces: dict[int, int] = {}  # descriptors, by HTTP port
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        for number, node in enumerate(self.nodes, 1):
            node.host = f"10.77.0.{number}"
            node.launcher = ["ip", "netns", "exec", self._name(node)]

    def __enter__(self) -> NamespacedCluster:
        try:
            self._build()
        except (OSError, subprocess.CalledProcessError) as error:
            self._tear_down()
            pytest.skip(f"needs network namespaces (root, iproute2, iptables): {error}")
        super().__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._tear_down()

    def connector(self) -> aiohttp.TCPConnector:
        def make_socket(address: Any) -> socket.socket:
            family, kind, protocol, _, (_, port, *_) = address
            _enter(self._namespaces[port])
            try:
                made = socket.socket(family, kind, protocol)
            finally:
                _enter(self._own)
            made.setblocking(False)
            return made

        return aiohttp.TCPConnector(limit=0, socket_factory=make_socket)

    # Faults ---------------------------------------------------------------------------------------

    def block(self, sender: NodeProcess, receiver: NodeProcess) -> None:
        """Drop everything that one sends to the other, silently."""
        drop = ["iptables", "-w", "-A", "INPUT", "-s", sender.host, "-j", "DROP"]
        _run("ip", "netns", "exec", self._name(receiver), *drop)

    def cut(self, one: NodeProcess, other: NodeProcess) -> None:
        """Drop everything between two nodes."""
        self.block(one, other)
        self.block(other, one)

    def isolate(self, node: NodeProcess, others: Sequence[NodeProcess]) -> None:
        for other in others:
            self.cut(node, other)

    def mend(self) -> None:
        """Let everything through again."""
        for node in self.nodes:
            _run("ip", "netns", "exec", self._name(node), "iptables", "-w", "-F")

    # Building -------------------------------------------------------------------------------------

    def _name(self, node: NodeProcess) -> str:
        return f"{self._prefix}-{node.name}"

    def _build(self) -> None:
        self._add(self._switch)
        switch = ("ip", "-n", self._switch)
        _run(*switch, "link", "add", "switch", "type", "bridge")
        _run(*switch, "link", "set", "switch", "up")
        for number, node in enumerate(self.nodes, 1):
            name, port = self._name(node), f"port{number}"
            self._add(name)
            link = ("ip", "-n", name, "link")
            _run(*link, "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
            _run(*switch, "link", "set", port, "master", "switch", "up")
            _run("ip", "-n", name, "address", "add", f"{node.host}/24", "dev", "eth0")
            _run(*link, "set", "eth0", "up")
            _run(*link, "set", "lo", "up")
            self._namespaces[node.http_port] = os.open(f"/run/netns/{name}", os.O_RDONLY)
        self.mend()  # fails at once where there is no iptables

    def _add(self, name: str) -> None:
        _run("ip", "netns", "add", name)
        self._made.append(name)

    def _tear_down(self) -> None:
        for descriptor in (*self._namespaces.values(), self._own):
            os.close(descriptor)
        self._namespaces.clear()
        for name in self._made:
            _run("ip", "netns", "delete", name)
        self._made.clear()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
