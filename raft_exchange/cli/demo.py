"""`raft-exchange demo`: a cluster on this machine with random traders at every node, live.

At the end every node is asked for its sequence and state hash: they are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from raft_exchange.cli import Commands
from raft_exchange.cli.cluster import PORTS
from raft_exchange.cli.tables import make_console
from raft_exchange.cli.watch import MarketView, keep_drawing
from raft_exchange.client import ExchangeClient, ExchangeError, NewOrder, RequestRefused

MARKET: Final = "BTC-USD"
TICK: Final = Decimal("0.01")
LOT: Final = Decimal("0.001")
START_PRICE: Final = 10_000  # ticks
SPREAD_TICKS: Final = 150
ORDERS_LIVE_MAX: Final = 200
"""Live orders of one trader; then it cancels the oldest."""
READY_LINE: Final = "Ctrl-C"
STOP_S_MAX: Final = 60.0
TELL_S: Final = 1.0


@dataclass
class Trader:
    """One node's trader, and what came of its orders."""

    name: str
    url: str
    placed: int = 0
    trades: int = 0
    failed: int = 0
    live: list[str] = field(default_factory=list)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.1 <= rate <= 1_000:
        raise argparse.ArgumentTypeError(f"{text}: allowed 0.1-1000")
    return rate


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "demo", help="run a cluster with random traders", description=__doc__
    )
    parser.add_argument("--nodes", type=int, default=3, help="1-9 (3)")
    parser.add_argument(
        "--data-dir", type=Path, help="where to keep it; default: nowhere, gone at the end"
    )
    parser.add_argument("--rate", type=_rate, default=10, help="orders a second at each node (10)")
    parser.add_argument("--seconds", type=float, help="how long; default: until Ctrl-C")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random orders (1)")
    for name, port in PORTS.items():
        flag = f"--{name.lower().replace(' ', '-')}-port"
        parser.add_argument(flag, type=int, default=port, help=f"as for `cluster` ({port})")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it until Ctrl-C or the time is over; return the exit code."""
    with contextlib.ExitStack() as stack:
        folder = arguments.data_dir
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raft-exchange-")))
        cluster = _start(arguments, folder)
        stack.callback(_stop, cluster)
        print("Starting a cluster ...", flush=True)
        if not _is_ready(cluster):
            return cluster.wait()
        urls = [f"http://127.0.0.1:{arguments.http_port + n}" for n in range(arguments.nodes)]
        try:
            return asyncio.run(_demonstrate(arguments, urls))
        except ExchangeError as error:
            print(f"raft-exchange demo: {error}", file=sys.stderr)
            return 1


def _start(arguments: argparse.Namespace, folder: Path) -> subprocess.Popen[str]:
    flags = ["--nodes", str(arguments.nodes), "--data-dir", str(folder)]
    for name in PORTS:
        setting = f"{name.lower().replace(' ', '_')}_port"
        flags += [f"--{setting.replace('_', '-')}", str(getattr(arguments, setting))]
    return subprocess.Popen(
        [sys.executable, "-m", "raft_exchange", "cluster", *flags],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is ours: traders end before nodes
    )


def _is_ready(cluster: subprocess.Popen[str]) -> bool:
    assert cluster.stdout is not None
    return any(line.startswith(READY_LINE) for line in cluster.stdout)


def _stop(cluster: subprocess.Popen[str]) -> None:
    if cluster.poll() is None:
        cluster.send_signal(signal.SIGINT)
    try:
        cluster.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        cluster.kill()
        cluster.wait()
    assert cluster.stdout is not None
    cluster.stdout.close()


async def _demonstrate(arguments: argparse.Namespace, urls: Sequence[str]) -> int:
    traders = [Trader(f"trader-{n}", url) for n, url in enumerate(urls, 1)]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        show = _draw if sys.stdout.isatty() else _tell
        tasks = [asyncio.create_task(_trade(trader, urls, arguments)) for trader in traders]
        tasks.append(asyncio.create_task(show(traders, urls)))
        stack.push_async_callback(_end, tasks)
        ending = asyncio.create_task(stop.wait())
        stack.push_async_callback(_end, [ending])
        await asyncio.wait(
            [*tasks, ending], timeout=arguments.seconds, return_when=asyncio.FIRST_COMPLETED
        )
    for task in tasks:
        if not task.cancelled():
            task.result()  # a failure is told
    return await _agreement(traders, urls)


async def _end(tasks: Sequence[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _trade(trader: Trader, urls: Sequence[str], arguments: argparse.Namespace) -> None:
    """Place random orders near a price of this trader's own that wanders."""
    chance = random.Random(f"{arguments.seed}/{trader.name}")
    own = [trader.url, *(url for url in urls if url != trader.url)]
    price = START_PRICE
    async with ExchangeClient(own, account=trader.name) as client:
        while True:
            price = max(SPREAD_TICKS + 1, price + chance.randint(-5, 5))
            order = NewOrder(
                market=MARKET,
                side=chance.choice(("buy", "sell")),
                price=TICK * (price + chance.randint(-SPREAD_TICKS, SPREAD_TICKS)),
                quantity=LOT * chance.randint(1, 2_000),
            )
            try:
                await _place(client, trader, order)
            except ExchangeError:
                trader.failed += 1
            await asyncio.sleep(chance.expovariate(arguments.rate))


