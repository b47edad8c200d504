"""The machine <-> canonical, versioned bytes, and the hash by which replicas compare.

Canonical means one state, one byte string, both ways: lists are sorted by what is in them (names,
then queue priority), never by how they came to be, and `decode` refuses every byte string that
`encode` would not have written. So equal hashes are equal states, whatever their histories.

Layout: one byte, the active version (`versions.py`), then the msgpack of `_State` as of it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from raft_exchange.matching.book import Book
from raft_exchange.matching.machine import Exchange, Market
from raft_exchange.matching.messages import (
    ANONYMOUS,
    MarketRules,
    MarketStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.versions import VERSIONS, Versions, refuse_newer


class SnapshotError(ValueError):
    """The bytes are not a state of this machine in this format; the message says why."""


class _Order(msgspec.Struct, array_like=True, gc=False):
    # Only limit orders rest, so the type needs no field; `filled_value` is decimal text because
    # it may exceed 64 bits.
    priority: int
    order_id: int
    client_order_id: str
    account: str
    side: Side
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    filled_lots: int
    filled_value: str
    expires_at_us: int
    post_only: bool
    self_trade_prevention: SelfTradePrevention
    created_at_us: int
    updated_at_us: int
    sequence: int


class _Market(msgspec.Struct, array_like=True):
    rules: MarketRules
    status: MarketStatus
    priority: int
    trade_id: int
    orders: list[_Order]  # ascending priority


class _State(msgspec.Struct, array_like=True):
    sequence: int
    time_us: int
    order_id: int
    accounts: list[str]  # sorted; `anonymous` is one of them
    markets: list[_Market]  # sorted by name


_decoder: Final = msgspec.msgpack.Decoder(_State)


def encode(exchange: Exchange, versions: Versions = VERSIONS) -> bytes:
    """Return the canonical bytes of the whole state, as of its active version. O(n log n)."""
    state = _State(
        exchange.sequence,
        exchange.time_us,
        exchange.order_id,
        sorted(exchange.live.accounts),
        [_market_state(exchange.markets[name]) for name in sorted(exchange.markets)],
    )
    return bytes([exchange.version]) + versions.encode(state, exchange.version)


def decode(data: bytes, versions: Versions = VERSIONS) -> Exchange:
    """Return the machine whose `encode` is `data`. O(n log n).

    Raises:
        SnapshotError: not a state, a state that breaks an invariant of `Exchange.check`, or one
            written in another way than `encode` writes it.
        NewerVersion: of a later release.
    """
    if not data or data[0] < 1:
        raise SnapshotError(f"state version {data[:1].hex() or 'none'}")
    refuse_newer("the state of the exchange", data[0], versions.newest)
    try:
        state = _decoder.decode(memoryview(data)[1:])
        exchange = _restored(state)
        exchange.version = data[0]
        exchange.check()
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    except AssertionError as error:
        raise SnapshotError(f"a state that cannot be: {error}") from error
    if encode(exchange, versions) != data:
        raise SnapshotError("not the canonical bytes of this state")
    return exchange


def state_hash(exchange: Exchange) -> str:
    """Return the SHA-256, in hex, of the canonical bytes of the whole state. O(n log n)."""
    return hashlib.sha256(encode(exchange)).hexdigest()


def _market_state(market: Market) -> _Market:
    book = market.book
    orders = [_order_state(order) for side in (book.buys, book.sells) for order in side.orders()]
    orders.sort(key=_priority)
    return _Market(market.rules, market.status, book.priority, book.trade_id, orders)


def _priority(order: _Order) -> int:
    return order.priority


def _order_state(order: LiveOrder) -> _Order:
    return _Order(
        order.priority,
        order.order_id,
        order.client_order_id,
        order.account,
        order.side,
        order.time_in_force,
        order.price_ticks,
        order.quantity_lots,
        order.filled_lots,
        str(order.filled_value),
        order.expires_at_us,
        order.post_only,
        order.self_trade_prevention,
        order.created_at_us,
        order.updated_at_us,
        order.sequence,
    )


def _restored(state: _State) -> Exchange:
    exchange = Exchange()
    exchange.sequence = state.sequence
    exchange.time_us = state.time_us
    exchange.order_id = state.order_id
    for account in state.accounts:
        if account != ANONYMOUS:  # a new exchange has it
            exchange.live.open_account(account)
    for held in state.markets:
        book = Book(held.rules.market)
        book.priority = held.priority
        book.trade_id = held.trade_id
        exchange.markets[held.rules.market] = Market(held.rules, held.status, book)
        for order_state in held.orders:
            order = _restored_order(order_state, held.rules.market)
            if order.account not in exchange.live.accounts:
                raise SnapshotError(f"order {order.order_id} belongs to no account")
            book.restore(order)
            exchange.live.add(order)
    return exchange


def _restored_order(state: _Order, market: str) -> LiveOrder:
    return LiveOrder(
        state.order_id,
        state.client_order_id,
        state.account,
        market,
        state.side,
        OrderType.LIMIT,
        state.time_in_force,
        state.price_ticks,
        state.quantity_lots,
        state.filled_lots,
        int(state.filled_value),
        state.expires_at_us,
        state.post_only,
        state.self_trade_prevention,
        state.created_at_us,
        state.updated_at_us,
        state.sequence,
        state.priority,
    )
