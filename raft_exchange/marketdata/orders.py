"""Every order this node can tell about: all live ones, and the last finished ones.

Rules:
- An order is live from `OrderRested`, `StopPlaced` (or `OrderAmended`) until `OrderEnded`; an
  order that never rested becomes known when it ends.
- Live orders are bounded by the state machine (`limits.ORDERS_MAX`), finished ones here: the one
  that *ended* longest ago is dropped first.
- Order ids grow and are registered in id order, so that "newest first" is "highest id first" and a
  page of a listing is named by the id it stopped at, whatever happened meanwhile.
- `client_order_id` is free again once its order is final, so one label may name many kept orders,
  of which at most one, the newest, is live.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from sortedcontainers import SortedList

from raft_exchange.matching.messages import (
    FINAL_STATUSES,
    Order,
    OrderStatus,
    TradeExecuted,
)

FINISHED_ORDERS_MAX: Final = 50_000
LISTING_SCAN_MAX: Final = 10_000
"""Orders one page of a listing may look at, so that a rare filter cannot hold up the node."""


class OrderRegister:
    """Orders by id, by (account, client_order_id) and by account."""

    def __init__(self, *, finished_max: int = FINISHED_ORDERS_MAX) -> None:
        self._finished_max = finished_max
        self._live: dict[int, Order] = {}
        self._finished: OrderedDict[int, Order] = OrderedDict()  # its first is found in O(1)
        self._by_account: dict[str, SortedList] = {}
        self._by_client_id: dict[tuple[str, str], dict[int, None]] = {}
        self._live_of: Counter[tuple[str, str]] = Counter()  # by account and market
        self.last_id = 0

    def get(self, order_id: int) -> Order | None:
        """Return a live or kept order. O(1)."""
        return self._live.get(order_id) or self._finished.get(order_id)

    def live(self, order_id: int) -> Order | None:
        """Return a live order. O(1)."""
        return self._live.get(order_id)

    def live_orders(self) -> Collection[Order]:
        """Return all live orders, in the order they became live."""
        return self._live.values()

    def live_count(self, account: str, market: str) -> int:
        """Return how many orders of an account live in a market. O(1)."""
        return self._live_of[account, market]

    def labelled(self, account: str, client_order_id: str) -> Order | None:
        """Return the live order of an account with this label. O(1)."""
        named = self._by_client_id.get((account, client_order_id))
        return None if named is None else self._live.get(next(reversed(named)))

    def finished_orders(self) -> Collection[Order]:
        """Return the kept finished orders, in the order they ended."""
        return self._finished.values()

    def keep_live(self, order: Order) -> None:
        """Register a live order, or replace its earlier view. O(log orders of the account)."""
        live, order_id = self._live, order.order_id
        if order_id not in live:
            self._index(order)
            self._live_of[order.account, order.market] += 1
        live[order_id] = order

    def finish(self, order: Order) -> None:
        """Register a final order; forget the one that ended longest ago if there are too many."""
        if self._live.pop(order.order_id, None) is None:
            self._index(order)
        else:
            self._leave(order)
        self._finished[order.order_id] = order
        if len(self._finished) > self._finished_max:
            self._forget(self._finished.popitem(last=False)[1])

    def restore(self, live: Iterable[Order], finished: Iterable[Order], *, last_id: int) -> None:
        """Fill an empty register at once. O(n log n).

        Args:
            live: in any order.
            finished: in the order they ended.
            last_id: the last id that was given out; its order may be forgotten.
        """
        assert not self.last_id, "restored before anything else"
        self.last_id = last_id
        self._live = {order.order_id: order for order in live}
        self._live_of.update((order.account, order.market) for order in self._live.values())
        for order in finished:
            self._finished[order.order_id] = order
        while len(self._finished) > self._finished_max:
            self._finished.popitem(last=False)
        ids: dict[str, list[int]] = {}
        for order_id in sorted(self._live.keys() | self._finished.keys()):
            order = self._order(order_id)
            ids.setdefault(order.account, []).append(order_id)
            if order.client_order_id:
                key = (order.account, order.client_order_id)
                self._by_client_id.setdefault(key, {})[order_id] = None
        self._by_account = {account: SortedList(held) for account, held in ids.items()}

    def page(
        self,
        account: str,
        *,
        limit: int,
        before: int | None = None,
        market: str | None = None,
        statuses: Collection[OrderStatus] | None = None,
        client_order_id: str | None = None,
    ) -> tuple[list[Order], int | None]:
        """Return up to `limit` orders of `account`, newest first, and where the next page begins.

        A page may hold fewer orders than `limit`, even none, although more follow: it looks at
        `LISTING_SCAN_MAX` orders at most. There is more if and only if the second value is not
        None; pass it as `before`.
        """
        found: list[Order] = []
        last_id = None
        for scanned, order_id in enumerate(self._newest_first(account, before, client_order_id)):
            if len(found) == limit or scanned == LISTING_SCAN_MAX:
                return found, last_id
            last_id = order_id
            order = self._order(order_id)
            if market is not None and order.market != market:
                continue
            if statuses is None or order.status in statuses:
                found.append(order)
        return found, None

    def check(self) -> None:
        """Assert every invariant. O(orders): tests call it after each step."""
        known = self._live.keys() | self._finished.keys()
        assert self._live_of == Counter((o.account, o.market) for o in self._live.values())
        assert not self._live.keys() & self._finished.keys(), "an order is live or final"
        assert known == {i for ids in self._by_account.values() for i in ids}
        labelled = {i for i in known if self._order(i).client_order_id}
        assert labelled == {i for ids in self._by_client_id.values() for i in ids}
        assert not any(order.status in FINAL_STATUSES for order in self._live.values())
        assert all(order.status in FINAL_STATUSES for order in self._finished.values())
        assert len(self._finished) <= self._finished_max

    def _order(self, order_id: int) -> Order:
        order = self.get(order_id)
        assert order is not None, order_id
        return order

    def _newest_first(
        self, account: str, before: int | None, client_order_id: str | None
    ) -> Iterator[int]:
        if client_order_id is None:
            ids = self._by_account.get(account)
            if ids is None:
                return iter(())
            newest: Iterator[int] = ids.irange(
                maximum=before, inclusive=(True, False), reverse=True
            )
            return newest
        labelled = reversed(self._by_client_id.get((account, client_order_id), {}))
        return (i for i in labelled if before is None or i < before)

    def _index(self, order: Order) -> None:
        ids = self._by_account.get(order.account)
        if ids is None:
            ids = self._by_account[order.account] = SortedList()
        ids.add(order.order_id)
        if order.client_order_id:
            key = (order.account, order.client_order_id)
            self._by_client_id.setdefault(key, {})[order.order_id] = None
        if order.order_id > self.last_id:
            self.last_id = order.order_id

    def _leave(self, order: Order) -> None:
        where = (order.account, order.market)
        left = self._live_of[where] - 1
        if left:
            self._live_of[where] = left
        else:
            del self._live_of[where]

    def _forget(self, order: Order) -> None:
        ids = self._by_account[order.account]
        ids.remove(order.order_id)
        if not ids:
            del self._by_account[order.account]
        if order.client_order_id:
            key = (order.account, order.client_order_id)
            labelled = self._by_client_id[key]
            del labelled[order.order_id]
            if not labelled:
                del self._by_client_id[key]


def displayed_lots(order: Order) -> int:
    """Return how much of a resting order its book shows: of an iceberg a part."""
    return order.shown_lots if order.display_lots else order.quantity_lots - order.filled_lots


def filled_further(order: Order, trade: TradeExecuted, *, time_us: int, sequence: int) -> Order:
    """Return how a resting order stands after a trade, which has no event of its own for it.

    What an iceberg shows is less by the trade; its next tranche has an event.
    """
    shown_lots = order.shown_lots - trade.quantity_lots if order.display_lots else 0
    value = int(order.filled_value) + trade.price_ticks * trade.quantity_lots
    return Order(
        order.order_id,
        order.client_order_id,
        order.account,
        order.market,
        order.side,
        order.type,
        order.time_in_force,
        order.price_ticks,
        order.quantity_lots,
        order.filled_lots + trade.quantity_lots,
        str(value),
        order.expires_at_us,
        order.post_only,
        order.self_trade_prevention,
        OrderStatus.PARTIALLY_FILLED,
        order.created_at_us,
        time_us,
        sequence,
        order.stop_price_ticks,
        order.display_lots,
        shown_lots,
        order.quote_value,
        order.oco_order_id,
    )
