"""What owners do with their live orders, again and dumb: amend, cancel, arm the switch.

Each takes the oracle, an `Oracle` whose type would make a circle of imports.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from raft_exchange.matching import limits
from raft_exchange.matching.messages import (
    AllCanceled,
    AmendOrder,
    CancelAfter,
    CancelAfterSet,
    CancelAll,
    CancelOrder,
    EndReason,
    Event,
    MarketStatus,
    Order,
    OrderAmended,
    Side,
)
from tests.support.oracle_guards import (
    Refused,
    either,
    require,
    require_in,
    require_terms,
    rest,
    waits,
)


def amend(oracle: Any, c: AmendOrder) -> list[Event]:
    if c.price_ticks is not None:
        require_in(1, c.price_ticks, limits.PRICE_TICKS_MAX, "price_ticks")
    if c.quantity_lots is not None:
        require_in(1, c.quantity_lots, limits.QUANTITY_LOTS_MAX, "quantity_lots")
    if c.stop_price_ticks is not None:
        require_in(1, c.stop_price_ticks, limits.PRICE_TICKS_MAX, "stop_price_ticks")
    order = oracle._find(c.account, c.order_id)
    trading = oracle.status[order.market] == MarketStatus.TRADING
    require(trading, "market_halted", "market")
    new = replace(
        order,
        price_ticks=either(c.price_ticks, order.price_ticks),
        quantity_lots=either(c.quantity_lots, order.quantity_lots),
        stop_price_ticks=either(c.stop_price_ticks, order.stop_price_ticks),
        updated_at_us=oracle.time_us,
        sequence=oracle.sequence,
    )
    _require_amendable(oracle, order, new)
    if new.quantity_lots <= order.filled_lots:
        return oracle._end(order, EndReason.AMENDED_DOWN)
    prices = (new.price_ticks, new.stop_price_ticks)
    same = prices == (order.price_ticks, order.stop_price_ticks)
    if same and new.quantity_lots <= order.quantity_lots:
        new = replace(new, shown_lots=min(new.shown_lots, rest(new)))
        oracle.live[order.order_id] = new
        return [OrderAmended(new, True)]
    del oracle.live[order.order_id]
    new = replace(new, shown_lots=0)
    entering = oracle._wait if waits(new) else oracle._enter
    return [OrderAmended(new, False), *entering(new)]


def _require_amendable(oracle: Any, old: Order, new: Order) -> None:
    if new.stop_price_ticks != old.stop_price_ticks:
        require(waits(old), "invalid_combination", "stop_price_ticks")
    if new.price_ticks != old.price_ticks:
        require(old.price_ticks != 0, "invalid_combination", "price_ticks")
    fields = ("price_ticks", "stop_price_ticks", "quantity_lots")
    changes = [field for field in fields if getattr(old, field) != getattr(new, field)]
    if not changes or new.quantity_lots <= old.filled_lots:
        return
    last = oracle.last_price[old.market]
    terms = new
    if not waits(old):
        terms = replace(new, stop_price_ticks=0)
        last = last if "price_ticks" in changes else 0
    require_terms(oracle.rules[old.market], terms, last)  # type: ignore[arg-type]
    if old.display_lots:
        most = old.display_lots * limits.ICEBERG_TRANCHES_MAX
        require_in(1, new.quantity_lots, most, "quantity_lots")
    value = new.price_ticks * new.quantity_lots
    rules = oracle.rules[old.market]
    oracle.desk.require_low_risk(old.account, rules, value, new.quantity_lots)
    require(not (old.post_only and oracle._makers(new)), "would_take", "price_ticks")
    # As if it had the new terms already: nobody may owe more than he has.
    after = oracle._copy()
    after.live[old.order_id] = new
    asset = rules.quote if old.side == Side.BUY else rules.base
    require(after.free(old.account, asset) >= 0, "insufficient_funds", "quantity_lots")


def cancel(oracle: Any, c: CancelOrder) -> list[Event]:
    if c.order_id != 0:
        return oracle._end(oracle._find(c.account, c.order_id), EndReason.CANCELED_BY_OWNER)
    require(c.account in oracle.accounts, "unknown_account", "account")
    for order in oracle.live.values():
        if order.account == c.account and order.client_order_id == c.client_order_id != "":
            return oracle._end(order, EndReason.CANCELED_BY_OWNER)
    raise Refused("unknown_order", "client_order_id")


def cancel_all(oracle: Any, c: CancelAll) -> list[Event]:
    require(c.account in oracle.accounts, "unknown_account", "account")
    require(c.market is None or c.market in oracle.rules, "unknown_market", "market")
    chosen = [
        order
        for order_id, order in sorted(oracle.live.items())
        if order.account == c.account
        and c.market in (None, order.market)
        and c.side in (None, order.side)
    ]
    ends = oracle._end_all(chosen, EndReason.CANCELED_BY_OWNER)
    return [*ends, AllCanceled(len(ends))]


def cancel_after(oracle: Any, c: CancelAfter) -> list[Event]:
    require_in(0, c.after_us, 86_400_000_000, "after_us")
    require(c.account in oracle.accounts, "unknown_account", "account")
    at_us = oracle.time_us + c.after_us if c.after_us else 0
    require_in(0, at_us, limits.TIME_US_MAX, "after_us")
    oracle.switches.pop(c.account, None)
    if at_us:
        oracle.switches[c.account] = at_us
    return [CancelAfterSet(c.account, at_us)]


OWNER: dict[type, Any] = {
    AmendOrder: amend,
    CancelOrder: cancel,
    CancelAll: cancel_all,
    CancelAfter: cancel_after,
}
