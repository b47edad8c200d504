"""The folder of `raft-exchange cluster`: whose it is, and what it consists of.

One cluster at a time works in a folder. Its nodes hold locks of their own in it: after a kill -9 of
the cluster they need a moment to notice, and the next start waits for them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange import config
from raft_exchange.raft.storage import PATH_ERRORS, Directory, DirectoryInUse

PLAN_FILE: Final = "cluster.json"
SECRET_FILE: Final = "cluster.secret"
UNFINISHED_SUFFIX: Final = ".unfinished"
POLL_S: Final = 0.1


class Plan(msgspec.Struct, frozen=True):
    """What a folder's cluster consists of; kept in it, and checked at the next start."""

    nodes: int
    host: str
    http_port: int
    raft_port: int
    dht_port: int = 20_001
    grape_http_port: int = 30_001
    pubsub_port: int = 8181

    def node_name(self, number: int) -> str:
        """Return the name of node `number`, counted from 1."""
        return f"n{number}"

    def http_url(self, number: int) -> str:
        """Return the base URL of node `number`."""
        return f"http://{self.host}:{self.http_port + number - 1}"

    def bootstrap(self) -> str:
        """Return the DHT addresses of the first two nodes: through them all find each other."""
        return ",".join(f"127.0.0.1:{self.dht_port + n}" for n in range(min(2, self.nodes)))

    def base_ports(self) -> dict[str, int]:
        """Return the ports of the first node by flag; each further node takes the next ones."""
        return {
            "--http-port": self.http_port,
            "--raft-port": self.raft_port,
            "--dht-port": self.dht_port,
            "--grape-http-port": self.grape_http_port,
            "--pubsub-port": self.pubsub_port,
        }


class StartError(Exception):
    """The cluster cannot start; the message says which flag or file to change."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def claim(folder: Path, plan: Plan) -> Directory:
    """Lock the folder until the result is closed; check or write its plan, and make the secret.

    Raises:
        StartError: in use, not usable, damaged, or another cluster's.
    """
    try:
        directory = Directory.ensure_with_parents(folder)
        directory.lock()
        _check_plan(directory, plan)
        _write(directory, PLAN_FILE, msgspec.json.encode(plan))
        if SECRET_FILE not in directory.names():
            _write(directory, SECRET_FILE, secrets.token_hex(32).encode())
        config.read_secret(folder / SECRET_FILE)
    except DirectoryInUse as error:
        raise StartError(f"--data-dir: {folder} is in use by a running cluster") from error
    except config.ConfigError as error:
        hint = "delete that file, and the next start makes another"
        raise StartError(f"--data-dir: {error}; {hint}") from error
    except OSError as error:
        exit_code = 2 if error.errno in PATH_ERRORS else 4
        said = f"--data-dir: cannot use {folder}: {error.strerror}"
        raise StartError(said, exit_code) from error
    return directory


def _check_plan(directory: Directory, plan: Plan) -> None:
    if PLAN_FILE not in directory.names():
        return
    try:
        found = msgspec.json.decode(directory.read(PLAN_FILE), type=Plan)
    except msgspec.DecodeError as error:
        raise StartError(
            f"--data-dir: {directory.path / PLAN_FILE} is damaged ({error}); delete that file and "
            "start with the same --nodes as before"
        ) from error
    if found.nodes != plan.nodes:
        raise StartError(
            f"--nodes: {directory.path} holds a cluster of {found.nodes} nodes, not {plan.nodes}"
        )


def _write(directory: Directory, name: str, data: bytes) -> None:
    """Replace a file, so that after a crash it is the old one or the new one, whole."""
    unfinished = name + UNFINISHED_SUFFIX
    if unfinished in directory.names():
        directory.unlink(unfinished)
    file = directory.create(unfinished, 0)
    try:
        directory.write(file, data, 0)
        directory.sync_data(file)
    finally:
        directory.close_file(file)
    directory.rename(unfinished, name)
    directory.sync()


def await_earlier_nodes(
    folder: Path, plan: Plan, *, patience_s: float, is_stopping: Callable[[], bool]
) -> None:
    """Wait until no node of an earlier start, whose cluster was killed, works in the folder.

    Raises:
        StartError: one still does after `patience_s`.
    """
    deadline_s = time.monotonic() + patience_s
    for number in range(1, plan.nodes + 1):
        node, is_told = plan.node_name(number), False
        while _is_locked(folder / node / "journal") and not is_stopping():
            if time.monotonic() > deadline_s:
                raise StartError(f"--data-dir: {node} of an earlier start still runs in {folder}")
            if not is_told:
                print(f"{node} of an earlier start stops ...", flush=True)
                is_told = True
            time.sleep(POLL_S)


def _is_locked(path: Path) -> bool:
    if not path.is_dir():
        return False
    directory = Directory(path)
    try:
        directory.lock()
    except DirectoryInUse:
        return True
    finally:
        directory.close()
    return False
