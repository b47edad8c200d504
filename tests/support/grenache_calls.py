"""Grenache calls as a client makes them once it has found the node."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grape.rpc import HttpTransport, RemoteError, Transport
from tests.support.gateway import Gateway, gateway

OWN = "raft_exchange:test"
NOW_MS = 1_700_000_000_000
SEED_ORDER = {"id": "k3x9", "side": "sell", "price": 100.25, "quantity": 0.5, "timestamp": 1}


class Caller:
    """Calls one node's services the way a Grenache client does once it has found the node."""

    def __init__(self, gateway: Gateway, transport: Transport) -> None:
        self.gateway = gateway
        self._transport = transport

    async def __call__(self, key: str, payload: object) -> Any:
        destination = f"127.0.0.1:{self.gateway.port}"
        return await self._transport.request(destination, key, payload, timeout_s=10)

    async def refusal(self, key: str, payload: object) -> RemoteError:
        with pytest.raises(RemoteError) as caught:
            await self(key, payload)
        return caught.value


@contextlib.asynccontextmanager
async def caller(transport: Transport | None = None, **settings: Any) -> AsyncIterator[Caller]:
    transport = transport or HttpTransport()
    async with gateway(**settings) as g:
        try:
            yield Caller(g, transport)
        finally:
            await transport.close()


def orders_placed(call: Caller) -> int:
    return call.gateway.core.marketdata.orders.last_id


def p2p_message(**payload: object) -> dict[str, object]:
    order = {"id": "9d3e", "status": "pending", "userId": "u1", "side": "buy", "amount": "0.5"}
    order |= {"price": "99.5", "pair": "BTC/USD", "timestamp": 1} | payload
    return {
        "id": f"message of {order['id']}",
        "type": "order",
        "fromNode": "f",
        "payload": order,
        "vectorClock": {"f": 1},
        "timestamp": 1,
    }
