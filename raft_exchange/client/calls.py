"""One function for each thing that can be asked of the exchange: the request as a value.

Nothing is sent here. `ExchangeClient` and `ExchangeClientSync` have a method for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

from raft_exchange.client.cluster import (
    Cluster,
    Draining,
    HandedOver,
    Members,
    RecoveredKey,
    SnapshotAsked,
)
from raft_exchange.client.models import (
    Account,
    Batch,
    Book,
    Canceled,
    CanceledAll,
    Candle,
    FillPage,
    LoggedTime,
    Market,
    NewMarket,
    NewOrder,
    Number,
    Order,
    OrderBook,
    OrderPage,
    Placed,
    Side,
    Ticker,
    Trade,
    WriteKey,
    text_of,
)

T = TypeVar("T")
Decode = Callable[[bytes], T]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        decode: the answer's body -> the result; raises `msgspec.DecodeError`.
        key: what it is written under; None for a request that only reads.
        takes_min_sequence: a node that is behind can be told to catch up first.
    """

    method: str
    path: str
    decode: Decode[T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    key: WriteKey | None = None
    takes_min_sequence: bool = False


class _OneOrder(msgspec.Struct):
    order: Order


class _Trades(msgspec.Struct):
    trades: list[Trade]


class _Candles(msgspec.Struct):
    candles: list[Candle]


class _Markets(msgspec.Struct):
    markets: list[Market]


def _as(type_: type[T]) -> Decode[T]:
    return msgspec.json.Decoder(type_).decode


_placed: Final = _as(Placed)
_batch: Final = _as(Batch)
_canceled: Final = _as(Canceled)
_canceled_all: Final = _as(CanceledAll)
_page: Final = _as(OrderPage)
_market: Final = _as(Market)
_book: Final = _as(Book)
_order_book: Final = _as(OrderBook)
_cluster: Final = _as(Cluster)
_time: Final = _as(LoggedTime)
_members: Final = _as(Members)
_snapshot_asked: Final = _as(SnapshotAsked)
_handed_over: Final = _as(HandedOver)
_draining: Final = _as(Draining)
_recovered_key: Final = _as(RecoveredKey)
_account: Final = _as(Account)
_fills: Final = _as(FillPage)
_ticker: Final = _as(Ticker)
_candles: Final = _as(_Candles)
_one_order: Final = _as(_OneOrder)
_trades: Final = _as(_Trades)
_markets: Final = _as(_Markets)


# Writing --------------------------------------------------------------------------------------


def place_order(order: NewOrder, *, key: WriteKey | None = None) -> Call[Placed]:
    """Place an order and return what it did at once."""
    return _write("POST", "/v1/orders", _placed, body=order.body(), key=key)


def check_order(order: NewOrder) -> Call[None]:
    """Refuse an order that `place_order` would refuse now, without placing it."""
    query = {"dry_run": "true"}
    return Call("POST", "/v1/orders", lambda _: None, query=query, body=order.body())


def place_orders(orders: Sequence[NewOrder], *, key: WriteKey | None = None) -> Call[Batch]:
    """Place up to 500 orders next to each other; each is accepted or refused alone."""
    body = {"orders": [order.body() for order in orders]}
    return _write("POST", "/v1/orders/batch", _batch, body=body, key=key)


def amend_order(
    order_id: str,
    *,
    price: Number | None = None,
    quantity: Number | None = None,
    stop_price: Number | None = None,
    key: WriteKey | None = None,
) -> Call[Placed]:
    """Change a live order; `quantity` is its new total, what was filled included."""
    changes = {"price": price, "quantity": quantity, "stop_price": stop_price}
    body = {name: text_of(value) for name, value in changes.items() if value is not None}
    return _write("PATCH", f"/v1/orders/{_part(order_id)}", _placed, body=body, key=key)


def cancel_order(order_id: str, *, key: WriteKey | None = None) -> Call[Canceled]:
    """Cancel a live order."""
    return _write("DELETE", f"/v1/orders/{_part(order_id)}", _canceled, key=key)


def cancel_by_client_id(client_order_id: str, *, key: WriteKey | None = None) -> Call[Canceled]:
    """Cancel the live order that has this label."""
    path = f"/v1/orders/by-client-id/{_part(client_order_id)}"
    return _write("DELETE", path, _canceled, key=key)


def cancel_orders(
    *, market: str | None = None, side: Side | None = None, key: WriteKey | None = None
) -> Call[CanceledAll]:
    """Cancel all live orders, of one market and side if told."""
    return _write(
        "DELETE", "/v1/orders", _canceled_all, query=_query(market=market, side=side), key=key
    )


def create_market(market: NewMarket, *, key: WriteKey | None = None) -> Call[Market]:
    """Open a market."""
    return _write("POST", "/v1/markets", _market, body=market.body(), key=key)


def change_market(
    market: str,
    *,
    status: Literal["trading", "halt", "cancel_only"] | None = None,
    limits: Mapping[str, Number | str] | None = None,
    key: WriteKey | None = None,
) -> Call[Market]:
    """Change a market's status, or its limits by their names (`max_price`, `min_notional`, …)."""
    body = {name: text_of(value) for name, value in (limits or {}).items()}
    if status is not None:
        body["status"] = status
    return _write("PATCH", f"/v1/markets/{_part(market)}", _market, body=body, key=key)


# Reading --------------------------------------------------------------------------------------


def get_order(order_id: str) -> Call[Order]:
    """Return one of one's own orders, live or kept."""
    path = f"/v1/orders/{_part(order_id)}"
    return _read(path, lambda body: _one_order(body).order)


def get_orders(
    *,
    market: str | None = None,
    status: str | None = None,
    client_order_id: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Call[OrderPage]:
    """Return a page of one's own orders, newest first.

    Args:
        market: only orders of this market.
        status: only these, comma-separated: `open,partially_filled`.
        client_order_id: only orders that had this label.
        limit: 1 to 1000.
        cursor: of the page before, for the next one.
    """
    query = _query(market=market, status=status, client_order_id=client_order_id, cursor=cursor)
    return _read("/v1/orders", _page, query | {"limit": str(limit)})


def get_fills(
    *, market: str | None = None, limit: int = 100, cursor: str | None = None
) -> Call[FillPage]:
    """Return a page of one's own fills, newest first; see `get_orders`."""
    query = _query(market=market, cursor=cursor) | {"limit": str(limit)}
    return _read("/v1/fills", _fills, query)


def get_account() -> Call[Account]:
    """Return one's own account and its balances."""
    return _read("/v1/account", _account)


def get_markets() -> Call[list[Market]]:
    """Return every market."""
    return _read("/v1/markets", lambda body: _markets(body).markets)


def get_market(market: str) -> Call[Market]:
    """Return one market."""
    return _read(f"/v1/markets/{_part(market)}", _market)


def get_book(market: str, *, depth: int = 50) -> Call[Book]:
    """Return the best `depth` (1 to 1000) levels of a book."""
    return _read(f"/v1/markets/{_part(market)}/book", _book, {"depth": str(depth)})


def get_order_book(market: str, *, depth: int = 50) -> Call[OrderBook]:
    """Return the first `depth` (1 to 1000) orders of each side of a book."""
    query = {"depth": str(depth), "level": "3"}
    return _read(f"/v1/markets/{_part(market)}/book", _order_book, query)


def get_trades(market: str, *, limit: int = 100, before: str | None = None) -> Call[list[Trade]]:
    """Return the last trades of a market, newest first; `before` a trade id for older ones."""
    path = f"/v1/markets/{_part(market)}/trades"
    query = _query(before=before) | {"limit": str(limit)}
    return _read(path, lambda body: _trades(body).trades, query)


def get_ticker(market: str) -> Call[Ticker]:
    """Return the best prices and the last 24 hours of a market."""
    return _read(f"/v1/markets/{_part(market)}/ticker", _ticker)


def get_candles(
    market: str,
    *,
    interval: Literal["1m", "5m", "15m", "1h", "1d"] = "1m",
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = 300,
) -> Call[list[Candle]]:
    """Return candles, oldest first: those from `start` on, or else the last `limit` before `end`.

    Intervals in which nothing traded have none.
    """
    times = {name: t.isoformat() for name, t in (("start", start), ("end", end)) if t is not None}
    query = {"interval": interval, "limit": str(limit)} | times
    path = f"/v1/markets/{_part(market)}/candles"
    return _read(path, lambda body: _candles(body).candles, query)


def get_time() -> Call[LoggedTime]:
    """Return the clock by which orders expire."""
    return _read("/v1/time", _time)


def get_cluster(*, with_hash: bool = False) -> Call[Cluster]:
    """Return the cluster as the answering node sees it, if told with the hash of its state."""
    return Call("GET", "/v1/cluster", _cluster, query={"hash": "now"} if with_hash else {})


# Operating ------------------------------------------------------------------------------------


def add_member(node_id: str, raft_address: str, http_url: str) -> Call[Members]:
    """Add a node to the cluster; it votes when it has caught up. Harmless if it is a member."""
    body = {"id": node_id, "raft_address": raft_address, "http_url": http_url}
    return _write("POST", "/v1/cluster/members", _members, body=body, key=None)


def remove_member(node_id: str) -> Call[Members]:
    """Remove a member for ever. Harmless if that was done before."""
    return _write("DELETE", f"/v1/cluster/members/{_part(node_id)}", _members, key=None)


def request_snapshot() -> Call[SnapshotAsked]:
    """Have the node that answers write a snapshot."""
    return _write("POST", "/v1/cluster/snapshot", _snapshot_asked, key=None)


def hand_over(to: str | None = None) -> Call[HandedOver]:
    """Have the node that answers, which leads, make `to` the leader, or the most advanced one."""
    return _write("POST", "/v1/cluster/leader", _handed_over, query=_query(to=to), key=None)


def drain() -> Call[Draining]:
    """Have the node that answers hand over, finish what it took, and end."""
    return _write("POST", "/v1/cluster/drain", _draining, key=None)


def recover_key() -> Call[RecoveredKey]:
    """Make a key with every scope, for who lost all; on a control socket only."""
    return _write("POST", "/keys", _recovered_key, key=None)


def _read(path: str, decode: Decode[T], query: Mapping[str, str] | None = None) -> Call[T]:
    return Call("GET", path, decode, query=query or {}, takes_min_sequence=True)


def _write(
    method: str,
    path: str,
    decode: Decode[T],
    *,
    body: object = None,
    query: Mapping[str, str] | None = None,
    key: WriteKey | None,
) -> Call[T]:
    return Call(method, path, decode, query=query or {}, body=body, key=key or WriteKey.new())


def _query(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _part(text: str) -> str:
    return quote(text, safe="")
