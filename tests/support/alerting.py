"""An alert's way to whoever is called: the real rules at a quicker pace, Alertmanager, a pager."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.dashboards import Object, tool
from tests.support.processes import free_ports

SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
READY_S_MAX: Final = 60.0


def quicker(text: str, *, times: int) -> str:
    """Return the text of a duration, such as 5m, that passes so many times as quickly."""
    number, unit = int(text[:-1]), text[-1]
    return f"{max(1, 1_000 * number * SECONDS[unit] // times)}ms"


def quicker_rules(rules: Object, *, times: int) -> Object:
    """Return the same rules, in which only the durations differ: `for`, and ranges in queries."""
    found: Object = json.loads(json.dumps(rules))
    for group in found["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = quicker(rule["for"], times=times)
            rule["expr"] = re.sub(
                r"\[(\d+[smhd])\]",
                lambda range_: f"[{quicker(range_[1], times=times)}]",
                rule["expr"],
            )
    return found


class Pager:
    """What is called: remembers each alert that it was told of, in order, as (name, status)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        pager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    assert alert["annotations"]["runbook_url"]
                    pager.calls.append((alert["labels"]["alertname"], alert["status"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Pager:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def statuses(self, alert: str) -> list[str]:
        """Return what it was told of an alert, oldest first."""
        return [status for name, status in self.calls if name == alert]


@contextmanager
def running_alertmanager(
    folder: Path, settings: Path, pager: Pager, *, times: int
) -> Iterator[str]:
    """Run Alertmanager with the committed settings, quicker, its receiver being the pager."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("alertmanager is not installed: apt-get install prometheus-alertmanager")
    told: Object = tool("yaml").safe_load(settings.read_text())
    route = told["route"]
    route["group_wait"] = quicker(route["group_wait"], times=times)
    route["group_interval"] = quicker(route.get("group_interval", "5m"), times=10 * times)
    (receiver,) = told["receivers"]
    receiver["webhook_configs"] = [{"url": pager.url, "send_resolved": True}]
    (folder / "alertmanager.yaml").write_text(json.dumps(told))
    (port,) = free_ports(1)
    command = [
        *(program, f"--config.file={folder / 'alertmanager.yaml'}"),
        *(f"--storage.path={folder / 'alerts'}", f"--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await_ready(f"http://127.0.0.1:{port}/-/ready", process)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    while True:
        assert process.poll() is None, "alertmanager has ended; see its log"
        assert time.monotonic() < deadline_s, "alertmanager does not get ready"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
