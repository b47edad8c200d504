"""The procedures of grafana/README.md, every command as it stands there, in their order."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raft_exchange.__main__ import make_parser
from tests.support.processes import free_ports
from tests.system.conftest import size

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

README = Path(__file__).parents[2] / "grafana" / "README.md"
PATIENCE_S = 60.0
POLL_S = 0.5
PORT = re.compile(r"\b(?:[789]\d{3}|[23]\d{4})\b")
PORTS = {  # of the quick start, node by node, by what its settings call the first
    "http_port": (8081, 8082, 8083, 8084),
    "raft_port": (7081, 7082, 7083, 7084),
    "dht_port": (20001, 20002, 20003, 20004),
    "grape_http_port": (30001, 30002, 30003, 30004),
    "pubsub_port": (8181, 8182, 8183, 8184),
}


def _free_row(*, count: int) -> int:
    """Return the first of so many free ports in a row, where no connection has its own end."""
    candidates = range(11_000, 19_000, count)
    first = os.getpid() % len(candidates)
    for base in (*candidates[first:], *candidates[:first]):
        if all(_is_free(base + n) for n in range(count)):
            return base
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def sections() -> dict[str, list[str]]:
    """The commands of each procedure, one a line."""
    _, _, text = README.read_text().partition("\n## Procedures\n")
    found = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE):
        blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
        found[section.partition("\n")[0]] = blocks.replace("\\\n", "").splitlines()
    return found


class Machine:
    """Runs commands in a folder of their own, on ports of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._moved: dict[str, str] = {}
        base = _free_row(count=4 * len(PORTS))
        bases = {name: base + 4 * place for place, name in enumerate(PORTS)}
        for name, ports in PORTS.items():
            self._moved |= {str(p): str(bases[name] + n) for n, p in enumerate(ports)}
        url = ",".join(f"http://127.0.0.1:{self._moved[str(p)]}" for p in PORTS["http_port"][:3])
        own = {f"RAFT_EXCHANGE_{name.upper()}": str(base) for name, base in bases.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = os.environ | own | {"RAFT_EXCHANGE_URL": url, "PATH": path}
        flags = [f"--{name.replace('_', '-')} {base}" for name, base in bases.items()]
        self.cluster = self.start(f"exec raft-exchange cluster {' '.join(flags)}")

    def _translated(self, command: str) -> str:
        def moved(found: re.Match[str]) -> str:
            port = found[0]
            if port not in self._moved:
                self._moved[port] = str(free_ports(1)[0])
            return self._moved[port]

        return PORT.sub(moved, command)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        log = (self._folder / "processes.log").open("ab")
        process = subprocess.Popen(
            ["bash", "-c", self._translated(command)],
            cwd=self._folder,
            env=self._environment,
            stdout=log,
            stderr=log,
        )
        log.close()
        self._processes.append(process)
        return process

    def does(self, command: str) -> str:
        """Run one command; it must succeed."""
        if command.endswith("&"):
            self.start("exec " + command.rstrip("& "))
            return ""
        done = subprocess.run(
            ["bash", "-c", self._translated(command)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def sees(self, command: str, claim: Callable[[str], bool]) -> None:
        """Look again and again until it is so."""
        deadline_s, said = time.monotonic() + PATIENCE_S, ""
        while not claim(said):
            assert time.monotonic() < deadline_s, (command, said)
            time.sleep(POLL_S)
            try:
                said = self.does(command)
            except AssertionError as error:  # nobody answers yet
                said = str(error)

    def ends(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            process.wait(60)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.ends()


STATUS = "raft-exchange cluster-admin status"


def row(name: str, *words: str) -> Callable[[str], bool]:
    """Say whether a member's row of `status` holds these words."""

    def claim(said: str) -> bool:
        rows = [line.split() for line in said.splitlines() if line.strip().startswith(name)]
        return any(set(words) <= set(found) for found in rows)

    return claim


def test_every_command_of_the_exchange_in_a_procedure_is_one_it_knows() -> None:
    parser, found = make_parser(), 0
    for command in itertools.chain(*sections().values()):
        words = shlex.split(command.rstrip("& "))
        if words[0] == "raft-exchange":
            parser.parse_args(words[1:])
            found += 1
    assert found > 20


@pytest.mark.skipif(
    not size("PROCEDURES", 0), reason="takes minutes: RAFT_EXCHANGE_TEST_PROCEDURES=1"
)
def test_every_command_of_every_procedure_does_what_it_is_there_for(machine: Machine) -> None:
    procedures = sections()
    (first,) = procedures[""]
    assert first == STATUS
    machine.sees(STATUS, lambda said: said.count("yes") == 3)
    node, status, remove = procedures["Lost node"]
    machine.does(f"kill -9 $({_process_of('n2')}) && rm -r data/n2")
    machine.sees(STATUS, row("n2", "no"))
    machine.does(node)
    machine.sees(status, row("n4", "yes", "voter"))
    assert "n2" not in machine.does(remove)

    backup, restore, verify, node, status, book, drain = procedures["Restore drill"]
    kept, restored, verified = (machine.does(each) for each in (backup, restore, verify))
    (state,) = re.findall(r"state ([0-9a-f]{64})", kept)
    assert f"state {state}" in restored
    assert f"state hash {state}" in verified
    machine.does(node)
    machine.sees(status, row("n1", "leader"))
    assert "the book is empty" in machine.does(book)
    machine.does(drain)

    leader, drain, ready = procedures["Rolling upgrade"]
    assert machine.does(leader).startswith("n4-")
    machine.does(drain)
    machine.sees(STATUS, row("n1", "no"))
    assert "leader_known" in machine.does(ready)

    *before, node, status = procedures["Divergence"]
    for command in before:
        machine.does(command)
    machine.does(node)
    machine.sees(status, row("n1", "yes", "ok"))
    for command in (*procedures["Full disk"], *procedures["Lost keys"]):
        machine.does(command)

    machine.ends()  # of all nodes, as far as n1 is concerned for ever
    verify, recover, node, status = procedures["Lost quorum"]
    machine.does(verify)
    assert "LOST" in machine.does(recover)
    machine.does(node)
    machine.sees(status, row("n1", "leader"))


def _process_of(name: str) -> str:
    return f"grep -o '{name} .*process [0-9]*' processes.log | grep -o '[0-9]*$'"
