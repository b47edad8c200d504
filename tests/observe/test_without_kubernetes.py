"""What `grafana/compose.yaml` starts fits together, as far as that shows without its images."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from raft_exchange.config import add_flags, load
from tests.support.dashboards import ROOT, tool

pytestmark = pytest.mark.interop
FOLDER: Final = ROOT / "grafana"


def _yaml(name: str) -> Any:
    return tool("yaml").safe_load((FOLDER / name).read_text())


def test_every_node_reads_its_settings(tmp_path: Path) -> None:
    services = _yaml("compose.yaml")["services"]
    targets = _yaml("prometheus.yaml")["scrape_configs"][0]["static_configs"][0]["targets"]
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    nodes = [name for name in services if name.startswith("node")]
    for name in nodes:
        environment = services[name]["environment"]
        assert environment["RAFT_EXCHANGE_CLUSTER_SECRET_FILE"] == "/run/secrets/cluster"
        parser = argparse.ArgumentParser()
        add_flags(parser)
        given = environment | {"RAFT_EXCHANGE_CLUSTER_SECRET_FILE": str(secret)}
        settings = load(parser.parse_args([]), given)
        assert settings.expect == len(nodes)
        assert f"{name}:{settings.http_port}" in targets
        assert settings.advertise_http_url == f"http://{name}:{settings.http_port}"
        assert f"node1:{settings.dht_port}" in settings.bootstrap
        assert services[name]["command"] == ["node"]


def test_every_file_that_is_mounted_is_there() -> None:
    compose = _yaml("compose.yaml")
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (FOLDER / source).exists(), source
    provider = _yaml("provisioning/dashboards/raft-exchange.yaml")["providers"][0]
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"./dashboards:{provider['options']['path']}:ro" in mounts
    source = _yaml("provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("promtool", ["check", "config", "prometheus.yaml"]),
        ("amtool", ["check-config", "alertmanager.yaml"]),
    ],
)
def test_the_servers_own_tools_take_the_settings(program: str, arguments: list[str]) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install prometheus-alertmanager")
    done = subprocess.run(
        [program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
