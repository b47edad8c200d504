"""The `raft-exchange` command: `python -m raft_exchange` is the same."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from raft_exchange import __version__
from raft_exchange.cli import (
    account,
    bench,
    book,
    cluster,
    cluster_admin,
    demo,
    market,
    node,
    order,
    probe,
    rebuild,
    refound,
    trades,
    verify,
    watch,
)

COMMANDS = (
    *(cluster, demo, node, order, book, trades, watch, account, market),
    *(cluster_admin, probe, verify, rebuild, refound, bench),
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command's module adds its own."""
    parser = argparse.ArgumentParser(
        prog="raft-exchange", description="An exchange cluster that cannot disagree with itself."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 fine, 1 failed, 2 wrong usage or configuration, 3 a bug was found and the replica stopped
    itself, 4 storage failed.
    """
    if not __debug__:
        print("raft-exchange refuses to run with -O: assertions guard the replica", file=sys.stderr)
        return 2
    arguments = make_parser().parse_args(argv)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
