"""`raft-exchange node`: one node, as a container runs it."""

from __future__ import annotations

import argparse
import sys

from raft_exchange import config
from raft_exchange.cli import Commands


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "node",
        help="run one node",
        description="Run one node. Each setting is a flag, an environment variable "
        "RAFT_EXCHANGE_<NAME> and a key of the --config file, in that order of precedence.",
    )
    config.add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    # The whole server: half a second that the other commands do not wait for.
    from raft_exchange.process import run_node

    try:
        settings = config.load(arguments)
        secret = config.read_secret(settings.cluster_secret_file)
        lifeline = config.lifeline()
    except config.ConfigError as error:
        print(f"raft-exchange node: {error}", file=sys.stderr)
        return 2
    return run_node(settings, secret, lifeline=lifeline)
