"""The machine <-> canonical, versioned bytes, and the hash by which replicas compare.

Canonical means one state, one byte string, both ways: lists are sorted by what is in them (names,
then queue priority), never by how they came to be, and `decode` refuses every byte string that
`encode` would not have written. So equal hashes are equal states, whatever their histories.

Layout: one byte, the active version (`versions.py`), then the msgpack of a `StateRecord` as of it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from raft_exchange.matching.accounts import Balance
from raft_exchange.matching.machine import STOPS_SINCE, Exchange
from raft_exchange.matching.messages import ANONYMOUS, AccountSettings
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.records import (
    AccountRecord,
    BalanceRecord,
    MarketRecord,
    OrderRecord,
    StateRecord,
)
from raft_exchange.matching.state import Market, State
from raft_exchange.matching.versions import VERSIONS, Versions, refuse_newer


class SnapshotError(ValueError):
    """The bytes are not a state of this machine in this format; the message says why."""


_decoder: Final = msgspec.msgpack.Decoder(StateRecord)


def encode(exchange: Exchange, versions: Versions = VERSIONS) -> bytes:
    """Return the canonical bytes of the whole state, as of its active version. O(n log n)."""
    state = exchange.state
    record = StateRecord(
        state.sequence,
        state.time_us,
        state.order_id,
        sorted(state.live.accounts),
        [_market_record(state.markets[name], state.version) for name in sorted(state.markets)],
        _balance_records(state),
        tuple(state.transfers.entries()),
        tuple(state.live.switches()),
        _account_records(state),
        tuple(state.nonces.entries()),
    )
    return bytes([state.version]) + versions.encode(record, state.version)


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
        exchange = _restored(_decoder.decode(memoryview(data)[1:]))
        exchange.state.version = data[0]
        exchange.check()
        canonical = encode(exchange, versions) == data
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    except AssertionError as error:
        raise SnapshotError(f"a state that cannot be: {error}") from error
    if not canonical:
        raise SnapshotError("not the canonical bytes of this state")
    return exchange


def state_hash(exchange: Exchange) -> str:
    """Return the SHA-256, in hex, of the canonical bytes of the whole state. O(n log n)."""
    return hashlib.sha256(encode(exchange)).hexdigest()


def _restored(held: StateRecord) -> Exchange:
    state = State()
    state.sequence = held.sequence
    state.time_us = held.time_us
    state.order_id = held.order_id
    for account in held.accounts:
        if account != ANONYMOUS:  # a new state has it
            state.live.open_account(account)
    for market in held.markets:
        _restore_market(state, market)
    for balance in held.balances:
        _restore_balance(state, balance)
    for transfer in held.transfers:
        state.transfers.add(transfer)
    for cancel_at_us, account in held.switches:
        if account not in state.live.accounts:
            raise ValueError("a dead-man switch belongs to no account")
        state.live.arm(account, cancel_at_us)
    for record in held.decided:
        _restore_account(state, record)
    for used in held.nonces:
        state.nonces.add(used)
    return Exchange(state)


def _restore_account(state: State, held: AccountRecord) -> None:
    account = state.live.accounts.get(held.account)
    if account is None:
        raise ValueError(f"settings of no account: {held.account!r}")
    account.settings = held.settings
    for key in held.keys:
        state.keys.add(held.account, key)


def _account_records(state: State) -> tuple[AccountRecord, ...]:
    keys = dict(state.keys.entries())
    return tuple(
        AccountRecord(name, account.settings, tuple(keys.get(name, ())))
        for name, account in sorted(state.live.accounts.items())
        if name in keys or account.settings != AccountSettings()
    )


def _market_record(market: Market, version: int) -> MarketRecord:
    """Return the record of a market. O(n log n)."""
    book = market.book
    orders = [_order_record(order) for side in (book.buys, book.sells) for order in side.orders()]
    orders.sort(key=_priority)
    return MarketRecord(
        market.rules,
        market.status,
        book.priority,
        book.trade_id,
        orders,
        0 if version < STOPS_SINCE else book.last_price_ticks,
        tuple(_order_record(stop) for stop in market.stops.by_age()),
    )


def _priority(order: OrderRecord) -> int:
    return order.priority


def _order_record(order: LiveOrder) -> OrderRecord:
    return OrderRecord(
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
        order.maker_fee_e8,
        order.taker_fee_e8,
        str(order.held),
        order.type,
        order.stop_price_ticks,
        order.display_lots,
        order.shown_lots,
        order.oco_order_id,
    )


def _balance_records(state: State) -> tuple[BalanceRecord, ...]:
    """Return every balance that is not empty, by account and asset. O(n log n)."""
    return tuple(
        BalanceRecord(account, asset, str(balance.free), str(balance.held))
        for account, asset, balance in state.ledger.entries()
    )


def _restore_balance(state: State, held: BalanceRecord) -> None:
    """Put a balance back."""
    balance = Balance(int(held.free), int(held.held))
    state.ledger.restore(held.account, held.asset, balance)


def _restore_market(state: State, held: MarketRecord) -> None:
    """Open a market again, with its orders."""
    market = state.open_market(held.rules, held.status)
    market.book.priority = held.priority
    market.book.trade_id = held.trade_id
    market.book.last_price_ticks = held.last_price_ticks
    for records, is_pending in ((held.orders, False), (held.stops, True)):
        for record in records:
            order = _restored_order(record, held.rules.market)
            if order.account not in state.live.accounts:
                raise ValueError(f"order {order.order_id} belongs to no account")
            order.is_pending = is_pending
            (market.stops.add if is_pending else market.book.restore)(order)
            state.index(order, market)


def _restored_order(held: OrderRecord, market: str) -> LiveOrder:
    return LiveOrder(
        held.order_id,
        held.client_order_id,
        held.account,
        market,
        held.side,
        held.type,
        held.time_in_force,
        held.price_ticks,
        held.quantity_lots,
        held.filled_lots,
        int(held.filled_value),
        held.expires_at_us,
        held.post_only,
        held.self_trade_prevention,
        held.created_at_us,
        held.updated_at_us,
        held.sequence,
        held.priority,
        held.maker_fee_e8,
        held.taker_fee_e8,
        int(held.held),
        stop_price_ticks=held.stop_price_ticks,
        display_lots=held.display_lots,
        shown_lots=held.shown_lots,
        oco_order_id=held.oco_order_id,
    )
