"""The folder of `raft-exchange cluster`: whose it is, and what it consists of.

One cluster at a time works in a folder. Its nodes hold locks of their own in it: after a kill -9 of
the cluster they need a moment to notice, and the next start waits for them.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.raft.storage import Directory, DirectoryInUse

POLL_S: Final = 0.1


class Plan(msgspec.Struct, frozen=True):
    """What a folder's cluster consists of; kept in it, and checked at the next start."""

    nodes: int
    host: str
    http_port: int
    raft_port: int

    def node_id(self, number: int) -> str:
        """Return the id of node `number`, counted from 1."""
        return f"n{number}"

    def http_url(self, number: int) -> str:
        """Return the base URL of node `number`."""
        return f"http://{self.host}:{self.http_port + number - 1}"

    def members(self) -> str:
        """Return the member list as the node's setting."""
        return ",".join(
            f"{self.node_id(n)}={self.host}:{self.raft_port + n - 1}={self.http_url(n)}"
            for n in range(1, self.nodes + 1)
        )


class StartError(Exception):
    """The cluster cannot start; the message says which flag or file to change."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def claim(folder: Path, plan: Plan) -> Directory:
    """Lock the folder until the result is closed; check or write its plan, and make the secret.

    Raises:
        StartError: in use, not usable, or another cluster's.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        directory = Directory(folder)
    except OSError as error:
        raise StartError(f"--data-dir: cannot use {folder}: {error.strerror}") from error
    try:
        directory.lock()
    except DirectoryInUse as error:
        raise StartError(f"--data-dir: {folder} is in use by a running cluster") from error
    plan_file = folder / "cluster.json"
    if plan_file.exists():
        found = msgspec.json.decode(plan_file.read_bytes(), type=Plan)
        if found.nodes != plan.nodes:
            raise StartError(
                f"--nodes: {folder} holds a cluster of {found.nodes} nodes, not {plan.nodes}"
            )
    plan_file.write_bytes(msgspec.json.encode(plan))
    secret_file = folder / "cluster.secret"
    if not secret_file.exists():
        descriptor = os.open(secret_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(descriptor, secrets.token_hex(32).encode())
        os.close(descriptor)
    return directory


def await_earlier_nodes(
    folder: Path, plan: Plan, *, patience_s: float, is_stopping: Callable[[], bool]
) -> None:
    """Wait until no node of an earlier start, whose cluster was killed, works in the folder.

    Raises:
        StartError: one still does after `patience_s`.
    """
    deadline_s = time.monotonic() + patience_s
    for number in range(1, plan.nodes + 1):
        node, is_told = plan.node_id(number), False
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
