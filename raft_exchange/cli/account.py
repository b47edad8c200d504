"""`raft-exchange account`: one's own balances, and with `fills` one's own trades."""

from __future__ import annotations

import argparse

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import add_connection, ask
from raft_exchange.cli.tables import account_table, fill_table, show
from raft_exchange.client import FillPage


def add_command(commands: Commands) -> None:
    """Declare the command and what it does."""
    parser = commands.add_parser("account", help="balances and fills", description=__doc__)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    balances = actions.add_parser("balances", help="what the account has, free and held")
    add_connection(balances)
    balances.set_defaults(run=run_balances)
    fills = actions.add_parser("fills", help="the account's trades and their fees, newest first")
    fills.add_argument("--market", "-m", metavar="NAME", help="only of this market")
    fills.add_argument("--limit", type=int, default=50, help="how many, 1-1000 (50)")
    fills.add_argument("--cursor", help="go on where the page before ended")
    add_connection(fills)
    fills.set_defaults(run=run_fills)


def run_balances(arguments: argparse.Namespace) -> int:
    """Show the balances."""
    return ask(
        arguments,
        lambda client: client.get_account(),
        lambda account: show(account_table(account)),
    )


def run_fills(arguments: argparse.Namespace) -> int:
    """Show the fills."""

    def show_page(page: FillPage) -> None:
        show(fill_table(page.fills))
        if page.cursor is not None:
            show(f"more: --cursor {page.cursor}")

    return ask(
        arguments,
        lambda client: client.get_fills(
            market=arguments.market, limit=arguments.limit, cursor=arguments.cursor
        ),
        show_page,
    )
