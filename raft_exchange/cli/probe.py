"""`raft-exchange probe`: trades through the nodes named and looks whether all of them saw it.

Sells through the first node, buys through the second, and reads the trade at each of them, in a
market of its own, so that nobody's order is touched. What `helm test` runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal, TypeVar

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    UsageError,
    add_access,
    ca_of,
    key_of,
)
from raft_exchange.client import (
    ExchangeClientSync,
    ExchangeError,
    NewMarket,
    NewOrder,
    RequestRefused,
    Trade,
)

MARKET: Final = "PROBE-TEST"
SEEN_S_MAX: Final = 10.0
LOOK_S: Final = 0.1

T = TypeVar("T")


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "probe", help="trade through nodes and see it at all of them", description=__doc__
    )
    parser.add_argument(
        "urls", nargs="+", metavar="URL", help="base URLs of nodes; commas may stand between them"
    )
    add_access(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Trade and look; say what was seen."""
    try:
        key = key_of(arguments)
    except UsageError as error:
        print(f"raft-exchange: {error}", file=sys.stderr)
        return EXIT_USAGE
    nodes = [url for text in arguments.urls for url in text.split(",") if url]
    if not nodes:
        print("raft-exchange: URL: the base URL of at least one node is needed", file=sys.stderr)
        return EXIT_USAGE

    def at(url: str, work: Callable[[ExchangeClientSync], T]) -> T:
        with ExchangeClientSync(
            url,
            key=key,
            signing_key=arguments.signing_key,
            key_id=arguments.key_id,
            account=arguments.account,
            ca=ca_of(arguments),
            patience_s=arguments.timeout,
        ) as client:
            return work(client)

    try:
        at(nodes[0], _open_market)
        sale = at(nodes[0], lambda client: client.place_order(_order("sell")))
        bought = at(nodes[1 % len(nodes)], lambda client: client.place_order(_order("buy")))
        if not bought.trades:
            return _fail(f"the buy at {nodes[1 % len(nodes)]} met nothing: {bought.order.status}")
        trade = bought.trades[-1]
        print(f"order {sale.order.order_id} sold at {nodes[0]}: trade {trade.trade_id}")
        for url in nodes:
            if not at(url, lambda client: _is_seen(client, trade)):
                return _fail(f"{url} does not show trade {trade.trade_id}")
            print(f"seen at {url}")
    except ExchangeError as error:
        return _fail(str(error))
    except ValueError as error:  # a URL or the file of the authority
        print(f"raft-exchange: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def _open_market(client: ExchangeClientSync) -> None:
    base, _, quote = MARKET.partition("-")
    try:
        client.create_market(
            NewMarket(
                market=MARKET, base=base, quote=quote, tick_size=Decimal(1), lot_size=Decimal(1)
            )
        )
    except RequestRefused as error:
        if error.code != "already_exists":
            raise


def _order(side: Literal["buy", "sell"]) -> NewOrder:
    return NewOrder(market=MARKET, side=side, type="limit", price=Decimal(1), quantity=Decimal(1))


def _is_seen(client: ExchangeClientSync, trade: Trade) -> bool:
    """Whether this node shows the trade, within `SEEN_S_MAX`: it may be a moment behind."""
    deadline_s = time.monotonic() + SEEN_S_MAX
    while time.monotonic() < deadline_s:
        try:
            trades = client.get_trades(MARKET, limit=1_000)
            if any(one.trade_id == trade.trade_id for one in trades):
                return True
        except RequestRefused as error:
            if error.code != "unknown_market":
                raise
        time.sleep(LOOK_S)
    return False


def _fail(text: str) -> int:
    print(f"raft-exchange: {text}", file=sys.stderr)
    return EXIT_FAILED
