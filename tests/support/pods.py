"""The chart's pods as processes of this machine: command, settings, probes, hooks, run for real."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from raft_exchange.config import node_arguments
from tests.support.chart import Object, node_container, only, rendered
from tests.support.processes import free_ports

READY_S_MAX: Final = 60.0
PROGRAM: Final = (sys.executable, "-m", "raft_exchange")
NAME: Final = "rel-raft-exchange"
"""Of the StatefulSet that the chart makes of a release `rel`."""


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


class Pods:
    """The chart's pods as processes: their own command and environment, but local addresses.

    Args:
        folder: for their volumes.
        count: how many found the cluster.
        most: how many there will ever be.
    """

    def __init__(self, folder: Path, count: int, *, most: int = 0) -> None:
        self._count = count
        self._most = most or count
        self.objects = self.rendered_for(count)
        self.node = node_container(self.objects)
        self._folder = folder
        ports = free_ports(5 * self._most)
        self._ports = [ports[5 * i : 5 * i + 5] for i in range(self._most)]
        self._secret = folder / "secret"
        self._secret.write_text("0123456789abcdef0123456789abcdef")
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def rendered_for(self, replicas: int, *, upgrade: bool = False) -> list[Object]:
        """Return what the chart makes for so many pods."""
        values: Object = {"replicaCount": replicas, "cluster": {"initialMembers": self._count}}
        values["auth"] = {"mode": "open", "allowOpenNetwork": True}
        return rendered(values, upgrade=upgrade)

    def url(self, ordinal: int) -> str:
        return f"http://127.0.0.1:{self._ports[ordinal][0]}"

    def metrics_url(self, ordinal: int) -> str:
        return f"http://127.0.0.1:{self._ports[ordinal][4]}"

    def data(self, ordinal: int) -> Path:
        """Return what is mounted as the pod's volume."""
        return self._folder / str(ordinal) / "data"

    def start(self, ordinal: int) -> None:
        http, raft, dht, grape, metrics = self._ports[ordinal]
        folder = self._folder / str(ordinal)
        folder.mkdir(exist_ok=True)
        config = folder / "node.toml"
        config.write_text(only(self.objects, "ConfigMap", NAME)["data"]["node.toml"])
        environment = environment_of(self.objects, name=f"{NAME}-{ordinal}")
        local = {
            "data_dir": self.data(ordinal),
            "cluster_secret_file": self._secret,
            "http_port": http,
            "metrics_port": metrics,
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
            self.processes[ordinal] = subprocess.Popen(
                [*PROGRAM, *args, *node_arguments(local)],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    async def pre_stop(self, ordinal: int) -> str:
        """Run the template's own command at a pod, its sleep aside; return what it printed."""
        shell, flag, script = self.node["lifecycle"]["preStop"]["exec"]["command"]
        script = re.sub(r"\bsleep \d+", "sleep 0", script)
        script = script.replace("raft-exchange ", f"{shlex.join(PROGRAM)} ")
        script = re.sub(r"/data\b", str(self.data(ordinal)), script)
        code, told = await run(shell, flag, script)
        assert code == 0, told
        return told

    async def scale_down(self, replicas: int, *, awaited: Sequence[int]) -> tuple[int, str]:
        """Run the hook of an upgrade to so many pods; return its exit code and what it printed."""
        job = only(self.rendered_for(replicas, upgrade=True), "Job")
        assert "pre-upgrade" in job["metadata"]["annotations"]["helm.sh/hook"].split(",")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        args = list(container["args"])
        urls = args[args.index("--url") + 1].split(",")
        assert len(urls) == replicas
        args[args.index("--url") + 1] = ",".join(self.url(ordinal) for ordinal in awaited)
        args[args.index("--cluster-secret-file") + 1] = str(self._secret)
        return await run(*PROGRAM, *args)

    def terminate(self, ordinal: int) -> int:
        """Stop a pod as the kubelet does after its preStop; return its exit code."""
        process = self.processes.pop(ordinal)
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def kill(self, ordinal: int) -> None:
        process = self.processes.pop(ordinal)
        process.kill()
        process.wait()

    def log(self, ordinal: int) -> str:
        return (self._folder / str(ordinal) / "log").read_text()


async def run(*command: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return process.returncode or 0, told.decode()


@contextmanager
def running(folder: Path, count: int, *, most: int = 0) -> Iterator[Pods]:
    pods = Pods(folder, count, most=most)
    try:
        for ordinal in range(count):
            pods.start(ordinal)
        yield pods
    finally:
        for ordinal in list(pods.processes):
            pods.kill(ordinal)


async def probe(session: aiohttp.ClientSession, pods: Pods, ordinal: int, which: str) -> int:
    """Return the status of one probe of the pod template, 0 where nobody listens."""
    try:
        path = pods.node[which]["httpGet"]["path"]
        async with session.get(pods.url(ordinal) + path) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def ready(session: aiohttp.ClientSession, pods: Pods, ordinals: Sequence[int]) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    for ordinal in ordinals:
        while await probe(session, pods, ordinal, "readinessProbe") != 200:
            assert time.monotonic() < deadline_s, pods.log(ordinal)
            await asyncio.sleep(0.1)


async def cluster_of(session: aiohttp.ClientSession, pods: Pods, ordinal: int) -> Any:
    async with session.get(pods.url(ordinal) + "/v1/cluster") as answer:
        return json.loads(await answer.text())