async def _place(client: ExchangeClient, trader: Trader, order: NewOrder) -> None:
    placed = await client.place_order(order)
    trader.placed += 1
    trader.trades += len(placed.trades)
    if placed.order.is_live:
        trader.live.append(placed.order.order_id)
    if len(trader.live) > ORDERS_LIVE_MAX:
        with contextlib.suppress(RequestRefused):  # it was filled meanwhile
            await client.cancel_order(trader.live.pop(0))


async def _draw(traders: Sequence[Trader], urls: Sequence[str]) -> None:
    async with ExchangeClient(urls) as client:
        view = _DemoView(MarketView(client, MARKET, depth=8), traders)
        with Live(console=make_console(), screen=True, auto_refresh=False) as live:
            drawing = asyncio.create_task(keep_drawing(live, view))
            try:
                await view.market.follow()
            finally:
                drawing.cancel()


class _DemoView:
    """A market, and the traders below it."""

    def __init__(self, market: MarketView, traders: Sequence[Trader]) -> None:
        self.market = market
        self._traders = traders

    def render(self) -> RenderableType:
        return Group(self.market.render(), *(Text(_line(trader)) for trader in self._traders))


def _line(trader: Trader) -> str:
    return (
        f"{trader.name} at {trader.url}: {trader.placed} orders, "
        f"{trader.trades} trades as taker, {trader.failed} not placed"
    )


async def _tell(traders: Sequence[Trader], urls: Sequence[str]) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        told = "; ".join(f"{t.name} {t.placed} orders {t.trades} trades" for t in traders)
        print(told, flush=True)


async def _agreement(traders: Sequence[Trader], urls: Sequence[str]) -> int:
    """Say what every node holds once all are at one sequence; return the exit code."""
    for trader in traders:
        print(_line(trader))
    clients = [ExchangeClient(url) for url in urls]
    try:
        async with asyncio.timeout(STOP_S_MAX):
            while True:
                views = await asyncio.gather(*(c.get_cluster(with_hash=True) for c in clients))
                if len({view.sequence for view in views}) == 1:
                    break
    except TimeoutError:
        print("the nodes did not come to one sequence", file=sys.stderr)
        return 1
    finally:
        for client in clients:
            await client.close()
    hashes = {view.state_hash for view in views}
    for view, url in zip(views, urls, strict=True):
        print(f"{url}: sequence {view.sequence}, state {view.state_hash}")
    print("All nodes agree." if len(hashes) == 1 else "THE NODES DIFFER.")
    return 0 if len(hashes) == 1 else 1
