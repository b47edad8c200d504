"""A market maker: one bid and one ask around a price that follows its own fills."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal

from raft_exchange.client import ExchangeClient, NewOrder, OrdersUpdate

MARKET, HALF_SPREAD = "BTC-USD", Decimal("0.5")


async def quote(client: ExchangeClient, middle: Decimal) -> None:
    """Replace both quotes; the new ones stand next to each other in the log."""
    bid = NewOrder(market=MARKET, side="buy", price=middle - HALF_SPREAD, quantity=1)
    ask = NewOrder(market=MARKET, side="sell", price=middle + HALF_SPREAD, quantity=1)
    await client.cancel_orders(market=MARKET)
    await client.place_orders([bid, ask])


async def make_market(client: ExchangeClient, middle: Decimal) -> None:
    """Quote for ever; what a fill tells about the price moves both quotes."""
    await quote(client, middle)
    async for update in client.stream(["orders"]):
        if isinstance(update, OrdersUpdate) and update.type != "snapshot":
            for order in update.orders:
                if order.status == "filled":
                    print(f"{order.side} {order.quantity} at {order.average_price}", flush=True)
                    middle += HALF_SPREAD if order.side == "sell" else -HALF_SPREAD
                    await quote(client, middle)


async def main(urls: list[str]) -> None:
    """Make a market around 100."""
    async with ExchangeClient(urls, account="market-maker") as client:
        await make_market(client, Decimal(100))


asyncio.run(main(sys.argv[1:] or ["http://127.0.0.1:8081"]))
