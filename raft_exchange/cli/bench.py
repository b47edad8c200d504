"""`raft-exchange bench`: the load generator behind the figures in the README.

A closed loop: each of N clients keeps one connection and one request in flight, spread evenly
over the given nodes. Orders are limit orders to buy or sell at random prices from 95 to 105.
The client speaks HTTP/1.1 on bare sockets, because it shares the machine with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import sys
import time
from collections import Counter
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

import msgspec
import uvloop

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import EXIT_FAILED, EXIT_OK
from raft_exchange.client.sender import Nodes

CLIENTS_MAX: Final = 1_000
SECONDS_MAX: Final = 3_600
BATCH_MAX: Final = 500


class Load(msgspec.Struct, frozen=True):
    """What to send, where, and for how long."""

    urls: tuple[str, ...]
    market: str
    clients: int
    seconds: float
    batch: int
    interval_s: float
    seed: int


class Tally(msgspec.Struct):
    """What came back: milliseconds of each request, and how many of each status."""

    latencies_ms: list[float]
    statuses: Counter[int]
    elapsed_s: float = 0.0

    def percentile_ms(self, share: float) -> float:
        """Return the latency that `share` (0..1) of the requests did not pass."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _bounded(low: float, high: float) -> type:
    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text}: allowed {low:g}-{high:g}")
        return value

    return parse  # type: ignore[return-value]


def _urls(text: str) -> tuple[str, ...]:
    try:
        urls = tuple(Nodes(text.split(",")).all)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    for url in urls:
        if not url.startswith("http://"):
            raise argparse.ArgumentTypeError(f"{url!r}: allowed http://host:port, without TLS")
    return urls


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser("bench", help="measure a running cluster", description=__doc__)
    parser.add_argument(
        "--url",
        type=_urls,
        default="http://127.0.0.1:8081,http://127.0.0.1:8082,http://127.0.0.1:8083",
        help="base URLs of the nodes, comma-separated",
    )
    parser.add_argument("--market", default="BTC-USD", help="the market to trade on")
    parser.add_argument(
        "--clients", type=_bounded(1, CLIENTS_MAX), default=32, help=f"1-{CLIENTS_MAX} (32)"
    )
    parser.add_argument(
        "--seconds", type=_bounded(0.1, SECONDS_MAX), default=10, help="how long to measure (10)"
    )
    parser.add_argument(
        "--batch", type=_bounded(1, BATCH_MAX), default=1, help="orders in each request (1)"
    )
    parser.add_argument(
        "--interval-ms",
        type=_bounded(0, 60_000),
        default=0,
        help="pause of each client between its requests (0)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the random orders (1)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 when not a single order was accepted, or a node broke off."""
    load = Load(
        arguments.url,
        arguments.market,
        int(arguments.clients),
        arguments.seconds,
        int(arguments.batch),
        arguments.interval_ms / 1000,
        arguments.seed,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            tally = runner.run(measure(load))
    except* OSError as errors:
        print(f"raft-exchange bench: --url: {errors.exceptions[0]}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    accepted = tally.statuses[201] + tally.statuses[200]
    orders = accepted * load.batch
    print(
        f"{orders / tally.elapsed_s:,.0f} orders/s acknowledged; {load.clients} clients, "
        f"{load.batch} a request, {len(load.urls)} nodes, {tally.elapsed_s:.1f} s\n"
        f"latency of a request: p50 {tally.percentile_ms(0.5):.2f} ms, "
        f"p99 {tally.percentile_ms(0.99):.2f} ms, max {tally.percentile_ms(1):.2f} ms\n"
        f"answers by status: {dict(sorted(tally.statuses.items()))}\n"
        f"{os.cpu_count()} processors, Python {platform.python_version()}"
    )
    return EXIT_OK if accepted else EXIT_FAILED


async def measure(load: Load) -> Tally:
    """Run the load and return what came back.

    Raises:
        OSError: a node cannot be reached, or gives no whole answer.
    """
    tally = Tally([], Counter())
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for number in range(load.clients):
            url = load.urls[number % len(load.urls)]
            clients.create_task(_client(load, url, number, tally, started_s + load.seconds))
    tally.elapsed_s = time.perf_counter() - started_s
    return tally


async def _client(load: Load, url: str, number: int, tally: Tally, until_s: float) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    orders = random.Random(f"{load.seed}/{number}")
    path = "/v1/orders" if load.batch == 1 else "/v1/orders/batch"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        "Content-Length: "
    ).encode()
    with closing(writer):
        while (sent_s := time.perf_counter()) < until_s:
            body = _body(load, orders)
            writer.write(b"%s%d\r\n\r\n%s" % (head, len(body), body))
            try:
                status = await _answer(reader)
            except (EOFError, asyncio.LimitOverrunError, ValueError) as error:
                raise ConnectionError(f"{url} gave no whole answer: {error}") from None
            tally.latencies_ms.append((time.perf_counter() - sent_s) * 1000)
            tally.statuses[status] += 1
            if load.interval_s:
                await asyncio.sleep(load.interval_s)


def _body(load: Load, orders: random.Random) -> bytes:
    placed = [
        b'{"market":"%s","side":"%s","type":"limit","price":"%d.%02d","quantity":"0.%03d"}'
        % (
            load.market.encode(),
            orders.choice((b"buy", b"sell")),
            orders.randrange(95, 105),
            orders.randrange(100),
            orders.randrange(1, 1000),
        )
        for _ in range(load.batch)
    ]
    return placed[0] if load.batch == 1 else b'{"orders":[%s]}' % b",".join(placed)


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    length = int(lower[at : lower.index(b"\r\n", at)])
    await reader.readexactly(length)
    return int(head[9:12])
