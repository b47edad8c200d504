"""`raft-exchange trades`: the last trades of a market, newest first."""

from __future__ import annotations

import argparse

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import add_connection, add_market, ask
from raft_exchange.cli.tables import show, trade_table


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser("trades", help="show the last trades", description=__doc__)
    add_market(parser)
    parser.add_argument("--limit", type=int, default=20, help="how many, 1-1000 (20)")
    parser.add_argument("--before", metavar="TRADE", help="only older ones than this trade")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show them."""
    return ask(
        arguments,
        lambda client: client.get_trades(
            arguments.market, limit=arguments.limit, before=arguments.before
        ),
        lambda trades: show(trade_table(trades)),
    )
