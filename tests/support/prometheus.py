"""A real Prometheus that scrapes real nodes, and what the dashboards ask of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.processes import free_ports

READY_S_MAX: Final = 60.0
SCRAPE_S: Final = 1


class Prometheus:
    """Asks a server over its HTTP interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """Return what the server answers; its complaint about a query is an AssertionError."""
        address = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expr: str) -> list[Any]:
        """Return the samples of an expression, as of now."""
        found: list[Any] = self.get("/api/v1/query", query=expr)["result"]
        return found


@contextmanager
def running_prometheus(
    folder: Path,
    rules: Path,
    targets: Sequence[str],
    *,
    labels: dict[str, str],
    alertmanager: str | None = None,
) -> Iterator[Prometheus]:
    """Run a server that scrapes `targets` as the job raft-exchange, and tells an Alertmanager."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    job = {
        "job_name": "raft-exchange",
        "static_configs": [{"targets": list(targets), "labels": labels}],
    }
    settings = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(rules)],
        "scrape_configs": [job],
    }
    if alertmanager is not None:
        told = {"static_configs": [{"targets": [alertmanager]}]}
        settings["alerting"] = {"alertmanagers": [told]}
    (folder / "prometheus.yaml").write_text(json.dumps(settings))
    (port,) = free_ports(1)
    command = [
        *(program, f"--config.file={folder / 'prometheus.yaml'}"),
        *(f"--storage.tsdb.path={folder / 'series'}", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        _await_ready(server, process)
        yield server
    finally:
        process.kill()
        process.wait()


def await_nodes(urls: Sequence[str]) -> None:
    """Wait until every node says that it is ready."""
    deadline_s = time.monotonic() + READY_S_MAX
    for url in urls:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline_s, f"{url} does not get ready"
                time.sleep(0.1)


def _await_ready(server: Prometheus, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    while True:
        assert process.poll() is None, "prometheus has ended; see its log"
        assert time.monotonic() < deadline_s, "prometheus does not get ready"
        try:
            with urllib.request.urlopen(f"{server.url}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
