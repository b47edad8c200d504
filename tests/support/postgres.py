"""A PostgreSQL server of Debian's package, in a folder of its own, as a user who may run it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.processes import free_ports

READY_S_MAX = 30.0


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None and (Path(found).parent / "pg_isready").exists():
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return versions[-1].parent if versions else None


class Postgres:
    """A server that can be killed and started again; `url` stays the same."""

    def __init__(self) -> None:
        programs = _programs()
        if programs is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self._programs = programs
        # The server refuses to run as root: Debian's package brings a user for it.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        # Not pytest's folder: that one belongs to whoever runs the tests, and nobody else enters.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self._folder, self._user)
        (self._port,) = free_ports(1)
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-D", self._folder / "data", "-U", "postgres", "-A", "trust", "-N")
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, program: str, *arguments: object) -> None:
        command = [self._programs / program, *map(str, arguments)]
        done = subprocess.run(
            command, user=self._as(), cwd=self._folder, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def _as(self) -> str | None:
        return self._user if os.geteuid() == 0 else None

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        command = [
            *(self._programs / "postgres", "-D", self._folder / "data", "-p", str(self._port)),
            *("-k", self._folder, "-c", "listen_addresses=127.0.0.1"),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=self._as(), cwd=self._folder, stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + READY_S_MAX
        ask = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        while subprocess.run(ask, check=False).returncode != 0:
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline_s, "PostgreSQL is not ready"
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 of the server and its children, frozen or not."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # it makes no more children
            children = self._children()
            self._process.kill()
            self._process.wait()
            self._process = None
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            deadline_s = time.monotonic() + READY_S_MAX
            while any(Path(f"/proc/{child}").exists() for child in children):
                assert time.monotonic() < deadline_s
                time.sleep(0.02)

    def remove(self) -> None:
        """Kill the server and delete its folder."""
        self.kill()
        shutil.rmtree(self._folder)

    def _children(self) -> list[int]:
        assert self._process is not None
        found = subprocess.run(
            ["pgrep", "-P", str(self._process.pid)], capture_output=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def stop_answering(self) -> None:
        """Freeze the server and its children: connections stay, answers do not come."""
        assert self._process is not None
        for pid in (*self._children(), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
