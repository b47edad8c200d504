"""`raft-exchange cluster`: a whole cluster on this machine, the quick start.

N nodes as N processes under one folder, which find each other through the DHT in them. One Ctrl-C
stops all cleanly, and so does any end of this process; a start on the same folder recovers
everything.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

from raft_exchange import config
from raft_exchange.cli import Commands, cluster_folder
from raft_exchange.cli.cluster_folder import Plan, StartError
from raft_exchange.cli.readiness import Readiness, look
from raft_exchange.raft.storage import Directory
from raft_exchange.setting_values import LOOPBACK_HOSTS

NODES_MAX: Final = 9
PORTS: Final = {
    "HTTP": 8081,
    "Raft": 7081,
    "DHT": 20001,
    "grape HTTP": 30001,
    "pubsub": 8181,
}
TELL_S: Final = 5.0
"""How often a start that takes long says how far it is."""
DRAIN_SECONDS: Final = 10
STOP_S_MAX: Final = DRAIN_SECONDS + 10.0
"""What a node gets to drain and to close its files, before it is killed."""
POLL_S: Final = 0.1


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= NODES_MAX:
        raise argparse.ArgumentTypeError(f"{text}: allowed 1-{NODES_MAX}")
    return number


def _base_port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65_536 - NODES_MAX:
        raise argparse.ArgumentTypeError(f"{text}: allowed 1-{65_536 - NODES_MAX}")
    return number


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "cluster", help="run a whole cluster on this machine", description=__doc__
    )
    parser.add_argument("--nodes", type=_count, default=3, help=f"1-{NODES_MAX}, default 3")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        help="where everything is kept, default ./data",
    )
    for name, port in PORTS.items():
        parser.add_argument(
            f"--{name.lower().replace(' ', '-')}-port",
            type=_base_port,
            default=port,
            help=f"{name} port of the first node ({port})",
        )
    parser.add_argument(
        "--host",
        choices=sorted(LOOPBACK_HOSTS),
        default="127.0.0.1",
        help="loopback address to listen on: everybody may trade here",
    )
    parser.add_argument(
        "--durability", choices=("fsync", "os"), default="fsync", help="see `node --help`"
    )
    parser.add_argument(
        "--accounts",
        choices=("on", "off"),
        default="off",
        help="on: a new cluster's market backs orders with balances, but those of `anonymous`",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Start all nodes, say what to do next, stop them at a signal; return the exit code."""
    plan = Plan(
        nodes=arguments.nodes,
        host=arguments.host,
        http_port=arguments.http_port,
        raft_port=arguments.raft_port,
        pubsub_port=arguments.pubsub_port,
        dht_port=arguments.dht_port,
        grape_http_port=arguments.grape_http_port,
    )
    folder: Path = arguments.data_dir.absolute()
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    try:
        _check_overlap(plan)
        directory = cluster_folder.claim(folder, plan)
        cluster_folder.await_earlier_nodes(
            folder, plan, patience_s=STOP_S_MAX, is_stopping=lambda: bool(stopping)
        )
        _check_ports(plan)
    except StartError as error:
        print(f"raft-exchange cluster: {error}", file=sys.stderr)
        return error.exit_code
    if stopping:
        return 0
    chosen = {"durability": arguments.durability, "accounts": arguments.accounts}
    nodes = _spawn(plan, folder, chosen)
    try:
        if not _wait_ready(plan, folder, nodes, stopping):
            return 0 if stopping else 1
        print(_next_steps(plan, folder, nodes), flush=True)
        if arguments.accounts == "on":
            print(_with_balances(plan), flush=True)
        return _watch(plan, folder, nodes, stopping)
    finally:
        _stop(nodes)
        directory.close()


def _check_overlap(plan: Plan) -> None:
    for (one, first), (other, second) in combinations(plan.base_ports().items(), 2):
        if abs(first - second) < plan.nodes:
            raise StartError(
                f"{one} {first} and {other} {second} are too near: "
                f"{plan.nodes} nodes take {plan.nodes} ports from each on"
            )


