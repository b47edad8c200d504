"""What a scrape of /metrics takes: `python -m tests.bench.scrape --markets 20 --orders 50000`.

The gateway of one node with so many markets of so many orders, at as many prices. Printed are the
lines of a scrape, the processor time that it takes in all, and of its longest piece, which is how
long it holds the loop up at once.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from raft_exchange.matching.messages import ANONYMOUS, OrderType, PlaceOrder, Side, TimeInForce
from tests.support.fake_core import FakeCore
from tests.support.gateway import gateway

PRICE_TICKS = 1_000_000


def fill(core: FakeCore, *, markets: int, orders: int) -> None:
    """Open markets and let orders rest in each, every one at a price of its own."""
    for market in (f"M{number:04}-USD" for number in range(markets)):
        core.open_market(market)
        for place in range(orders):
            side, step = (Side.BUY, -1 - place) if place % 2 else (Side.SELL, 1 + place)
            core.run(
                PlaceOrder(
                    ANONYMOUS,
                    market,
                    side,
                    OrderType.LIMIT,
                    TimeInForce.GTC,
                    PRICE_TICKS + step,
                    1,
                    0,
                    False,
                    None,
                    "",
                )
            )


async def main() -> None:
    """Fill, scrape a few times, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=20)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--scrapes", type=int, default=10)
    given = parser.parse_args()
    async with gateway() as g:
        fill(g.core, markets=given.markets, orders=given.orders)
        for _ in range(given.scrapes):
            took_s, lines = [], 0
            pieces = g.metrics.pieces()
            while True:
                began_s = time.thread_time()
                piece = next(pieces, None)
                took_s.append(time.thread_time() - began_s)
                if piece is None:
                    break
                lines += piece.count(b"\n")
            print(f"{lines} lines, {1e3 * sum(took_s):.1f} ms, longest {1e3 * max(took_s):.2f} ms")


if __name__ == "__main__":
    asyncio.run(main())
