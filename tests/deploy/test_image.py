"""The image: built without a registry, and run as `grafana/compose.yaml` runs it.

Three containers with a read-only root, as uid 10001, without any capability, on a network of their
own; one is killed and one is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.chart import ROOT, tool
from tests.support.containers import Containers, Engine, demand_containers

pytestmark = [pytest.mark.interop, pytest.mark.system, pytest.mark.timeout(900)]
IMAGE: Final = f"localhost/raft-exchange-test:{os.getpid()}"
AGAIN: Final = f"{IMAGE}-again"
NODES: Final = ("node1", "node2", "node3")
AT_ITSELF: Final = ("--url", "http://127.0.0.1:8081", "--json")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    demand_containers()
    return tmp_path_factory.mktemp("context")


@pytest.fixture(scope="module")
def engine(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With the image built."""
    engine = Engine(tmp_path_factory.mktemp("engine"))
    try:
        engine.build(context, IMAGE)
        yield engine
    finally:
        engine.try_("podman", "rmi", "--force", IMAGE, AGAIN)


@pytest.fixture(scope="module")
def cluster(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """The nodes of the compose file, of which only the first is started."""
    compose = tool("yaml").safe_load((ROOT / "grafana" / "compose.yaml").read_text())
    services = {name: compose["services"][name] for name in NODES}
    secret = tmp_path_factory.mktemp("secret") / "cluster.secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    secret.chmod(0o644)  # its folders are this user's; the container's user is another
    with Containers(engine, IMAGE, services, secret) as containers:
        containers.create("node1")
        yield containers


def test_it_says_who_runs_it_and_how_its_health_is_asked(engine: Engine) -> None:
    config = engine.inspect(IMAGE)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["raft-exchange"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Volumes"] == {"/data": {}}
    check = engine.inspect(IMAGE)["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert "/readyz" in check[-1]


def test_it_holds_the_wheels_and_no_tool_to_get_more(engine: Engine) -> None:
    inside = ("podman", "run", "--rm", "--pull=never", "--network=none", "--read-only")
    shell = (*inside, "--entrypoint=sh", IMAGE, "-c")
    assert "0.1.0" in engine.run(*inside, IMAGE, "--version")
    found = engine.run(*shell, "ls /opt/venv/bin /wheels 2>&1; true")
    assert "pip" not in found.split()
    assert "No such file" in found, "the wheels stay in the first stage"
    assert engine.try_(*shell, "touch /opt/venv/x").returncode != 0


def test_the_same_wheels_make_the_same_layers(engine: Engine, context: Path) -> None:
    engine.build(context, AGAIN)
    assert engine.inspect(AGAIN)["RootFS"] == engine.inspect(IMAGE)["RootFS"]


def test_a_container_alone_is_up_but_not_healthy(cluster: Containers) -> None:
    """Its health is `/readyz`: nobody is to be sent to a node that waits for others."""
    status = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081/livez').status)"
    assert not cluster.is_healthy("node1")
    for _ in range(100):
        if "listens on" in cluster.log("node1"):
            break
    assert cluster.run("node1", "python", "-c", status).strip() == "200"
    assert not cluster.is_healthy("node1")


def test_three_containers_find_each_other_and_trade(cluster: Containers) -> None:
    """Through the DHT: they are told nothing but the names of two of them."""
    cluster.create("node2")
    cluster.create("node3")
    for service in NODES:
        cluster.wait(service, healthy=True)
    urls = [f"http://{service}:8081" for service in NODES]
    seen = cluster.run("node1", "raft-exchange", "probe", *urls)
    assert seen.count("seen at") == 3, seen


def test_every_process_is_without_privileges(cluster: Containers) -> None:
    for service in NODES:
        status = cluster.run(service, "cat", "/proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {"10001"}
        assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"


def test_one_killed_and_one_cut_off_recover(cluster: Containers) -> None:
    cluster.kill("node1")
    _trade(cluster, sell_at="node2", buy_at="node3", price="100")
    cluster.start("node1")
    cluster.wait("node1", healthy=True)
    assert _prices(cluster, "node1") == ["100"]

    cluster.cut_off("node3")
    cluster.wait("node3", healthy=False)
    _trade(cluster, sell_at="node1", buy_at="node2", price="101")
    cluster.connect("node3")
    cluster.wait("node3", healthy=True)
    assert _prices(cluster, "node3") == ["101", "100"]


def _trade(cluster: Containers, *, sell_at: str, buy_at: str, price: str) -> None:
    """Trade through two nodes; the order waits as long as there is no leader."""
    place = ("raft-exchange", "order", "place")
    patient = (*AT_ITSELF, "--timeout", "60")
    cluster.run(sell_at, *place, "sell", "1", price, *patient)
    bought = json.loads(cluster.run(buy_at, *place, "buy", "1", price, *patient))
    assert [trade["price"] for trade in bought["trades"]] == [price]


def _prices(cluster: Containers, service: str) -> list[Any]:
    """Return the prices of the trades that a node shows, newest first."""
    trades = json.loads(cluster.run(service, "raft-exchange", "trades", *AT_ITSELF))
    return [trade["price"] for trade in trades]
