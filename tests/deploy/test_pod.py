"""The pod template is run: its settings, probes and stop, by real nodes on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raft_exchange.config import add_flags, load, node_arguments
from raft_exchange.settings import Settings
from tests.support.chart import CASES, Object, node_container, only, rendered, values_of
from tests.support.coroutines import in_loop
from tests.support.processes import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.system]
READY_S_MAX = 60.0
POD = {"metadata.name": "rel-raft-exchange-0"}


def environment_of(objects: list[Object], *, name: str) -> dict[str, str]:
    """Return a pod's environment as the kubelet would make it."""
    environment: dict[str, str] = {}
    for variable in node_container(objects)["env"]:
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            environment[variable["name"]] = name
        elif "secretKeyRef" in source:
            environment[variable["name"]] = "postgresql://history/database"
        else:
            value = variable["value"]
            for known, text in environment.items():
                value = value.replace(f"$({known})", text)
            environment[variable["name"]] = value
    return environment


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_node_reads_every_setting_of_the_pod(case: Path, tmp_path: Path) -> None:
    objects = rendered(values_of(case))
    settings = settings_of(objects, tmp_path)
    node = node_container(objects)
    ports = {port["name"]: port["containerPort"] for port in node["ports"]}
    mounts = {mount["mountPath"] for mount in node["volumeMounts"]}
    assert (ports["http"], ports["raft"]) == (settings.http_port, settings.raft_port)
    assert ports["dht"] == settings.dht_port
    assert str(settings.data_dir) in mounts
    assert str(settings.cluster_secret_file.parent) in mounts
    assert settings.advertise_http_url.startswith("http://rel-raft-exchange-0.rel-raft-exchange-n")
    headless = only(objects, "StatefulSet")["spec"]["serviceName"]
    assert settings.bootstrap == (f"{headless}.ns.svc.cluster.local:{settings.dht_port}",)
    grace_s = only(objects, "StatefulSet")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    (_, pause_s) = node["lifecycle"]["preStop"]["exec"]["command"]
    assert int(pause_s) + settings.drain_seconds < grace_s


def settings_of(objects: list[Object], folder: Path) -> Settings:
    config = folder / "node.toml"
    config.write_text(only(objects, "ConfigMap", "rel-raft-exchange")["data"]["node.toml"])
    command, *flags = node_container(objects)["args"]
    assert command == "node"
    flags[flags.index("/etc/raft-exchange/node.toml")] = str(config)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return load(parser.parse_args(flags), environment_of(objects, name=POD["metadata.name"]))


class Pods:
    """The chart's pods as processes: their own command and environment, but local addresses."""

    def __init__(self, folder: Path, count: int) -> None:
        values: Object = {"replicaCount": count, "cluster": {"initialMembers": count}}
        values["auth"] = {"mode": "open", "allowOpenNetwork": True}
        self.objects = rendered(values)
        self.node = node_container(self.objects)
        self._folder = folder
        ports = free_ports(4 * count)
        self._ports = [ports[4 * i : 4 * i + 4] for i in range(count)]
        (folder / "secret").write_text("0123456789abcdef0123456789abcdef")
        self.processes: list[subprocess.Popen[bytes]] = []

    def url(self, ordinal: int) -> str:
        return f"http://127.0.0.1:{self._ports[ordinal][0]}"

    def start(self, ordinal: int) -> subprocess.Popen[bytes]:
        http, raft, dht, grape = self._ports[ordinal]
        folder = self._folder / str(ordinal)
        folder.mkdir(exist_ok=True)
        config = folder / "node.toml"
        text = only(self.objects, "ConfigMap", "rel-raft-exchange")["data"]["node.toml"]
        config.write_text(text)
        environment = environment_of(self.objects, name=f"rel-raft-exchange-{ordinal}")
        local = {
            "data_dir": folder / "data",
            "cluster_secret_file": self._folder / "secret",
            "http_port": http,
            "raft_port": raft,
            "dht_port": dht,
            "grape_http_port": grape,
            "advertise_http_url": self.url(ordinal),
            "advertise_raft_address": f"127.0.0.1:{raft}",
            "bootstrap": ",".join(f"127.0.0.1:{ports[2]}" for ports in self._ports[:2]),
        }
        args = [
            str(config) if a == "/etc/raft-exchange/node.toml" else a for a in self.node["args"]
        ]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "raft_exchange", *args, *node_arguments(local)],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    def log(self, ordinal: int) -> str:
        return (self._folder / str(ordinal) / "log").read_text()