def _check_ports(plan: Plan) -> None:
    for name, base in plan.base_ports().items():
        kind = socket.SOCK_DGRAM if name == "--dht-port" else socket.SOCK_STREAM
        for port in range(base, base + plan.nodes):
            with socket.socket(type=kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((plan.host, port))
                except OSError as error:
                    raise StartError(
                        f"{name}: port {port} is not free: {error.strerror}"
                    ) from error


def _spawn(plan: Plan, folder: Path, chosen: Mapping[str, str]) -> list[subprocess.Popen[bytes]]:
    nodes = []
    # Its other end is kept open, and written by nobody, until this process ends in whatever way.
    lifeline, _ = os.pipe()
    for number in range(1, plan.nodes + 1):
        home = folder / plan.node_name(number)
        Directory.ensure(home).close()
        settings = {
            "name": plan.node_name(number),
            "expect": plan.nodes,
            "bootstrap": plan.bootstrap(),
            "data_dir": home,
            "cluster_secret_file": folder / cluster_folder.SECRET_FILE,
            "host": plan.host,
            "http_port": plan.http_port + number - 1,
            "raft_host": plan.host,
            "raft_port": plan.raft_port + number - 1,
            "pubsub_port": plan.pubsub_port + number - 1,
            "dht_port": plan.dht_port + number - 1,
            "grape_http_port": plan.grape_http_port + number - 1,
            **chosen,
            "auth": "open",
            "drain_seconds": DRAIN_SECONDS,
        }
        command = [sys.executable, "-m", "raft_exchange", "node", *config.node_arguments(settings)]
        with (home / "node.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches this process only, which stops them in order.
            node = subprocess.Popen(
                command,
                stderr=log,
                stdout=log,
                start_new_session=True,
                pass_fds=(lifeline,),
                env=config.node_environment(lifeline),
            )
        nodes.append(node)
    os.close(lifeline)
    return nodes


def _wait_ready(
    plan: Plan, folder: Path, nodes: Sequence[subprocess.Popen[bytes]], stopping: list[int]
) -> bool:
    """Return True once all nodes are ready, False when that is not to be expected any more."""
    processes = {plan.node_name(number): node for number, node in enumerate(nodes, 1)}
    urls = {plan.node_name(number): plan.http_url(number) for number in range(1, plan.nodes + 1)}
    readiness = Readiness(list(processes), now_s=time.monotonic())
    tell_at_s = time.monotonic() + TELL_S
    while readiness.waiting and not stopping:
        for node in list(readiness.waiting):
            code = processes[node].poll()
            if code is not None:
                _tell_end_of_log(folder, node, f"exited with code {code}")
                return False
            readiness.observe(node, look(urls[node]), now_s=time.monotonic())
        if readiness.waiting and readiness.is_stalled(now_s=time.monotonic()):
            _tell_end_of_log(folder, readiness.waiting[0], "does not become ready")
            return False
        if time.monotonic() >= tell_at_s:
            print("\n".join(map(readiness.progress, readiness.waiting)), flush=True)
            tell_at_s = time.monotonic() + TELL_S
        time.sleep(POLL_S)
    return not readiness.waiting


def _tell_end_of_log(folder: Path, node: str, state: str) -> None:
    log = folder / node / "node.log"
    tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-10:])
    print(f"{node} {state}; the end of {log}:\n{tail}", file=sys.stderr)


def _next_steps(plan: Plan, folder: Path, nodes: Sequence[subprocess.Popen[bytes]]) -> str:
    last = plan.http_url(plan.nodes)
    lines = [f"A cluster of {plan.nodes} nodes is ready.", ""]
    lines += [
        f"  {plan.node_name(n)}  {plan.http_url(n)}  (process {nodes[n - 1].pid})"
        for n in range(1, plan.nodes + 1)
    ]
    order = '{"market":"BTC-USD","side":"sell","type":"limit","price":"100.25","quantity":"0.5"}'
    lines += [
        "",
        f"Everything is kept in {folder}; logs are in its n*/node.log.",
        "Place an order at one node, read the book at another:",
        "",
        f"  curl -s -X POST {plan.http_url(1)}/v1/orders -H 'Content-Type: application/json' "
        f"-d '{order}'",
        f"  curl -s {last}/v1/markets/BTC-USD/book",
        "",
        "Ctrl-C stops all nodes; the same command starts them again where they were.",
    ]
    return "\n".join(lines)


def _with_balances(plan: Plan) -> str:
    """Return how somebody gets a balance, and trades with it."""
    order = '{"market":"BTC-USD","side":"buy","type":"limit","price":"100","quantity":"2"}'
    post = "curl -s -X POST -H 'Content-Type: application/json'"
    url = plan.http_url(1)
    lines = [
        "",
        "Orders take balances. Give somebody 1,000 USD, buy, and look what is left:",
        "",
        f'  {post} {url}/v1/accounts -d \'{{"account":"alice"}}\'',
        f"  {post} {url}/v1/accounts/alice/deposits "
        '-d \'{"id":"first","asset":"USD","amount":"1000"}\'',
        f"  {post} {url}/v1/orders -H 'X-Account: alice' -d '{order}'",
        f"  curl -s -H 'X-Account: alice' {plan.http_url(plan.nodes)}/v1/account",
    ]
    return "\n".join(lines)


def _watch(
    plan: Plan,
    folder: Path,
    nodes: Sequence[subprocess.Popen[bytes]],
    stopping: list[int],
) -> int:
    """Wait for a signal; say when a node exits. Return 1 once none is left."""
    gone: set[int] = set()
    while not stopping:
        for number, node in enumerate(nodes, 1):
            if number not in gone and node.poll() is not None:
                gone.add(number)
                log = folder / plan.node_name(number) / "node.log"
                print(f"{plan.node_name(number)} exited with code {node.returncode}; see {log}")
                if len(gone) == len(nodes):
                    return 1
        time.sleep(POLL_S)
    return 0


def _stop(nodes: Sequence[subprocess.Popen[bytes]]) -> None:
    for node in nodes:
        if node.poll() is None:
            node.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_S_MAX
    for node in nodes:
        try:
            node.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
