"""The pod template is run: its settings, probes and stop, by real nodes on this machine."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from pathlib import Path
from statistics import median

import aiohttp
import pytest

from raft_exchange.__main__ import make_parser
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
LAST = (False, False, True)
POD = {"metadata.name": f"{NAME}-0"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_node_reads_every_setting_of_the_pod(case: Path, tmp_path: Path) -> None:
    objects = rendered(values_of(case))
    settings = settings_of(objects, tmp_path)
    node = node_container(objects)
    ports = {port["name"]: port["containerPort"] for port in node["ports"]}
    mounts = {mount["mountPath"] for mount in node["volumeMounts"]}
    assert (ports["http"], ports["raft"]) == (settings.http_port, settings.raft_port)
    assert (ports["metrics"], ports["dht"]) == (settings.metrics_port, settings.dht_port)
    if settings.seed_services:
        assert ports["pubsub"] == settings.pubsub_port
    assert ports.get("grenache", 0) == settings.grenache_port
    scheme = "https" if settings.tls_cert else "http"
    assert settings.advertise_http_url.startswith(f"{scheme}://")
    for which in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert node[which]["httpGet"]["scheme"] == scheme.upper()
    for file in (settings.tls_cert, settings.tls_key, settings.tls_ca):
        assert file is None or str(file.parent) in mounts
    assert str(settings.data_dir) in mounts
    assert str(settings.cluster_secret_file.parent) in mounts
    assert f"//{NAME}-0.{NAME}-nodes.ns.svc" in settings.advertise_http_url
    assert f"{NAME}.ns.svc.cluster.local" in settings.allowed_hosts
    headless = only(objects, "StatefulSet")["spec"]["serviceName"]
    assert settings.bootstrap == (f"{headless}.ns.svc.cluster.local:{settings.dht_port}",)
    grace_s = only(objects, "StatefulSet")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    (_, _, script) = node["lifecycle"]["preStop"]["exec"]["command"]
    (pause_s,) = re.findall(r"sleep (\d+)$", script)
    assert int(pause_s) + settings.drain_seconds < grace_s


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_program_understands_what_the_hooks_say(case: Path) -> None:
    objects = rendered(values_of(case), upgrade=True)
    pods = [only(objects, "Job")["spec"]["template"]["spec"], only(objects, "Pod")["spec"]]
    for pod in pods:
        (container,) = pod["containers"]
        told = make_parser().parse_args(container["args"])
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        given = vars(told)
        named = [given.get(flag) for flag in ("key_file", "ca_file", "cluster_secret_file")]
        for file in [*named, given.get("signing_key")]:
            assert file is None or str(Path(file).parent) in mounts


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
    """PreStop hands over, its sleep has the pod leave the Service, SIGTERM drains: all 201.

    Three stops of leaders, the last one to its end; the median, for other work of this machine's.
    """
    with running(tmp_path, 3) as pods:
        async with aiohttp.ClientSession() as session:
            await ready(session, pods, [0, 1, 2])
            gaps = [await gap_of_a_stop(session, pods, to_its_end=last) for last in LAST]
    print("longest times without an accepted order:", [f"{1_000 * gap:.0f} ms" for gap in gaps])
    assert median(gaps) < GAP_S_MAX


async def gap_of_a_stop(session: aiohttp.ClientSession, pods: Pods, *, to_its_end: bool) -> float:
    """Stop the leader while orders go to the two others; return the longest time without one."""
    leader = await leader_of(session, pods, 0)
    others = [i for i in range(3) if i != leader]
    stopped = asyncio.Event()
    orders = asyncio.create_task(place_until(stopped, session, pods, others))
    await asyncio.sleep(1.0)
    assert "leads" in await pods.pre_stop(leader)
    assert await leader_of(session, pods, others[0]) != leader
    if to_its_end:
        assert await asyncio.to_thread(pods.terminate, leader) == 0, pods.log(leader)
    await asyncio.sleep(1.0)
    stopped.set()
    return max(await orders)


@in_loop
async def test_a_pod_alone_with_nobody_to_hand_over_to_stops_as_well(tmp_path: Path) -> None:
    """And is asked under the names and at the ports that the chart gives it."""
    with running(tmp_path, 1) as pods:
        async with aiohttp.ClientSession() as session:
            await ready(session, pods, [0])
            await asked_as_kubernetes_does(session, pods)
            await pods.pre_stop(0)
            assert await asyncio.to_thread(pods.terminate, 0) == 0


async def asked_as_kubernetes_does(session: aiohttp.ClientSession, pods: Pods) -> None:
    """By clients under the Service's name, by Prometheus at a port of its own; not otherwise."""
    (endpoint,) = only(
        rendered({"monitoring": {"podMonitor": {"enabled": True}}}), "PodMonitor", NAME
    )["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    order = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "10", "quantity": "1"}
    for host, expected in ((NAME, 201), (f"{NAME}.ns:80", 201), ("evil.example.org", 403)):
        url = pods.url(0) + "/v1/orders"
        async with session.post(url, json=order, headers={"Host": host}) as answer:
            assert answer.status == expected, await answer.text()
    async with session.get(pods.metrics_url(0) + endpoint["path"]) as answer:
        assert "_commit_index " in await answer.text()
    for url, expected in ((pods.url(0) + "/metrics", 404), (pods.metrics_url(0) + "/readyz", 200)):
        async with session.get(url) as answer:
            assert answer.status == expected
    async with session.post(pods.metrics_url(0) + "/v1/orders", json=order) as answer:
        assert answer.status == 404


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
