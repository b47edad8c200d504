"""The live orders of the whole exchange, and how each is found.

Rules of this file:

- A live order is one that rests in a book or waits as a stop; `LiveOrders` holds exactly those.
  An order that is being matched is in no index: the machine adds it when it rests or waits,
  removes it before it moves.
- Each order is in `by_id`, in its account's index by market, under its label if it has one, and
  in the expiry queue if it has a time to end. The four never disagree (`check`).
- Nothing here is iterated in hash order or insertion order where the order shows: lists that
  leave this file are sorted by order id, expiries by (time, order id), dead-man switches by
  (time, account).
"""

from __future__ import annotations

from typing import Final

import msgspec
from sortedcontainers import SortedList

from raft_exchange.matching.limits import (
    ACCOUNTS_MAX,
    ORDERS_MAX,
    ORDERS_PER_ACCOUNT_MARKET_MAX,
    TIME_US_MAX,
)
from raft_exchange.matching.messages import (
    AccountSettings,
    EndReason,
    Order,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

_OPEN: Final = OrderStatus.OPEN
_PARTIALLY_FILLED: Final = OrderStatus.PARTIALLY_FILLED
STATUS_OF_REASON: Final = {
    EndReason.FILLED: OrderStatus.FILLED,
    EndReason.CANCELED_BY_OWNER: OrderStatus.CANCELED,
    EndReason.REMAINDER_EXPIRED: OrderStatus.EXPIRED,
    EndReason.TIME_EXPIRED: OrderStatus.EXPIRED,
    EndReason.SELF_TRADE: OrderStatus.CANCELED,
    EndReason.AMENDED_DOWN: OrderStatus.CANCELED,
    EndReason.REPLACED: OrderStatus.CANCELED,
    EndReason.OTHER_LEG: OrderStatus.CANCELED,
    EndReason.CANCEL_AFTER: OrderStatus.CANCELED,
    EndReason.UNFUNDED: OrderStatus.REJECTED,
    EndReason.CANCELED_BY_OPERATOR: OrderStatus.CANCELED,
}
"""An order *expires* by its own terms (time in force); all else that ends it early *cancels* it."""


class LiveOrder(msgspec.Struct, eq=False):
    """An order inside the machine: mutable, never handed out; `view` makes what leaves.

    `filled_value` is the exact sum of price_ticks x quantity_lots over the fills. `priority` is
    the place in the market's queue, the smaller the earlier. The fee rates are those of its
    acceptance; `held` is what it holds of its owner's balance (`accounts.py`). `ahead` and
    `behind` are the neighbours at the same price, None outside a book.

    `is_pending` is a stop that waits; elected, it is an order like any other. `shown_lots` is
    what an iceberg shows while it rests. A quote-sized order (`quote_value` not 0) may take up to
    `quantity_lots`, the most its market takes, as long as its value lasts.
    """

    order_id: int
    client_order_id: str
    account: str
    market: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    filled_lots: int
    filled_value: int
    expires_at_us: int
    post_only: bool
    self_trade_prevention: SelfTradePrevention
    created_at_us: int
    updated_at_us: int
    sequence: int
    priority: int = 0
    maker_fee_e8: int = 0
    taker_fee_e8: int = 0
    held: int = 0
    ahead: LiveOrder | None = None
    behind: LiveOrder | None = None
    stop_price_ticks: int = 0
    display_lots: int = 0
    shown_lots: int = 0
    quote_value: int = 0
    oco_order_id: int = 0
    is_pending: bool = False

    def view(self, status: OrderStatus | None = None) -> Order:
        """Return the order as it stands; without a `status` it is live, filled or not."""
        if status is None:
            if self.filled_lots:
                status = _PARTIALLY_FILLED
            else:
                status = self._waiting_status() if self.stop_price_ticks else _OPEN
        return Order(
            self.order_id,
            self.client_order_id,
            self.account,
            self.market,
            self.side,
            self.type,
            self.time_in_force,
            self.price_ticks,
            self.filled_lots if self.quote_value else self.quantity_lots,
            self.filled_lots,
            str(self.filled_value),
            self.expires_at_us,
            self.post_only,
            self.self_trade_prevention,
            status,
            self.created_at_us,
            self.updated_at_us,
            self.sequence,
            self.stop_price_ticks,
            self.display_lots,
            self.shown_lots,
            str(self.quote_value) if self.quote_value else "",
            self.oco_order_id,
        )

    def _waiting_status(self) -> OrderStatus:
        return OrderStatus.PENDING if self.is_pending else OrderStatus.TRIGGERED


class Account(msgspec.Struct, eq=False):
    """The live orders of one account: by market and id, and by the trader's own label.

    `cancel_at_us` is when its dead-man switch ends them all, 0 while it is not armed. `settings`
    are what operators decided.
    """

    by_market: dict[str, dict[int, LiveOrder]]
    by_client_order_id: dict[str, LiveOrder]
    cancel_at_us: int = 0
    settings: AccountSettings = AccountSettings()


class LiveOrders:
    """Every account and every live order, found by id, by owner, by label, by expiry."""

    __slots__ = ("_expiries", "_switches", "accounts", "by_id")

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.by_id: dict[int, LiveOrder] = {}
        self._expiries = SortedList()
        self._switches = SortedList()

    def open_account(self, name: str) -> None:
        """Open an account that does not exist yet."""
        assert name not in self.accounts, name
        self.accounts[name] = Account({}, {})

    def add(self, order: LiveOrder) -> None:
        """Index an order that has just joined a book. O(log n) with an expiry, else O(1)."""
        account = self.accounts[order.account]
        orders = account.by_market.get(order.market)
        if orders is None:
            orders = account.by_market[order.market] = {}
        orders[order.order_id] = order
        self.by_id[order.order_id] = order
        if order.client_order_id:
            account.by_client_order_id[order.client_order_id] = order
        if order.expires_at_us:
            self._expiries.add((order.expires_at_us, order.order_id))

    def remove(self, order: LiveOrder) -> None:
        """Forget an order that leaves its book. O(log n) with an expiry, else O(1)."""
        account = self.accounts[order.account]
        orders = account.by_market[order.market]
        del orders[order.order_id]
        if not orders:
            del account.by_market[order.market]
        del self.by_id[order.order_id]
        if order.client_order_id:
            del account.by_client_order_id[order.client_order_id]
        if order.expires_at_us:
            self._expiries.remove((order.expires_at_us, order.order_id))

    def of_account(self, account: str, market: str | None, *, side: Side | None) -> list[LiveOrder]:
        """Return live orders of `account`, oldest id first; `None` means any. O(n log n)."""
        by_market = self.accounts[account].by_market
        chosen = by_market.values() if market is None else [by_market.get(market, {})]
        orders = [order for held in chosen for order in held.values()]
        if side is not None:
            orders = [order for order in orders if order.side is side]
        return sorted(orders, key=_order_id)

    def arm(self, account: str, cancel_at_us: int) -> None:
        """Set the dead-man switch of `account`, 0 to disarm it. O(log n)."""
        owner = self.accounts[account]
        if owner.cancel_at_us:
            self._switches.remove((owner.cancel_at_us, account))
        if cancel_at_us:
            self._switches.add((cancel_at_us, account))
        owner.cancel_at_us = cancel_at_us

    def switches(self, time_us: int = TIME_US_MAX) -> list[tuple[int, str]]:
        """Return the armed switches due at `time_us`, by (time, account). O(those)."""
        return list(self._switches.irange(maximum=(time_us + 1,)))

    def next_due_us(self) -> int | None:
        """Return when the first live order expires or the first switch ends some. O(1)."""
        firsts: list[int] = [queue[0][0] for queue in (self._expiries, self._switches) if queue]
        return min(firsts, default=None)

    def due(self, time_us: int) -> list[LiveOrder]:
        """Return the live orders that expire at or before `time_us`, by (time, order id)."""
        return [
            self.by_id[order_id] for _, order_id in self._expiries.irange(maximum=(time_us + 1,))
        ]

    def check(self) -> None:
        """Assert that the indexes agree. O(n log n)."""
        by_account: dict[int, LiveOrder] = {}
        owned = 0
        for account in self.accounts.values():
            labels: dict[str, LiveOrder] = {}
            for market, orders in account.by_market.items():
                assert 0 < len(orders) <= ORDERS_PER_ACCOUNT_MARKET_MAX
                assert all(order.market == market for order in orders.values())
                by_account |= orders
                owned += len(orders)
                for order in orders.values():
                    if order.client_order_id:
                        assert order.client_order_id not in labels, "a label names one live order"
                        labels[order.client_order_id] = order
            assert labels == account.by_client_order_id
        assert by_account == self.by_id, "every live order is its owner's, and the other way round"
        assert owned == len(self.by_id), "every live order has one owner"
        assert all(order_id == order.order_id for order_id, order in self.by_id.items())
        assert all(
            order_id in self.accounts[order.account].by_market.get(order.market, ())
            for order_id, order in self.by_id.items()
        )
        with_expiry = (
            (o.expires_at_us, o.order_id) for o in self.by_id.values() if o.expires_at_us
        )
        assert list(self._expiries) == sorted(with_expiry)
        assert all(0 < expires_at_us <= TIME_US_MAX for expires_at_us, _ in self._expiries)
        armed = ((a.cancel_at_us, name) for name, a in self.accounts.items() if a.cancel_at_us)
        assert list(self._switches) == sorted(armed)
        assert all(0 < cancel_at_us <= TIME_US_MAX for cancel_at_us, _ in self._switches)
        assert len(self.accounts) <= ACCOUNTS_MAX
        assert len(self.by_id) <= ORDERS_MAX


def _order_id(order: LiveOrder) -> int:
    return order.order_id
