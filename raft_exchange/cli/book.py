"""`raft-exchange book`: the book of a market as a ladder."""

from __future__ import annotations

import argparse

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import add_connection, add_market, ask
from raft_exchange.cli.tables import book_view, show


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser("book", help="show the book of a market", description=__doc__)
    add_market(parser)
    parser.add_argument("--depth", type=int, default=10, help="levels a side, 1-1000 (10)")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show it."""
    return ask(
        arguments,
        lambda client: client.get_book(arguments.market, depth=arguments.depth),
        lambda book: show(book_view(book)),
    )
