"""The pod template is run: its settings, probes and stop, by real nodes on this machine."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from pathlib import Path

import aiohttp
import pytest

from raft_exchange.config import add_flags, load
from raft_exchange.settings import Settings
from tests.support.chart import CASES, Object, node_container, only, rendered, values_of
from tests.support.coroutines import in_loop
from tests.support.pods import (
    NAME,
    READY_S_MAX,
    Pods,
    cluster_of,
    environment_of,
    probe,
    ready,
    running,
)

pytestmark = [pytest.mark.interop, pytest.mark.system]
GAP_S_MAX = 0.3
POD = {"metadata.name": f"{NAME}-0"}


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
    (_, _, script) = node["lifecycle"]["preStop"]["exec"]["command"]
    (pause_s,) = re.findall(r"sleep (\d+)$", script)
    assert int(pause_s) + settings.drain_seconds < grace_s


def settings_of(objects: list[Object], folder: Path) -> Settings:
    config = folder / "node.toml"
    config.write_text(only(objects, "ConfigMap", NAME)["data"]["node.toml"])
    command, *flags = node_container(objects)["args"]
    assert command == "node"
    flags[flags.index("/etc/raft-exchange/node.toml")] = str(config)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return load(parser.parse_args(flags), environment_of(objects, name=POD["metadata.name"]))


@in_loop
async def test_a_pod_alone_is_started_and_alive_but_not_ready(tmp_path: Path) -> None:
    """So the kubelet leaves it alone while it waits for the others, and nobody trades there."""
    pods = Pods(tmp_path, 3)
    pods.start(0)
    try:
        async with aiohttp.ClientSession() as session:
            deadline_s = time.monotonic() + READY_S_MAX
            while await probe(session, pods, 0, "startupProbe") != 200:
                assert time.monotonic() < deadline_s, pods.log(0)
                await asyncio.sleep(0.1)
            assert await probe(session, pods, 0, "livenessProbe") == 200
            assert await probe(session, pods, 0, "readinessProbe") == 503
    finally:
        pods.kill(0)


@pytest.mark.timeout(300)
@in_loop
async def test_the_leaders_stop_fails_no_order(tmp_path: Path) -> None:
    """PreStop hands over, its sleep has the pod leave the Service, SIGTERM drains: all 201."""
    with running(tmp_path, 3) as pods:
        async with aiohttp.ClientSession() as session:
            await ready(session, pods, [0, 1, 2])
            leader = await leader_of(session, pods, 0)
            others = [i for i in range(3) if i != leader]
            stopped = asyncio.Event()
            orders = asyncio.create_task(place_until(stopped, session, pods, others))
            await asyncio.sleep(1.0)
            assert "leads" in await pods.pre_stop(leader)
            assert await leader_of(session, pods, leader) != leader
            assert await asyncio.to_thread(pods.terminate, leader) == 0, pods.log(leader)
            await asyncio.sleep(1.0)
            stopped.set()
            gaps = await orders
    print(f"longest time without an accepted order: {1_000 * max(gaps):.0f} ms, {len(gaps)} orders")
    assert max(gaps) < GAP_S_MAX


@in_loop
async def test_a_followers_stop_is_quiet(tmp_path: Path) -> None:
    """Only the leader has something to hand over; the hook succeeds all the same."""
    with running(tmp_path, 1) as pods:
        async with aiohttp.ClientSession() as session:
            await ready(session, pods, [0])
            await pods.pre_stop(0)
            assert await asyncio.to_thread(pods.terminate, 0) == 0


async def leader_of(session: aiohttp.ClientSession, pods: Pods, at: int) -> int:
    """Return which pod leads, as one of them knows it."""
    leader = None
    while leader is None:
        leader = (await cluster_of(session, pods, at))["leader"]
    return int(leader.removeprefix(f"{NAME}-").partition("-")[0])


async def place_until(
    stopped: asyncio.Event, session: aiohttp.ClientSession, pods: Pods, at: list[int]
) -> list[float]:
    """Place orders in turn, one after the other; return the times between the answers."""
    order = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "10", "quantity": "1"}
    gaps: list[float] = []
    last_s = time.monotonic()
    while not stopped.is_set():
        url = pods.url(at[len(gaps) % len(at)]) + "/v1/orders"
        async with session.post(url, json=order) as answer:
            assert answer.status == 201, await answer.text()
        gaps.append(time.monotonic() - last_s)
        last_s = time.monotonic()
    return gaps
