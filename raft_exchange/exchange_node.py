"""`ExchangeNode`: the class that the seed project "Grenache P2P Exchange" offered, for Python.

There each instance was an exchange of its own that told the others what it did. Here it is one's
place in a cluster: an order that `submit_order` returned is on every node, or it raises.
"""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Final, Self

from raft_exchange.client.client import ExchangeClient
from raft_exchange.client.models import BookOrder, NewOrder, Number, Placed, Side

BOOK_ORDERS: Final = 1_000  # a side


class ExchangeNode:
    """One's place in an exchange, found through any grape of its DHT by the first call.

        async with ExchangeNode("http://127.0.0.1:30001") as node:
            placed = await node.submit_order("buy", "100.25", "0.5")
            book = await node.get_order_book()

    Args:
        grape_url: the HTTP API of a grape.
        cluster: the cluster's name.
        market: what is traded.
        account: whom to trade as; None for `anonymous`.
        key: the API key, where the exchange asks for one; needs `ca`.
        ca: a PEM file of the authority of the nodes' certificates, where they serve TLS.
    """

    def __init__(
        self,
        grape_url: str,
        *,
        cluster: str = "exchange",
        market: str = "BTC-USD",
        account: str | None = None,
        key: str | None = None,
        ca: str | os.PathLike[str] | None = None,
    ) -> None:
        self._grape_url = grape_url
        self._cluster = cluster
        self._market = market
        self._account = account
        self._key = key
        self._ca = ca
        self._client: ExchangeClient | None = None
        self._finding = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def submit_order(self, side: Side, price: Number, quantity: Number) -> Placed:
        """Place a limit order; return it and its trades.

        Raises:
            RequestRefused: the exchange refused it.
            Unavailable: nothing happened: no node was found, or none took it.
            OutcomeUnknown: it may have been placed.
        """
        order = NewOrder(market=self._market, side=side, price=price, quantity=quantity)
        return await (await self._found()).place_order(order)

    async def get_order_book(self) -> dict[str, list[BookOrder]]:
        """Return `{"buys": […], "sells": […]}`: resting orders, in the order they will trade.

        Raises:
            Unavailable: no node answered.
        """
        book = await (await self._found()).get_order_book(self._market, depth=BOOK_ORDERS)
        return {"buys": book.bids, "sells": book.asks}

    async def reset_order_book(self) -> None:
        """Cancel all orders of this account in the market, as tests do between two runs.

        Raises:
            Unavailable, OutcomeUnknown: as for `submit_order`.
        """
        await (await self._found()).cancel_orders(market=self._market)

    async def close(self) -> None:
        """Leave. Orders stay."""
        if self._client is not None:
            await self._client.close()

    async def _found(self) -> ExchangeClient:
        async with self._finding:
            if self._client is None:
                self._client = await ExchangeClient.discover(
                    self._grape_url,
                    self._cluster,
                    key=self._key,
                    account=self._account,
                    ca=self._ca,
                )
        return self._client
