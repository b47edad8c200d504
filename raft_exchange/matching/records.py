"""The records of a snapshot: what each thing of the state looks like in bytes, both ways.

Format 2 appends to the records of format 1, and what a record does not have of it is left out:
an order without any is an `OrderRecord`, else a `LongOrderRecord`; rules are cut by `versions`.
"""

from __future__ import annotations

import msgspec

from raft_exchange.matching.accounts import Balance
from raft_exchange.matching.messages import (
    MarketRules,
    MarketStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.state import Market, State
from raft_exchange.matching.transfers import Transfer
from raft_exchange.matching.versions import is_of_version_1


class OrderRecord(msgspec.Struct, array_like=True, gc=False):
    """A resting order as format 1 holds it.

    Only limit orders rest, so the type needs no field; `filled_value` is decimal text because it
    may exceed 64 bits.
    """

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


class LongOrderRecord(OrderRecord, array_like=True, gc=False):
    """A resting order with what format 2 appends; `held` is decimal text."""

    maker_fee_e8: int = 0
    taker_fee_e8: int = 0
    held: str = "0"


class MarketRecord(msgspec.Struct, array_like=True):
    """A market: rules, status, counters, and its orders in ascending priority."""

    rules: MarketRules
    status: MarketStatus
    priority: int
    trade_id: int
    orders: list[LongOrderRecord]

    def is_of_version_1(self) -> bool:
        """Say whether format 1 can hold it. O(orders)."""
        return is_of_version_1(self.rules) and not any(
            type(order) is LongOrderRecord for order in self.orders
        )


class BalanceRecord(msgspec.Struct, array_like=True):
    """A balance that is not empty, as decimal text."""

    account: str
    asset: str
    free: str
    held: str


class FundsRecord(msgspec.Struct, array_like=True):
    """Every balance, by account and asset, and the remembered transfers, oldest first."""

    balances: list[BalanceRecord]
    transfers: list[Transfer]


def market_record(market: Market) -> MarketRecord:
    """Return the record of a market. O(n log n)."""
    book = market.book
    orders = [_order_record(order) for side in (book.buys, book.sells) for order in side.orders()]
    orders.sort(key=_priority)
    return MarketRecord(market.rules, market.status, book.priority, book.trade_id, orders)  # type: ignore[arg-type]


def _priority(order: OrderRecord) -> int:
    return order.priority


def _order_record(order: LiveOrder) -> OrderRecord:
    fields = (
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
    if not (order.held or order.maker_fee_e8 or order.taker_fee_e8):
        return OrderRecord(*fields)
    return LongOrderRecord(*fields, order.maker_fee_e8, order.taker_fee_e8, str(order.held))


def funds_record(state: State) -> FundsRecord | None:
    """Return the record of all balances and transfers, None where there are none."""
    balances = [
        BalanceRecord(account, asset, str(balance.free), str(balance.held))
        for account, asset, balance in state.ledger.entries()
    ]
    transfers = state.transfers.entries()
    return FundsRecord(balances, transfers) if balances or transfers else None


def restore_funds(state: State, held: FundsRecord) -> None:
    """Put balances and transfers back.

    Raises:
        ValueError: what should be a number is none.
    """
    for record in held.balances:
        balance = Balance(int(record.free), int(record.held))
        state.ledger.restore(record.account, record.asset, balance)
    for transfer in held.transfers:
        state.transfers.add(transfer)


def restore_market(state: State, held: MarketRecord) -> None:
    """Open a market again, with its orders.

    Raises:
        ValueError: an order of no account, or what should be a number is none.
    """
    market = state.open_market(held.rules, held.status)
    market.book.priority = held.priority
    market.book.trade_id = held.trade_id
    for record in held.orders:
        order = _restored_order(record, held.rules.market)
        if order.account not in state.live.accounts:
            raise ValueError(f"order {order.order_id} belongs to no account")
        market.book.restore(order)
        state.live.add(order)


def _restored_order(held: LongOrderRecord, market: str) -> LiveOrder:
    return LiveOrder(
        held.order_id,
        held.client_order_id,
        held.account,
        market,
        held.side,
        OrderType.LIMIT,
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
    )
