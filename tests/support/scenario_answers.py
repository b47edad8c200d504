"""What the exchange answers in a scenario file, a line for each event; and looks at a book."""

from __future__ import annotations

from decimal import Decimal, localcontext

from raft_exchange.matching.book import BookSide
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    AccountChanged,
    AccountCreated,
    AllCanceled,
    BalanceChanged,
    CancelAfterElapsed,
    CancelAfterSet,
    CommandRefused,
    Event,
    KeyChanged,
    MarketChanged,
    Order,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderReplenished,
    OrderRested,
    OrderStatus,
    StopElected,
    StopPlaced,
    TimeAdvanced,
    TradeExecuted,
    TransferMade,
)


def write(event: Event) -> str:
    """Return one event as one line."""
    match event:
        case TimeAdvanced():
            return f"time {event.time_us}"
        case CommandRefused():
            return f"refused {event.code} {event.field}".rstrip()
        case TradeExecuted():
            sides = f"maker=#{event.maker_order_id} taker=#{event.taker_order_id}"
            fees = f" fees {_amount(event.maker_fee)} {_amount(event.taker_fee)}"
            told = "" if event.maker_fee == event.taker_fee == "0" else fees
            return f"trade {sides} {event.quantity_lots} @ {event.price_ticks}{told}"
        case OrderAmended():
            place = "kept" if event.kept_place else "lost"
            return f"amended #{event.order.order_id} to {_terms(event.order)}, {place} its place"
        case AllCanceled():
            return f"canceled {event.count} in all"
        case (
            AccountCreated()
            | MarketChanged()
            | TransferMade()
            | BalanceChanged()
            | CancelAfterSet()
            | CancelAfterElapsed()
            | AccountChanged()
            | KeyChanged()
        ):
            return _write_account_event(event)
        case _:
            return _write_order_event(event)


def _write_account_event(
    event: AccountCreated
    | MarketChanged
    | TransferMade
    | BalanceChanged
    | CancelAfterSet
    | CancelAfterElapsed
    | AccountChanged
    | KeyChanged,
) -> str:
    match event:
        case AccountChanged():
            return f"{event.account} {'frozen' if event.settings.frozen else 'not frozen'}"
        case KeyChanged():
            revoked_at = event.key.revoked_at_us
            standing = f"revoked at {revoked_at}" if revoked_at else "good"
            return f"key {event.key.key_id} of {event.account}: {standing}"
        case AccountCreated():
            return f"account {event.account}"
        case MarketChanged():
            return f"market {event.rules.market} {event.status.name.lower()}"
        case TransferMade():
            verb = "deposited" if event.is_deposit else "withdrew"
            return f"{verb} {_amount(event.amount)} {event.asset} in {event.first_sequence}"
        case BalanceChanged():
            amounts = f"{_amount(event.free)} free, {_amount(event.held)} held"
            return f"{event.account} {event.asset}: {amounts}"
        case CancelAfterSet():
            return f"cancel-after {event.account} at {event.cancel_at_us}"
        case CancelAfterElapsed():
            return f"cancel-after {event.account} ended {event.count}"


def _terms(order: Order) -> str:
    price = f" @ {order.price_ticks}" if order.price_ticks else ""
    waits = order.status is OrderStatus.PENDING
    return f"{order.quantity_lots}{price}" + (f" stop={order.stop_price_ticks}" if waits else "")


def _amount(units: str) -> str:
    with localcontext(prec=100):
        return f"{Decimal(units).scaleb(-36).normalize():f}"


def _write_order_event(
    event: OrderAccepted
    | OrderRested
    | OrderReduced
    | OrderReplenished
    | StopPlaced
    | StopElected
    | OrderEnded,
) -> str:
    order = event.order
    filled = f"{order.filled_lots}/{order.quantity_lots}"
    match event:
        case OrderAccepted():
            return f"accepted #{order.order_id}"
        case OrderRested():
            shown = f", shows {order.shown_lots}" if order.display_lots else ""
            return f"rested #{order.order_id} {order.quantity_lots - order.filled_lots}{shown}"
        case OrderReplenished():
            return f"replenished #{order.order_id} shows {order.shown_lots}"
        case StopPlaced():
            return f"waits #{order.order_id} {_terms(order)}"
        case StopElected():
            return f"elected #{order.order_id}"
        case OrderReduced():
            left = f"value {order.quote_value}" if order.quote_value else order.quantity_lots
            return f"reduced #{order.order_id} to {left}"
        case OrderEnded():
            status = f"{order.status.name.lower()} {filled}"
            return f"ended #{order.order_id} {status}: {event.reason.name.lower()}"


def ladder(exchange: Exchange, market: str) -> list[str]:
    """Return the resting orders of `market`, a line for each price, worst sell first."""
    book = exchange.markets[market].book
    lines = [*reversed(_levels("sell", book.sells)), *_levels("buy", book.buys)]
    return lines or ["empty"]


def waiting(exchange: Exchange, market: str) -> list[str]:
    """Return the stops of `market`, oldest first."""
    stops = exchange.markets[market].stops.by_age()
    lines = [f"{o.side.name.lower()} #{o.order_id} {_terms(o.view())}" for o in stops]
    return lines or ["none"]


def _levels(side: str, orders: BookSide) -> list[str]:
    levels: dict[int, list[str]] = {}
    for order in orders.orders():
        queue = levels.setdefault(order.price_ticks, [])
        left = order.quantity_lots - order.filled_lots
        hidden = left - order.shown_lots
        shown = f"{order.shown_lots} ({hidden})" if order.display_lots else str(left)
        queue.append(f"#{order.order_id} {shown}")
    return [f"{side} @ {price}: {', '.join(queue)}" for price, queue in levels.items()]
