"""The commands as a newcomer meets them: what they print, what they refuse, how they stop."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raft_exchange.cli.cluster_folder import Plan, claim
from raft_exchange.config import node_arguments
from tests.support.processes import free_ports

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
PROGRAM = [sys.executable, "-m", "raft_exchange"]


@contextmanager
def run_cluster(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `raft-exchange cluster` and give it with what it printed until it was ready."""
    process = subprocess.Popen(
        [*PROGRAM, "cluster", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        yield process, lines
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture
def ports() -> list[str]:
    """Return flags for base ports with free ones behind them; other runs look elsewhere first."""
    candidates = range(21_000, 29_000, 20)
    first = os.getpid() % len(candidates)
    for http_port in (*candidates[first:], *candidates[:first]):
        if all(_is_free(port) for port in range(http_port, http_port + 15)):
            flags = ("http", "raft", "dht", "grape-http", "pubsub")
            bases = {f"--{flag}-port": 3 * place for place, flag in enumerate(flags)}
            return [text for flag, n in bases.items() for text in (flag, str(http_port + n))]
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_printed_lines_work_when_pasted_and_ctrl_c_stops_everything(
    tmp_path: Path, ports: list[str]
) -> None:
    with run_cluster("--nodes", "2", "--data-dir", str(tmp_path / "d"), *ports) as (process, lines):
        text = "".join(lines)
        assert "A cluster of 2 nodes is ready." in text
        order, book = (line.strip() for line in lines if line.strip().startswith("curl"))
        placed = json.loads(subprocess.check_output(shlex.split(order)))
        assert placed["order"]["status"] == "open"
        found = json.loads(subprocess.check_output(shlex.split(book)))
        assert found["asks"] == [["100.25", "0.5", 1]]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    with run_cluster("--nodes", "2", "--data-dir", str(tmp_path / "d"), *ports) as (_, lines):
        url = next(line for line in lines if "n1" in line).split()[1]
        with urllib.request.urlopen(f"{url}/v1/markets/BTC-USD/book") as answer:
            assert json.loads(answer.read())["asks"] == [["100.25", "0.5", 1]]


def test_a_folder_in_use_and_another_size_are_refused(tmp_path: Path, ports: list[str]) -> None:
    folder = ["--data-dir", str(tmp_path / "d")]
    with run_cluster("--nodes", "1", *folder, *ports):
        again = subprocess.run(
            [*PROGRAM, "cluster", "--nodes", "1", *folder, *ports], capture_output=True, text=True
        )
        assert again.returncode == 2
        assert "--data-dir" in again.stderr
        assert "in use" in again.stderr
    other = subprocess.run(
        [*PROGRAM, "cluster", "--nodes", "3", *folder, *ports], capture_output=True, text=True
    )
    assert other.returncode == 2
    assert "--nodes" in other.stderr


def test_a_folder_from_before_ids_were_minted_goes_on_as_the_cluster_it_was(
    tmp_path: Path, ports: list[str]
) -> None:
    folder = tmp_path / "d"
    members = ["n1", "n2"]
    for node in members:
        (folder / node).mkdir(parents=True)
        identity = {"cluster": "exchange", "node": node, "members": members, "boot": 7}
        (folder / node / "identity.json").write_text(json.dumps(identity))
    before = {"nodes": 2, "host": "127.0.0.1", "http_port": 1, "raft_port": 2}
    (folder / "cluster.json").write_text(json.dumps(before))
    with run_cluster("--nodes", "2", "--data-dir", str(folder), *ports) as (_, lines):
        assert "A cluster of 2 nodes is ready.\n" in lines
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/v1/cluster") as answer:
            assert [one["id"] for one in json.loads(answer.read())["members"]] == members


def test_nodes_do_not_outlive_the_cluster_that_started_them(
    tmp_path: Path, ports: list[str]
) -> None:
    """After a kill -9 the next start takes their ports and their folder again."""
    arguments = ("--nodes", "2", "--data-dir", str(tmp_path / "d"), *ports)
    with run_cluster(*arguments) as (process, _):
        process.kill()
    with run_cluster(*arguments) as (_, lines):
        assert "A cluster of 2 nodes is ready.\n" in lines
    assert "whoever started this node is gone" in (tmp_path / "d/n1/node.log").read_text()


def test_a_busy_port_is_refused_by_the_name_of_its_flag(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        for flag in ("--http-port", "--raft-port", "--pubsub-port"):
            refused = subprocess.run(
                [*PROGRAM, "cluster", "--nodes", "1", "--data-dir", str(tmp_path), flag, port],
                capture_output=True,
                text=True,
            )
            assert refused.returncode == 2
            assert f"{flag}: port {port} is not free" in refused.stderr


def test_a_node_says_which_setting_is_wrong(tmp_path: Path) -> None:
    refused = run_node(tmp_path, bootstrap="[::1]:20001")
    assert refused.returncode == 2
    assert "bootstrap: '[::1]:20001' (from --bootstrap) is not allowed" in refused.stderr
    assert "IPv4 only" in refused.stderr


def run_node(folder: Path, **changed: object) -> subprocess.CompletedProcess[str]:
    """Run a node that is not going to start; `changed` are its unusual settings."""
    ports = ("http_port", "raft_port", "pubsub_port", "grape_http_port")
    (folder / "secret").write_text("0123456789abcdef")
    settings = {
        "name": "n1",
        "data_dir": folder / "d",
        "cluster_secret_file": folder / "secret",
        **dict(zip(ports, free_ports(4), strict=True)),
        "dht_port": free_ports(1, socket.SOCK_DGRAM)[0],
        **changed,
    }
    command = [*PROGRAM, "node", *node_arguments(settings)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("setting", ["http_port", "raft_port", "grape_http_port", "dht_port"])
def test_a_nodes_port_in_use_is_exit_2_and_named(tmp_path: Path, setting: str) -> None:
    kind = socket.SOCK_DGRAM if setting == "dht_port" else socket.SOCK_STREAM
    with socket.socket(type=kind) as busy:
        busy.bind(("127.0.0.1", 0))
        refused = run_node(tmp_path, **{setting: busy.getsockname()[1]})
    assert refused.returncode == 2
    assert f"{setting}: cannot listen" in refused.stderr


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_exit_2_and_named(tmp_path: Path, host: str) -> None:
    refused = run_node(tmp_path, raft_host=host)
    assert refused.returncode == 2
    assert "raft_host: cannot listen" in refused.stderr


@pytest.mark.parametrize("folder", ["/etc/passwd", "/etc/passwd/d", "/proc", "/proc/d"])
def test_a_data_folder_that_cannot_be_one_is_exit_2_and_named(tmp_path: Path, folder: str) -> None:
    refused = run_node(tmp_path, data_dir=folder)
    assert refused.returncode == 2
    assert f"data_dir: cannot use '{folder}'" in refused.stderr


def refuse_cluster(*arguments: str) -> str:
    """Return what `raft-exchange cluster` says when it refuses to start."""
    refused = subprocess.run([*PROGRAM, "cluster", *arguments], capture_output=True, text=True)
    assert refused.returncode == 2, refused
    assert "Traceback" not in refused.stderr
    return refused.stderr


@pytest.mark.parametrize("text", ["", "{", '{"nodes": "x"}'])
def test_a_damaged_plan_is_told_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    said = refuse_cluster("--data-dir", str(tmp_path))
    assert f"--data-dir: {tmp_path}/cluster.json is damaged" in said
    assert "delete that file" in said


def test_an_empty_secret_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cluster.secret").touch()
    said = refuse_cluster("--data-dir", str(tmp_path))
    assert f"{tmp_path}/cluster.secret' holds 0 bytes" in said
    assert "delete that file" in said


def test_a_cluster_folder_that_cannot_be_one_is_told() -> None:
    for folder in ("/etc/passwd", "/proc/d", "/proc"):
        assert f"--data-dir: cannot use {folder}" in refuse_cluster("--data-dir", folder)


def test_ports_of_the_nodes_do_not_overlap(tmp_path: Path) -> None:
    for raft_port in ("8079", "8081", "8083"):
        said = refuse_cluster("--data-dir", str(tmp_path), "--raft-port", raft_port)
        assert f"--http-port 8081 and --raft-port {raft_port} are too near" in said


def test_a_crash_while_the_folder_is_prepared_leaves_nothing_half_written(tmp_path: Path) -> None:
    """What an earlier start left unfinished is no obstacle; what it finished is whole."""
    (tmp_path / "cluster.json.unfinished").write_text("{")
    (tmp_path / "cluster.secret.unfinished").touch()
    plan = Plan(nodes=3, host="127.0.0.1", http_port=8081, raft_port=7081)
    claim(tmp_path, plan).close()
    assert len((tmp_path / "cluster.secret").read_bytes()) == 64
    assert (tmp_path / "cluster.secret").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.unfinished"))


def verify(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "verify", str(folder), *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_stopped_nodes_verify_alike_and_damage_is_named(tmp_path: Path, ports: list[str]) -> None:
    folder = tmp_path / "d"
    with run_cluster("--nodes", "3", "--data-dir", str(folder), *ports) as (_, lines):
        order = next(line.strip() for line in lines if "curl" in line)
        for _ in range(3):
            subprocess.check_output(shlex.split(order))
        running = verify(folder / "n1")
        assert running.returncode == 2
        assert "stop the node first" in running.stderr
    found = [verify(folder / node, "--json") for node in ("n1", "n2", "n3")]
    assert [process.returncode for process in found] == [0, 0, 0]
    index = min(json.loads(process.stdout)["index"] for process in found)
    hashes = {
        json.loads(verify(folder / node, "--json", "--index", str(index)).stdout)["state_hash"]
        for node in ("n1", "n2", "n3")
    }
    assert len(hashes) == 1
    segment = min((folder / "n1" / "journal").glob("*.journal"))
    with segment.open("r+b") as file:
        file.seek(1_000)
        byte = file.read(1)
        file.seek(1_000)
        file.write(bytes([byte[0] ^ 0xFF]))
    damaged = verify(folder / "n1")
    assert damaged.returncode == 1
    assert segment.name in damaged.stderr
    assert verify(tmp_path / "nothing").returncode == 2


def test_optimised_python_is_refused() -> None:
    refused = subprocess.run(
        [sys.executable, "-O", "-m", "raft_exchange", "cluster"], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "refuses to run with -O" in refused.stderr


def test_the_bench_measures_a_running_cluster(tmp_path: Path, ports: list[str]) -> None:
    url = f"http://127.0.0.1:{ports[1]}"
    with run_cluster("--nodes", "1", "--data-dir", str(tmp_path / "d"), *ports):
        measured = subprocess.run(
            [*PROGRAM, "bench", "--url", url, "--clients", "4", "--seconds", "1"],
            capture_output=True,
            text=True,
        )
        assert measured.returncode == 0, measured.stderr
        assert "orders/s acknowledged; 4 clients, 1 a request, 1 nodes" in measured.stdout
    gone = subprocess.run([*PROGRAM, "bench", "--url", url], capture_output=True, text=True)
    assert gone.returncode == 1
    assert "--url" in gone.stderr
