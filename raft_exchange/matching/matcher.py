"""One taker against one book: trades, self-trade prevention, and the dry walk of fill-or-kill.

Rules of this file:

- The best price first, then the earlier order; a trade happens at the maker's price.
- A partial fill leaves the maker where it stands.
- Where taker and maker have one account, the *taker's* mode decides. Trades made before stand.
- Every maker touched is stamped with the taker's time and sequence: they belong to one command.
- Each step appends its events at once, so that their order is the order of what happened.
"""

from __future__ import annotations

from typing import Final, assert_never

from raft_exchange.matching.accounts import Funds
from raft_exchange.matching.book import Book
from raft_exchange.matching.messages import (
    CommandRefused,
    EndReason,
    Event,
    OrderEnded,
    OrderReduced,
    RejectCode,
    SelfTradePrevention,
    TimeInForce,
    TradeExecuted,
)
from raft_exchange.matching.orders import STATUS_OF_REASON, LiveOrder, LiveOrders

_ALLOWED: Final = SelfTradePrevention.NONE


def refuse_entry(order: LiveOrder, book: Book) -> CommandRefused | None:
    """Refuse a new order for what the book holds right now."""
    if order.post_only and book.opposite(order.side).reached_by(order.price_ticks):
        return CommandRefused(RejectCode.WOULD_TAKE, "price_ticks")
    if order.time_in_force is TimeInForce.FOK and not _is_fillable(order, book):
        return CommandRefused(RejectCode.UNFILLABLE, "quantity_lots")
    return None


def _is_fillable(taker: LiveOrder, book: Book) -> bool:
    """Say whether trades alone would fill `taker` at once and whole. O(makers walked).

    Own makers do not count: `expire_maker` would remove them and go on, every other mode but
    `none` would end the taker or take from its size.
    """
    makers = book.opposite(taker.side)
    missing_lots = taker.quantity_lots
    mode = taker.self_trade_prevention
    for maker in makers.orders(makers.key_limit(taker)):
        if mode is not _ALLOWED and maker.account == taker.account:
            if mode is SelfTradePrevention.EXPIRE_MAKER:
                continue
            return False
        missing_lots -= maker.quantity_lots - maker.filled_lots
        if missing_lots <= 0:
            return True
    return False


def value_to_buy(taker: LiveOrder, book: Book) -> int:
    """Return price_ticks x quantity_lots of all that `taker` would buy now. O(makers walked).

    Own makers are met as they would be: passed over, taken off the size, or the end of it.
    """
    missing_lots = taker.quantity_lots - taker.filled_lots
    value = 0
    mode = taker.self_trade_prevention
    makers = book.opposite(taker.side)
    for maker in makers.orders(makers.key_limit(taker)):
        lots = min(missing_lots, maker.quantity_lots - maker.filled_lots)
        if mode is _ALLOWED or maker.account != taker.account:
            value += maker.price_ticks * lots
        elif mode is SelfTradePrevention.EXPIRE_MAKER:
            continue
        elif mode is not SelfTradePrevention.DECREMENT:
            break
        missing_lots -= lots
        if not missing_lots:
            break
    return value


class Match:
    """The way of one taker, which is in no index, through the other side of a book.

    The taker holds what it needs; `funds` moves it, fill by fill.
    """

    __slots__ = ("_book", "_events", "_funds", "_live", "_taker")

    def __init__(
        self,
        taker: LiveOrder,
        book: Book,
        *,
        funds: Funds,
        live: LiveOrders,
        events: list[Event],
    ) -> None:
        self._taker = taker
        self._funds = funds
        self._book = book
        self._live = live
        self._events = events

    def run(self) -> EndReason | None:
        """Trade as far as price and size reach; append what happens to the events.

        Returns:
            Why the taker ended, None if some of it is left; the caller lets it rest or expire.
        """
        taker = self._taker
        makers = self._book.opposite(taker.side)
        key_limit = makers.key_limit(taker)
        prevents = taker.self_trade_prevention is not _ALLOWED
        while (level := makers.best) is not None and level.key <= key_limit:
            maker = level.first
            if prevents and maker.account == taker.account:
                if self._prevent(maker):
                    return EndReason.SELF_TRADE
            else:
                self._fill(maker)
                if taker.filled_lots == taker.quantity_lots:
                    return EndReason.FILLED
        return None

    def _fill(self, maker: LiveOrder) -> None:
        taker, book = self._taker, self._book
        maker_lots = maker.quantity_lots - maker.filled_lots
        lots = min(maker_lots, taker.quantity_lots - taker.filled_lots)
        value = maker.price_ticks * lots
        for order in (maker, taker):
            order.filled_lots += lots
            order.filled_value += value
        self._stamp(maker)
        maker_fee = taker_fee = 0
        if self._funds.is_on or maker.maker_fee_e8 or taker.taker_fee_e8:
            maker_fee, taker_fee = self._funds.settle(
                maker, taker, price_ticks=maker.price_ticks, lots=lots
            )
        book.trade_id += 1
        self._events.append(
            TradeExecuted(
                book.market,
                book.trade_id,
                maker.price_ticks,
                lots,
                taker.side,
                maker.order_id,
                taker.order_id,
                maker.account,
                taker.account,
                str(maker_fee),
                str(taker_fee),
            )
        )
        if lots == maker_lots:
            self._end(maker, EndReason.FILLED)

    def _prevent(self, maker: LiveOrder) -> bool:
        """Keep the account from trading with itself; return True if that ends the taker."""
        match self._taker.self_trade_prevention:
            case SelfTradePrevention.EXPIRE_TAKER:
                return True
            case SelfTradePrevention.EXPIRE_MAKER:
                self._end(maker, EndReason.SELF_TRADE)
                return False
            case SelfTradePrevention.EXPIRE_BOTH:
                self._end(maker, EndReason.SELF_TRADE)
                return True
            case SelfTradePrevention.DECREMENT:
                return self._decrement(maker)
            case SelfTradePrevention.NONE:
                raise AssertionError("`none` lets them trade")
            case mode:
                assert_never(mode)

    def _decrement(self, maker: LiveOrder) -> bool:
        # The smaller of the two ends and keeps its total on show, like any order that ends with
        # something left; only an order that lives on has a new, smaller total.
        taker = self._taker
        maker_lots = maker.quantity_lots - maker.filled_lots
        taker_lots = taker.quantity_lots - taker.filled_lots
        if maker_lots <= taker_lots:
            self._end(maker, EndReason.SELF_TRADE)
        else:
            self._reduce(maker, taker_lots)
        if taker_lots <= maker_lots:
            return True
        self._reduce(taker, maker_lots)
        return False

    def _reduce(self, order: LiveOrder, lots: int) -> None:
        order.quantity_lots -= lots
        self._funds.hold(order, self._funds.needs(order))
        self._stamp(order)
        self._events.append(OrderReduced(order.view()))

    def _end(self, maker: LiveOrder, reason: EndReason) -> None:
        self._stamp(maker)
        self._book.remove(maker)
        self._live.remove(maker)
        self._funds.release(maker)
        self._events.append(OrderEnded(maker.view(STATUS_OF_REASON[reason]), reason))

    def _stamp(self, order: LiveOrder) -> None:
        order.updated_at_us = self._taker.updated_at_us
        order.sequence = self._taker.sequence
