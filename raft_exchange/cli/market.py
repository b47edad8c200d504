"""`raft-exchange market`: list, open and change markets."""

from __future__ import annotations

import argparse
from typing import Final

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import (
    UsageError,
    add_connection,
    add_repetition,
    ask,
    write_key,
)
from raft_exchange.cli.order import decimal
from raft_exchange.cli.tables import market_table, show
from raft_exchange.client import ExchangeClientSync, Market, NewMarket

LIMITS: Final = ("min_price", "max_price", "min_quantity", "max_quantity", "min_notional")


def add_command(commands: Commands) -> None:
    """Declare the command and what it does."""
    parser = commands.add_parser("market", help="list, open, change markets", description=__doc__)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="list all markets")
    add_connection(listed)
    listed.set_defaults(run=run_list)
    opened = actions.add_parser("open", help="open a market: `market open ETH-USD 0.01 0.0001`")
    opened.add_argument("market", metavar="BASE-QUOTE")
    opened.add_argument("tick_size", type=decimal, help="step of prices")
    opened.add_argument("lot_size", type=decimal, help="step of quantities")
    _add_limits(opened)
    opened.set_defaults(run=run_open)
    changed = actions.add_parser("change", help="change a market's status or limits")
    changed.add_argument("market")
    changed.add_argument("--status", choices=("trading", "halt", "cancel_only"))
    _add_limits(changed)
    changed.set_defaults(run=run_change)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    for name in LIMITS:
        parser.add_argument("--" + name.replace("_", "-"), type=decimal)
    parser.add_argument(
        "--signed-orders", choices=("on", "off"), help="on: it takes no orders but signed ones"
    )
    add_repetition(parser)
    add_connection(parser)


def run_list(arguments: argparse.Namespace) -> int:
    """List them."""
    return ask(
        arguments,
        lambda client: client.get_markets(),
        lambda markets: show(market_table(markets)),
    )


def run_open(arguments: argparse.Namespace) -> int:
    """Open a market."""
    base, _, quote = arguments.market.partition("-")

    def open_market(client: ExchangeClientSync) -> Market:
        new = NewMarket(
            market=arguments.market,
            base=base,
            quote=quote,
            tick_size=arguments.tick_size,
            lot_size=arguments.lot_size,
            signed_orders=arguments.signed_orders,
            **{name: getattr(arguments, name) for name in LIMITS},
        )
        return client.create_market(new, key=write_key(arguments))

    return ask(arguments, open_market, lambda market: show(market_table([market])))


def run_change(arguments: argparse.Namespace) -> int:
    """Change a market."""
    given = {name: getattr(arguments, name) for name in LIMITS}
    limits = {name: value for name, value in given.items() if value is not None}

    def change(client: ExchangeClientSync) -> Market:
        if not limits and arguments.status is None and arguments.signed_orders is None:
            raise UsageError("give --status, --signed-orders or a limit")
        return client.change_market(
            arguments.market,
            status=arguments.status,
            limits=limits,
            signed_orders=arguments.signed_orders,
            key=write_key(arguments),
        )

    return ask(arguments, change, lambda market: show(market_table([market])))
