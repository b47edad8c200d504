"""`raft-exchange account`: one's own balances and trades, and the keys that sign requests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import EXIT_OK, EXIT_USAGE, add_connection, ask
from raft_exchange.cli.tables import account_table, fill_table, show
from raft_exchange.client import ExchangeClientSync, FillPage, KeyMade, SigningKey


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
    make = actions.add_parser("make-key", help="make an Ed25519 key pair that signs requests")
    make.add_argument("file", type=Path, metavar="FILE", help="where the private key is written")
    make.set_defaults(run=run_make_key)
    register = actions.add_parser(
        "register-key", help="let a key pair sign for an account; takes a key of an operator"
    )
    register.add_argument("owner", metavar="ACCOUNT", help="for whom it signs")
    register.add_argument("id", metavar="ID", help="the id by which the exchange will know it")
    register.add_argument("public_key", metavar="PUBLIC_KEY", help="as make-key printed it")
    register.add_argument(
        "--scopes", default="read,trade", help="of read, trade, admin (read,trade)"
    )
    add_connection(register)
    register.set_defaults(run=run_register_key)


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


def run_make_key(arguments: argparse.Namespace) -> int:
    """Write a new key pair to a file and print its public half."""
    pair = SigningKey.new()
    try:
        pair.write(arguments.file)
    except OSError as error:
        print(f"raft-exchange: FILE: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(pair.public_key)
    return EXIT_OK


def run_register_key(arguments: argparse.Namespace) -> int:
    """Register a public key."""
    scopes = arguments.scopes.split(",")

    def register(client: ExchangeClientSync) -> KeyMade:
        return client.create_key(
            arguments.owner, scopes, key_id=arguments.id, public_key=arguments.public_key
        )

    def show_made(made: KeyMade) -> None:
        key = made.key
        show(f"{key.id} signs for {key.account}: {', '.join(key.scopes)}")

    return ask(arguments, register, show_made)
