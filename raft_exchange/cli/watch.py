"""`raft-exchange watch`: the book of a market as a live ladder, with its trades.

It goes on at another node when one stops; once it has drawn, it waits for as long as no node
answers, and says so. With `--json` every update is a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import deque
from typing import Final, Protocol

import msgspec
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import (
    EXIT_OK,
    EXIT_USAGE,
    UsageError,
    add_connection,
    add_market,
    ca_of,
    fail,
    key_of,
    tell,
    urls_of,
)
from raft_exchange.cli.tables import decimal_text, ladder, make_console, trade_table
from raft_exchange.client import (
    BookUpdate,
    ExchangeClient,
    ExchangeError,
    FollowedBook,
    OutOfStep,
    Resync,
    TickerUpdate,
    Trade,
    TradesUpdate,
    Unavailable,
    Update,
)
from raft_exchange.client.models import Ticker

REDRAW_S: Final = 0.1
TRADES_SHOWN: Final = 50


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser("watch", help="follow a market live", description=__doc__)
    add_market(parser)
    parser.add_argument("--depth", type=int, default=10, help="levels a side (10)")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Follow until Ctrl-C."""
    if not arguments.json and not sys.stdout.isatty():
        text = "watch draws on a terminal; --json prints every update as a line"
        return fail(arguments, text, exit_code=EXIT_USAGE)
    try:
        client = ExchangeClient(
            urls_of(arguments),
            key=key_of(arguments),
            signing_key=arguments.signing_key,
            key_id=arguments.key_id,
            account=arguments.account,
            ca=ca_of(arguments),
            patience_s=arguments.timeout,
        )
    except (UsageError, ValueError) as error:
        return fail(arguments, str(error), exit_code=EXIT_USAGE)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(_watch(client, arguments))
        except ExchangeError as error:
            return tell(arguments, error)
        except BrokenPipeError:  # whoever read the lines has enough
            sys.stderr.close()
    return EXIT_OK


async def _watch(client: ExchangeClient, arguments: argparse.Namespace) -> None:
    async with client:
        if arguments.json:
            async for update in client.stream(channels_of(arguments.market)):
                sys.stdout.buffer.write(msgspec.json.encode(update) + b"\n")
                sys.stdout.flush()
        else:
            view = MarketView(client, arguments.market, depth=arguments.depth)
            with Live(console=make_console(), screen=True, auto_refresh=False) as live:
                drawing = asyncio.create_task(keep_drawing(live, view))
                try:
                    await view.follow()
                finally:
                    drawing.cancel()


def channels_of(market: str) -> list[str]:
    """Return the channels that a live view reads."""
    return [f"book:{market}", f"trades:{market}", f"ticker:{market}"]


class View(Protocol):
    """What can be drawn."""

    def render(self) -> RenderableType:
        """Return it as of now."""
        ...


async def keep_drawing(live: Live, view: View) -> None:
    """Redraw a view for ever."""
    while True:
        live.update(view.render(), refresh=True)
        await asyncio.sleep(REDRAW_S)


class MarketView:
    """What is known of a market now; `follow` it, `render` it whenever."""

    def __init__(self, client: ExchangeClient, market: str, *, depth: int) -> None:
        self._client = client
        self._market = market
        self._depth = depth
        self._book = FollowedBook()
        self._trades: deque[Trade] = deque(maxlen=TRADES_SHOWN)
        self._ticker: Ticker | None = None
        self._heard_at_s: float | None = None

    async def follow(self) -> None:
        """Follow the market's stream for ever; begin anew should the book fall out of step.

        Raises:
            RequestRefused: there is no such market.
            Unavailable: no node could be read from at the beginning.
        """
        while True:
            updates = self._client.stream(channels_of(self._market))
            try:
                async for update in updates:
                    self._take(update)
            except OutOfStep:
                await updates.aclose()
            except Unavailable:
                if self._heard_at_s is None:
                    raise

    def _take(self, update: Update) -> None:
        self._heard_at_s = time.monotonic()
        match update:
            case BookUpdate():
                self._book.apply(update)
            case TradesUpdate():
                if update.type == "snapshot":
                    self._trades.clear()
                self._trades.extend(update.trades)
            case TickerUpdate():
                self._ticker = update.ticker
            case Resync():
                self._book = FollowedBook()

    def render(self) -> RenderableType:
        """Return the view as of now."""
        book = ladder(self._book.best_bids(self._depth), self._book.best_asks(self._depth))
        shown = min(len(self._trades), 2 * self._depth + 1)
        trades = trade_table(list(reversed(self._trades))[:shown])
        return Group(self._title(), Columns([book, trades], padding=(0, 4)), self._foot())

    def _title(self) -> RenderableType:
        title = Text(self._market, "bold")
        ticker = self._ticker
        if ticker is not None and ticker.last is not None:
            change = ticker.change or 0
            title.append(f"  {decimal_text(ticker.last)}", "green" if change >= 0 else "red")
            title.append(f"  {change:+f} in 24 h, volume {decimal_text(ticker.volume)}", "dim")
        return title

    def _foot(self) -> RenderableType:
        if self._heard_at_s is None:
            return Text(f"asking {self._client.node_url}  (Ctrl-C ends)", "dim")
        silence_s = time.monotonic() - self._heard_at_s
        text = f"{self._client.node_url}  sequence {self._book.sequence}"
        if silence_s > 2.0:
            text += f"  nothing new for {silence_s:.0f} s"
        return Text(f"{text}  (Ctrl-C ends)", "dim")
