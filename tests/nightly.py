"""Hundreds of rounds of faults on real nodes: `python -m tests.nightly --rounds 200`.

Each round: three nodes under load, one nemesis, mended, ready again. After every few rounds the
nodes are stopped and every answer any client got is held to their journals. Exits with 1 at the
first answer that is not true, with the seed that was in use.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import pytest

from tests.support.nemeses import ALL
from tests.support.rounds import Tally, run_rounds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--per-cluster", type=int, default=20, help="rounds before the judgement")
    parser.add_argument("--seed", type=int, default=0, help="of the first cluster")
    parser.add_argument(
        "--nemesis", default=",".join(ALL), help=f"comma-separated, of {', '.join(ALL)}"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.nemesis.split(",") if name not in ALL]
    if unknown:
        parser.error(f"--nemesis: {unknown[0]}; allowed: {', '.join(ALL)}")
    began_s = time.monotonic()
    try:
        tally = run_rounds(
            [ALL[name] for name in arguments.nemesis.split(",")],
            arguments.rounds,
            per_cluster=arguments.per_cluster,
            seed=arguments.seed,
            tell=lambda line: print(line, flush=True),
        )
    except pytest.skip.Exception as missing:
        parser.error(str(missing))
    report(tally, time.monotonic() - began_s)
    return 0


def report(tally: Tally, took_s: float) -> None:
    waits_s = sorted(tally.whole_again_s)
    print(
        f"{tally.rounds.total()} rounds in {took_s / 60:.1f} minutes, every answer true\n"
        f"by nemesis: {dict(tally.rounds)}\n"
        f"operations: {dict(tally.outcomes)}; requests that failed: {dict(tally.problems)}\n"
        f"all nodes ready after a fault was mended: median {statistics.median(waits_s):.2f} s, "
        f"longest {waits_s[-1]:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
