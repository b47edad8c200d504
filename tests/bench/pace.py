"""Our pace and the stock library's, in turn on the same machine: `python -m tests.bench.pace`.

Three processes on loopback replicate opaque commands, proposed by the leader, so many in flight.
Stock pysyncobj writes its journal and never syncs; ours syncs with fdatasync before a command
counts. The stock library sends commands one by one, where an idle cluster is quickest, or gathers
them for so many milliseconds, which is far quicker under load. Printed: commands committed a second
in each run, the medians, and our pace as a multiple of each of the stock library's.
"""

from __future__ import annotations

import argparse
import os
import platform
import selectors
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import free_ports

OURS = "ours, fdatasync"
STOCK_BATCHES_MS = (0.0, 1.0, 3.0)
"""How long the stock library gathers what it sends; 0: it sends each command by itself."""
START_S_MAX = 60.0
TRIES_MAX = 5


def members_of() -> dict[str, list[str]]:
    """Return, by name, the module of a member and what it is told beside the load."""
    stock = {
        f"stock, no sync, {f'batches of {ms:g} ms' if ms else 'one by one'}": [
            "stock_member",
            str(ms),
        ]
        for ms in STOCK_BATCHES_MS
    }
    return {**stock, OURS: ["our_member"]}


def measure(module: str, *more: str, arguments: argparse.Namespace) -> float:
    """Run one group until a leader stays; return the commands a second that it committed.

    Where the leader is deposed before the measuring begins, nothing it has in flight is answered
    any more: that says nothing of the pace, and is told and tried again.
    """
    for _ in range(TRIES_MAX):
        if pace := _measured_once(module, *more, arguments=arguments):
            return pace
        print(f"{module} {' '.join(more)}: the leader was deposed; again", flush=True)
    raise AssertionError(f"{TRIES_MAX} times no leader stayed")


def _measured_once(module: str, *more: str, arguments: argparse.Namespace) -> float:
    """Run one group; return the commands a second of whoever led it."""
    ports = ",".join(map(str, free_ports(3)))
    members: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="pace-") as folder:
        try:
            for place in range(3):
                home = Path(folder, str(place))
                home.mkdir()
                load = [arguments.bytes, arguments.in_flight, arguments.seconds]
                command = [sys.executable, "-m", f"tests.bench.{module}", str(place), ports]
                command += [str(home), *map(str, load), *more]
                members.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            return _first_figure(members, within_s=START_S_MAX + arguments.seconds)
        finally:
            for member in members:
                member.kill()
                member.wait()
                assert member.stdout is not None
                member.stdout.close()


def _first_figure(members: Sequence[subprocess.Popen[str]], *, within_s: float) -> float:
    with selectors.DefaultSelector() as selector:
        for member in members:
            assert member.stdout is not None
            selector.register(member.stdout, selectors.EVENT_READ)
        for key, _ in selector.select(within_s):
            return float(key.fileobj.readline())  # type: ignore[union-attr]
    raise AssertionError("nobody led")


def main(given: Sequence[str] | None = None) -> float:
    """Measure; return our pace as a multiple of the stock library's that sends one by one."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pace", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each, in turn")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--bytes", type=int, default=120)
    parser.add_argument("--in-flight", type=int, default=100)
    arguments = parser.parse_args(given)
    members = members_of()
    found: dict[str, list[float]] = {name: [] for name in members}
    for _ in range(arguments.runs):
        for name, told in members.items():
            found[name].append(measure(*told, arguments=arguments))
            print(f"{name}: {found[name][-1]:,.0f}/s", flush=True)
    medians = {name: statistics.median(figures) for name, figures in found.items()}
    ours = medians.pop(OURS)
    ratios = [
        f"{ours / median:.1f} times {name} ({median:,.0f}/s)" for name, median in medians.items()
    ]
    print(
        f"medians of {arguments.runs}: {OURS} {ours:,.0f}/s is {'; '.join(ratios)}. "
        f"{arguments.bytes}-byte commands, {arguments.in_flight} in flight at the leader, "
        f"3 processes, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )
    return ours / next(iter(medians.values()))


if __name__ == "__main__":
    main()
