"""One function for each thing that a trader can ask of the exchange; see also `administration`.

Nothing is sent here. `ExchangeClient` and `ExchangeClientSync` have a method for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from raft_exchange.client.account_models import Account, FillPage
from raft_exchange.client.call import Call, as_type, part, query_of, read, write
from raft_exchange.client.cluster import Cluster
from raft_exchange.client.models import (
    Batch,
    Book,
    Canceled,
    CanceledAll,
    Candle,
    LoggedTime,
    Market,
    NewOrder,
    Number,
    Order,
    OrderBook,
    OrderPage,
    Pair,
    Placed,
    Replaced,
    Side,
    Switch,
    Ticker,
    Trade,
    WriteKey,
    text_of,
)


class _OneOrder(msgspec.Struct):
    order: Order


class _Trades(msgspec.Struct):
    trades: list[Trade]


class _Candles(msgspec.Struct):
    candles: list[Candle]


class _Markets(msgspec.Struct):
    markets: list[Market]


_placed: Final = as_type(Placed)
_pair: Final = as_type(Pair)
_replaced: Final = as_type(Replaced)
_switch: Final = as_type(Switch)
_batch: Final = as_type(Batch)
_canceled: Final = as_type(Canceled)
_canceled_all: Final = as_type(CanceledAll)
_page: Final = as_type(OrderPage)
_market: Final = as_type(Market)
_book: Final = as_type(Book)
_order_book: Final = as_type(OrderBook)
_cluster: Final = as_type(Cluster)
_time: Final = as_type(LoggedTime)
_account: Final = as_type(Account)
_fills: Final = as_type(FillPage)
_ticker: Final = as_type(Ticker)
_candles: Final = as_type(_Candles)
_one_order: Final = as_type(_OneOrder)
_trades: Final = as_type(_Trades)
_markets: Final = as_type(_Markets)


# Writing --------------------------------------------------------------------------------------


def place_order(order: NewOrder, *, key: WriteKey | None = None) -> Call[Placed]:
    """Place an order and return what it did at once."""
    return write("POST", "/v1/orders", _placed, body=order.body(), key=key)


def check_order(order: NewOrder) -> Call[None]:
    """Refuse an order that `place_order` would refuse now, without placing it."""
    query = {"dry_run": "true"}
    return Call("POST", "/v1/orders", lambda _: None, query=query, body=order.body())


def place_orders(orders: Sequence[NewOrder], *, key: WriteKey | None = None) -> Call[Batch]:
    """Place up to 500 orders next to each other; each is accepted or refused alone."""
    body = {"orders": [order.body() for order in orders]}
    return write("POST", "/v1/orders/batch", _batch, body=body, key=key)


def place_oco(limit: NewOrder, stop: NewOrder, *, key: WriteKey | None = None) -> Call[Pair]:
    """Place a limit order and a stop (one cancels the other), of one market, side and quantity."""
    body = {"limit": limit.body(), "stop": stop.body()}
    return write("POST", "/v1/orders/oco", _pair, body=body, key=key)


def replace_order(order_id: str, order: NewOrder, *, key: WriteKey | None = None) -> Call[Replaced]:
    """Cancel a live order and place another, as one step or not at all."""
    path = f"/v1/orders/{part(order_id)}/replace"
    return write("POST", path, _replaced, body=order.body(), key=key)


def cancel_after(seconds: int, *, key: WriteKey | None = None) -> Call[Switch]:
    """Have all of the account's orders canceled unless this is called again within `seconds`.

    By the logged clock; 0 disarms. One call a few times in each period keeps them.
    """
    return write("POST", "/v1/cancel-after", _switch, body={"seconds": seconds}, key=key)


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
    return write("PATCH", f"/v1/orders/{part(order_id)}", _placed, body=body, key=key)


def cancel_order(order_id: str, *, key: WriteKey | None = None) -> Call[Canceled]:
    """Cancel a live order."""
    return write("DELETE", f"/v1/orders/{part(order_id)}", _canceled, key=key)


def cancel_by_client_id(client_order_id: str, *, key: WriteKey | None = None) -> Call[Canceled]:
    """Cancel the live order that has this label."""
    path = f"/v1/orders/by-client-id/{part(client_order_id)}"
    return write("DELETE", path, _canceled, key=key)


def cancel_orders(
    *, market: str | None = None, side: Side | None = None, key: WriteKey | None = None
) -> Call[CanceledAll]:
    """Cancel all live orders, of one market and side if told."""
    return write(
        "DELETE", "/v1/orders", _canceled_all, query=query_of(market=market, side=side), key=key
    )


# Reading --------------------------------------------------------------------------------------


def get_order(order_id: str) -> Call[Order]:
    """Return one of one's own orders, live or kept."""
    path = f"/v1/orders/{part(order_id)}"
    return read(path, lambda body: _one_order(body).order)


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
    query = query_of(market=market, status=status, client_order_id=client_order_id, cursor=cursor)
    return read("/v1/orders", _page, query | {"limit": str(limit)})


def get_fills(
    *, market: str | None = None, limit: int = 100, cursor: str | None = None
) -> Call[FillPage]:
    """Return a page of one's own fills, newest first; see `get_orders`."""
    query = query_of(market=market, cursor=cursor) | {"limit": str(limit)}
    return read("/v1/fills", _fills, query)


def get_account() -> Call[Account]:
    """Return one's own account and its balances."""
    return read("/v1/account", _account)


def get_markets() -> Call[list[Market]]:
    """Return every market."""
    return read("/v1/markets", lambda body: _markets(body).markets)


def get_market(market: str) -> Call[Market]:
    """Return one market."""
    return read(f"/v1/markets/{part(market)}", _market)


def get_book(market: str, *, depth: int = 50) -> Call[Book]:
    """Return the best `depth` (1 to 1000) levels of a book."""
    return read(f"/v1/markets/{part(market)}/book", _book, {"depth": str(depth)})


def get_order_book(market: str, *, depth: int = 50) -> Call[OrderBook]:
    """Return the first `depth` (1 to 1000) orders of each side of a book."""
    query = {"depth": str(depth), "level": "3"}
    return read(f"/v1/markets/{part(market)}/book", _order_book, query)


def get_trades(market: str, *, limit: int = 100, before: str | None = None) -> Call[list[Trade]]:
    """Return the last trades of a market, newest first; `before` a trade id for older ones."""
    path = f"/v1/markets/{part(market)}/trades"
    query = query_of(before=before) | {"limit": str(limit)}
    return read(path, lambda body: _trades(body).trades, query)


def get_ticker(market: str) -> Call[Ticker]:
    """Return the best prices and the last 24 hours of a market."""
    return read(f"/v1/markets/{part(market)}/ticker", _ticker)


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
    path = f"/v1/markets/{part(market)}/candles"
    return read(path, lambda body: _candles(body).candles, query)


def get_time() -> Call[LoggedTime]:
    """Return the clock by which orders expire."""
    return read("/v1/time", _time)


def get_cluster(*, with_hash: bool = False) -> Call[Cluster]:
    """Return the cluster as the answering node sees it, if told with the hash of its state."""
    return Call("GET", "/v1/cluster", _cluster, query={"hash": "now"} if with_hash else {})
