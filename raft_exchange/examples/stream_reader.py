"""Follows a market: prints every trade, and the best prices whenever they change."""

from __future__ import annotations

import asyncio
import sys

from raft_exchange.client import BookUpdate, ExchangeClient, FollowedBook, TradesUpdate

MARKET = "BTC-USD"


async def read(client: ExchangeClient) -> None:
    """Read for ever, from whichever node is there."""
    book, shown = FollowedBook(), ""
    async for update in client.stream([f"book:{MARKET}", f"trades:{MARKET}"]):
        if isinstance(update, TradesUpdate) and update.type == "trade":
            for trade in update.trades:
                print(f"trade {trade.trade_id}: {trade.quantity} at {trade.price}", flush=True)
        elif isinstance(update, BookUpdate):
            book.apply(update)  # raises if anything is missing
            best = [*book.best_bids(1), *book.best_asks(1)]
            now = ", ".join(f"{level.quantity} at {level.price}" for level in best)
            if now != shown:
                shown = now
                print(f"best at {book.sequence}: {now or 'nothing'}", flush=True)


async def main(urls: list[str]) -> None:
    """Read until interrupted."""
    async with ExchangeClient(urls) as client:
        await read(client)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["http://127.0.0.1:8081"]))
