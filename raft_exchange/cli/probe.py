"""`raft-exchange probe`: trades through the nodes named and looks whether all of them saw it.

Sells through the first node, buys through the second, and reads the trade at each of them, in a
market of its own, so that nobody's order is touched. What `helm test` runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import suppress
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

MARKETS: Final = ("PROBE-TEST", "PROBE-FREE")
"""The second is for where the first was opened with balances, which the probe has none of."""
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
    second = nodes[1 % len(nodes)]

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
        market = at(nodes[0], _open_market)
        sale = at(nodes[0], lambda client: client.place_order(_order(market, "sell"))).order
        try:
            bought = at(second, lambda client: client.place_order(_order(market, "buy")))
        finally:
            at(nodes[0], lambda client: _take_back(client, sale.order_id))
        if not bought.trades:
            return _fail(f"the buy at {second} met nothing: {bought.order.status}")
        trade = bought.trades[-1]
        print(f"sold at {nodes[0]}, bought at {second}: trade {trade.trade_id}")
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


def _open_market(client: ExchangeClientSync) -> str:
    """Return the market to trade in, which takes orders of who has nothing; it may be there."""
    for market in MARKETS:
        base, _, quote = market.partition("-")
        new = NewMarket(
            market=market,
            base=base,
            quote=quote,
            tick_size=Decimal(1),
            lot_size=Decimal(1),
            accounts="off",
        )
        try:
            client.create_market(new)
        except RequestRefused as error:
            if error.code != "already_exists":
                raise
        if client.get_market(market).accounts == "off":
            return market
    raise ExchangeError(f"the markets {' and '.join(MARKETS)} were opened with balances")


def _order(market: str, side: Literal["buy", "sell"]) -> NewOrder:
    """Return an order that may trade with the same key's; a buy never rests."""
    return NewOrder(
        market=market,
        side=side,
        type="limit",
        price=Decimal(1),
        quantity=Decimal(1),
        time_in_force="gtc" if side == "sell" else "ioc",
        self_trade_prevention="none",
    )


def _take_back(client: ExchangeClientSync, order_id: str) -> None:
    """Cancel a sale if it is open; where that fails, the next probe's buy meets it."""
    with suppress(ExchangeError):
        client.cancel_order(order_id)


def _is_seen(client: ExchangeClientSync, trade: Trade) -> bool:
    """Whether this node shows the trade, within `SEEN_S_MAX`: it may be a moment behind."""
    deadline_s = time.monotonic() + SEEN_S_MAX
    while time.monotonic() < deadline_s:
        try:
            trades = client.get_trades(trade.market, limit=1_000)
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
