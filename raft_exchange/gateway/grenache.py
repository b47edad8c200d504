"""The node's Grenache services: RPC over HTTP (`POST /`) and over WebSocket, on the HTTP port.

Rules:
- A service is a name and a function from its payload to its result. What a caller may not do
  arrives as an error, its text `code: detail` (seed services: the seed's words), the problem beside
  it.
- A stock client sends one order to *every* node that announces the service (`map`). The order's own
  id is its idempotency key, so that all nodes answer with the one order it became.
- A draining node answers errors: its announcements outlive it, because the DHT takes nothing back.
- Payloads are decoded as bodies are: bounded, exact numbers, no name twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from grape.rpc import RemoteError, RpcRequest, RpcServer
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import decode_value
from raft_exchange.gateway.access import Principal, caller
from raft_exchange.gateway.bodies import BODY_BYTES_MAX
from raft_exchange.gateway.context import Context, RequestIds
from raft_exchange.gateway.grenache_exchange import exchange_service
from raft_exchange.gateway.grenache_seeds import (
    create_order_request,
    exchange_orders,
    orderbook_service,
    p2p_exchange,
)
from raft_exchange.gateway.seed_shapes import BadOrder

Service = Callable[[Context, Principal, object], Awaitable[object]]

SEED_SERVICES: Final[dict[str, Service]] = {
    "exchange_orders": exchange_orders,
    "p2p_exchange": p2p_exchange,
    "orderbook_service": orderbook_service,
}
LEADER_SERVICES: Final[dict[str, Service]] = {"createOrderRequest": create_order_request}
"""Their orders have no id of their own: the leader alone takes and announces them."""

_request_ids: Final = RequestIds()


def exchange_service_name(cluster: str) -> str:
    """Return the name of our own service."""
    return f"raft_exchange:{cluster}"


class Grenache:
    """The services of one node; `server` takes the requests."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = SEED_SERVICES | LEADER_SERVICES
        own = exchange_service_name(context.core.status().cluster)
        self._services[own] = exchange_service
        self.server = RpcServer(self._handle, request_bytes_max=BODY_BYTES_MAX, raw_payload=True)

    @property
    def names(self) -> list[str]:
        """Every service of this node, those of the leader included."""
        return list(self._services)

    async def _handle(self, request: RpcRequest) -> object:
        try:
            service = self._service(request.key)
            who, payload = caller(self._context, decode_value(request.payload))
            return await service(self._context, who, payload)
        except BadOrder as error:
            raise RemoteError(str(error)) from None
        except Problem as problem:
            view = problem.view(_request_ids.next())
            raise RemoteError(f"{problem.code}: {problem.detail}", view) from None

    def _service(self, key: str) -> Service:
        """Return a service that this node may answer for now.

        Raises:
            Problem: `unknown_route`, `draining` or `no_leader`.
        """
        status = self._context.core.status()
        service = self._services.get(key)
        if service is None:
            raise Problem(
                ErrorCode.UNKNOWN_ROUTE,
                "no service of this node has this name",
                field="key",
                value=key,
                allowed=self.names,
            )
        if status.draining:
            raise Problem(ErrorCode.DRAINING, "this node is shutting down; look up again")
        if key in LEADER_SERVICES and status.role != "leader":
            raise Problem(
                ErrorCode.NO_LEADER, "only the leader takes this; look it up again in a while"
            )
        return service


GRENACHE: Final = web.AppKey("grenache", Grenache)