@contextmanager
def running(folder: Path, count: int) -> Iterator[Pods]:
    pods = Pods(folder, count)
    pods.processes = [pods.start(ordinal) for ordinal in range(count)]
    try:
        yield pods
    finally:
        for process in pods.processes:
            process.kill()
            process.wait()


async def probe(session: aiohttp.ClientSession, pods: Pods, ordinal: int, which: str) -> int:
    """Return the status of one probe of the pod template, 0 where nobody listens."""
    try:
        path = pods.node[which]["httpGet"]["path"]
        async with session.get(pods.url(ordinal) + path) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def ready(session: aiohttp.ClientSession, pods: Pods, ordinals: list[int]) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    for ordinal in ordinals:
        while await probe(session, pods, ordinal, "readinessProbe") != 200:
            assert time.monotonic() < deadline_s, pods.log(ordinal)
            await asyncio.sleep(0.1)


async def cluster_of(session: aiohttp.ClientSession, pods: Pods, ordinal: int) -> Any:
    async with session.get(pods.url(ordinal) + "/v1/cluster") as answer:
        return json.loads(await answer.text())


@in_loop
async def test_a_pod_alone_is_started_and_alive_but_not_ready(tmp_path: Path) -> None:
    """So the kubelet leaves it alone while it waits for the others, and nobody trades there."""
    pods = Pods(tmp_path, 3)
    process = pods.start(0)
    try:
        async with aiohttp.ClientSession() as session:
            deadline_s = time.monotonic() + READY_S_MAX
            while await probe(session, pods, 0, "startupProbe") != 200:
                assert time.monotonic() < deadline_s, pods.log(0)
                await asyncio.sleep(0.1)
            assert await probe(session, pods, 0, "livenessProbe") == 200
            assert await probe(session, pods, 0, "readinessProbe") == 503
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(300)
@in_loop
async def test_the_leaders_stop_fails_no_order(tmp_path: Path) -> None:
    """Its preStop's sleep aside: the pod leaves the Service, then SIGTERM hands over and drains."""
    with running(tmp_path, 3) as pods:
        async with aiohttp.ClientSession() as session:
            await ready(session, pods, [0, 1, 2])
            view = await cluster_of(session, pods, 0)
            leader = next(
                i for i in range(3) if view["leader"].startswith(f"rel-raft-exchange-{i}-")
            )
            others = [i for i in range(3) if i != leader]
            gaps = await _orders_while_stopping(session, pods, leader, others)
            assert pods.processes[leader].wait(30) == 0, pods.log(leader)
    assert max(gaps) < 2.0, "the bound for a loaded machine; tests/bench has the figure"


async def _orders_while_stopping(
    session: aiohttp.ClientSession, pods: Pods, leader: int, others: list[int]
) -> list[float]:
    """Place orders at the two others, one after the other; return the times between answers."""
    order = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "10", "quantity": "1"}
    stopping = asyncio.get_running_loop().time() + 1.0
    gaps: list[float] = []
    last_s = time.monotonic()
    is_told = False
    for number in range(100_000):
        url = pods.url(others[number % 2]) + "/v1/orders"
        async with session.post(url, json=order) as answer:
            assert answer.status == 201, await answer.text()
        gaps.append(time.monotonic() - last_s)
        last_s = time.monotonic()
        now_s = asyncio.get_running_loop().time()
        if not is_told and now_s > stopping:
            pods.processes[leader].send_signal(signal.SIGTERM)
            is_told = True
        if now_s > stopping + 3.0:
            return gaps
    raise AssertionError("the loop ends by time")
