"""The Python client of the exchange. It knows the HTTP interface and nothing of the server.

async with ExchangeClient(["http://127.0.0.1:8081", "http://127.0.0.1:8082"]) as client:
    order = NewOrder(market="BTC-USD", side="buy", price="100.25", quantity="0.5")
    print((await client.place_order(order)).order.status)
"""

from raft_exchange.client.client import ExchangeClient
from raft_exchange.client.errors import ExchangeError, OutcomeUnknown, RequestRefused, Unavailable
from raft_exchange.client.models import (
    Batch,
    BatchItem,
    Book,
    BookOrder,
    Canceled,
    CanceledAll,
    Candle,
    Cluster,
    Level,
    LoggedTime,
    Market,
    Member,
    NewMarket,
    NewOrder,
    Order,
    OrderBook,
    OrderPage,
    Placed,
    Problem,
    Ticker,
    Trade,
    WriteKey,
)
from raft_exchange.client.sync import ExchangeClientSync
from raft_exchange.client.updates import (
    BookUpdate,
    CandlesUpdate,
    FollowedBook,
    Heartbeat,
    OrdersUpdate,
    OtherUpdate,
    OutOfStep,
    Resync,
    TickerUpdate,
    TradesUpdate,
    Update,
)

__all__ = [
    "Batch",
    "BatchItem",
    "Book",
    "BookOrder",
    "BookUpdate",
    "Canceled",
    "CanceledAll",
    "Candle",
    "CandlesUpdate",
    "Cluster",
    "ExchangeClient",
    "ExchangeClientSync",
    "ExchangeError",
    "FollowedBook",
    "Heartbeat",
    "Level",
    "LoggedTime",
    "Market",
    "Member",
    "NewMarket",
    "NewOrder",
    "Order",
    "OrderBook",
    "OrderPage",
    "OrdersUpdate",
    "OtherUpdate",
    "OutOfStep",
    "OutcomeUnknown",
    "Placed",
    "Problem",
    "RequestRefused",
    "Resync",
    "Ticker",
    "TickerUpdate",
    "Trade",
    "TradesUpdate",
    "Unavailable",
    "Update",
    "WriteKey",
]
