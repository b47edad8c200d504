"""The image, built without a registry, and containers of it on a network of their own.

The base is a Debian of the machine's own package sources under the name that the Dockerfile asks
for, the wheels are made by the running Python, and podman starts what buildah built. Whether the
machine can do that is tried before: namespaces, mounts, bridges, address translation.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DEBIAN: Final = "bookworm"
BASE: Final = f"localhost/debian-base:{DEBIAN}"
PYTHON_IMAGE: Final = f"localhost/python:3.11-slim-{DEBIAN}"
PACKAGES: Final = "python3,python3-venv,python-is-python3,ca-certificates"
PROGRAMS: Final = ("mmdebstrap", "buildah", "podman", "runc", "dnsmasq", "iptables", "ip")
PLUGIN: Final = Path("/usr/lib/cni/dnsname")
INSTALL: Final = (
    "apt-get install mmdebstrap buildah podman runc containernetworking-plugins "
    "golang-github-containernetworking-plugin-dnsname dnsmasq-base iptables iproute2"
)
TRY: Final = """
mount -t tmpfs probe /mnt && cd /mnt && mkdir lower upper work all &&
mount -t overlay probe -o lowerdir=lower,upperdir=upper,workdir=work all &&
ip link add probe0 type bridge && ip link add probe1 type veth peer name probe2 &&
iptables -t nat -L -n >/dev/null
"""
POLL_S: Final = 0.25


def demand_containers() -> None:
    """Skip the test, saying why, where it is not asked for or this machine cannot do it."""
    if "RAFT_EXCHANGE_TEST_IMAGE" not in os.environ:
        pytest.skip("builds the image, which takes a minute or more: RAFT_EXCHANGE_TEST_IMAGE=1")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or not PLUGIN.exists():
        pytest.skip(f"{' '.join(missing) or PLUGIN.name} is not installed: {INSTALL}")
    if sys.version_info[:2] != (3, 11):
        pytest.skip(f"the image has Python 3.11, wheels would be for {platform.python_version()}")
    isolated = ("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork")
    done = subprocess.run([*isolated, "sh", "-c", TRY], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine cannot run containers: {done.stderr.decode().strip()}")


class Engine:
    """Buildah and podman with settings that need no privilege beyond root's in a container.

    Args:
        folder: for their settings.
    """

    def __init__(self, folder: Path) -> None:
        settings = folder / "containers.conf"
        limits = [
            f'"{name}={hard}:{hard}"'
            for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
            if (hard := min(20_000, _hard(kind))) > 0
        ]
        settings.write_text(
            f"[containers]\ndefault_ulimits=[{', '.join(limits)}]\n"
            '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\n'
        )
        more = {"CONTAINERS_CONF": str(settings), "STORAGE_DRIVER": "overlay"}
        self._environment = {**os.environ, **more}

    def try_(self, *command: str | Path, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of buildah's or podman's, whatever comes of it."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=within_s,
            check=False,
        )

    def run(self, *command: str | Path, within_s: float = 60) -> str:
        """Run one that has to succeed; return what it printed."""
        done = self.try_(*command, within_s=within_s)
        assert done.returncode == 0, f"{command}: {done.stdout[-2_000:]}{done.stderr[-4_000:]}"
        return done.stdout

    def build(self, folder: Path, tag: str) -> None:
        """Build the Dockerfile with wheels of this work tree, from nothing but this machine's.

        `folder` is the build context; its wheels are made if it has none.
        """
        if self.try_("podman", "image", "exists", PYTHON_IMAGE).returncode != 0:
            self._make_base(folder)
        wheels, lock = folder / "wheels", ROOT / "requirements.lock"
        if not wheels.exists():
            pip = (sys.executable, "-m", "pip", "wheel", "-q", "-c", str(lock), "-w", str(wheels))
            self.run(*pip, str(ROOT), within_s=300)
        self.run(
            *("buildah", "bud", "--no-cache", "--format=docker", "--timestamp=0"),
            *("--isolation=chroot", "--pull-never", "--network=host"),
            *("-f", ROOT / "helm" / "Dockerfile", "-t", tag, folder),
            within_s=300,
        )

    def _make_base(self, folder: Path) -> None:
        apt = Path("/etc/apt")
        sources = [*apt.glob("sources.list"), *sorted(apt.glob("sources.list.d/*"))]
        own = next(
            path
            for path in sources
            if path.suffix in (".list", ".sources")
            and any(DEBIAN in line.split() for line in path.read_text().splitlines())
        )
        base = folder / "base"
        base.mkdir()
        self.run(
            *("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}"),
            *(DEBIAN, base / "base.tar", own),
            within_s=600,
        )
        (base / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        self.run("buildah", "bud", "-t", BASE, base, within_s=300)
        self.run("buildah", "tag", BASE, PYTHON_IMAGE)
        shutil.rmtree(base)

    def inspect(self, name: str) -> Any:
        """Return what podman knows of an image or container."""
        (found,) = json.loads(self.run("podman", "inspect", name))
        return found


def _hard(kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return 20_000 if hard == resource.RLIM_INFINITY else hard


class Containers:
    """The node services of a compose file, as containers on a network of their own.

    Args:
        engine: runs them.
        image: stands in for the image that the file names.
        services: of the file, by name.
        secret: the file with the cluster's secret.
    """

    def __init__(
        self, engine: Engine, image: str, services: Mapping[str, Any], secret: Path
    ) -> None:
        self._engine = engine
        self._image = image
        self._services = services
        self._secret = secret
        self._prefix = f"rx{os.getpid()}"
        self._network = f"{self._prefix}-net"

    def __enter__(self) -> Containers:
        self._engine.run("podman", "network", "create", self._network)
        return self

    def __exit__(self, *exc: object) -> None:
        names = [self.name(service) for service in self._services]
        self._engine.try_("podman", "rm", "--force", "--time=0", "--volumes", *names)
        self._engine.try_("podman", "network", "rm", "--force", self._network)

    def name(self, service: str) -> str:
        return f"{self._prefix}-{service}"

    def create(self, service: str) -> None:
        """Start a service as its entry in the file says; ports stay inside."""
        told = self._services[service]
        assert told["read_only"] is True
        self._engine.run(
            *("podman", "run", "--detach", "--pull=never", "--name", self.name(service)),
            *("--network", self._network, "--network-alias", service, "--read-only"),
            *(f"--cap-drop={capability}" for capability in told["cap_drop"]),
            *(f"--security-opt={option.partition(':')[0]}" for option in told["security_opt"]),
            *("--volume", f"{self._secret}:/run/secrets/cluster:ro"),
            *(f"--env={key}={value}" for key, value in told["environment"].items()),
            *(self._image, *told["command"]),
        )

    def kill(self, service: str) -> None:
        self._engine.run("podman", "kill", "--signal=KILL", self.name(service))

    def start(self, service: str) -> None:
        self._engine.run("podman", "start", self.name(service))

    def cut_off(self, service: str) -> None:
        self._engine.run("podman", "network", "disconnect", self._network, self.name(service))

    def connect(self, service: str) -> None:
        self._engine.run(
            *("podman", "network", "connect", "--alias", service),
            *(self._network, self.name(service)),
        )

    def run(self, service: str, *command: str) -> str:
        """Run a command inside a container; return what it printed."""
        return self._engine.run("podman", "exec", self.name(service), *command)

    def log(self, service: str) -> str:
        done = self._engine.try_("podman", "logs", "--tail=60", self.name(service))
        return done.stdout + done.stderr

    def is_healthy(self, service: str) -> bool:
        """Have podman run the image's own health check once."""
        done = self._engine.try_("podman", "healthcheck", "run", self.name(service))
        return done.returncode == 0

    def wait(self, service: str, *, healthy: bool, within_s: float = 60) -> None:
        """Wait until the health check says so."""
        deadline_s = time.monotonic() + within_s
        while self.is_healthy(service) != healthy:
            assert time.monotonic() < deadline_s, f"{service}: {self.log(service)}"
            time.sleep(POLL_S)
