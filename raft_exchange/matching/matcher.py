"""One taker against one book: trades, self-trade prevention, and the dry walk of fill-or-kill.

Rules of this file:

- The best price first, then the earlier order; a trade happens at the maker's price.
- A partial fill leaves the maker where it stands; an iceberg whose tranche is used up goes to the
  back of its level with the next one.
- Where taker and maker have one account, the *taker's* mode decides. Trades made before stand.
- A market order goes no further from the last trade than the market's price band, if it has one.
- A quote-sized taker buys whole lots while its value lasts.
- Every maker touched is stamped with the taker's time and sequence: they belong to one command.
- Each step appends its events at once, so that their order is the order of what happened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, assert_never

from raft_exchange.matching.filters import price_band
from raft_exchange.matching.messages import (
    CommandRefused,
    EndReason,
    Event,
    OrderReduced,
    OrderReplenished,
    RejectCode,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradeExecuted,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.outlook import Offer, is_fillable, offers
from raft_exchange.matching.state import Market, State

_ALLOWED: Final = SelfTradePrevention.NONE


def refuse_entry(
    order: LiveOrder, market: Market, *, leaving: LiveOrder | None = None
) -> CommandRefused | None:
    """Refuse a new order for what the book holds right now, but the order that it replaces."""
    if order.post_only and _would_take(order, market, leaving):
        return CommandRefused(RejectCode.WOULD_TAKE, "price_ticks")
    if order.time_in_force is TimeInForce.FOK and not _is_fillable(order, market, leaving):
        return CommandRefused(RejectCode.UNFILLABLE, "quantity_lots")
    return None


def _would_take(order: LiveOrder, market: Market, leaving: LiveOrder | None) -> bool:
    makers = market.book.opposite(order.side)
    if leaving is None or leaving.side is order.side:
        return makers.reached_by(order.price_ticks)
    reachable = makers.orders(makers.key_limit(order.price_ticks))
    return any(maker is not leaving for maker in reachable)


def _is_fillable(taker: LiveOrder, market: Market, leaving: LiveOrder | None) -> bool:
    leaving_ids = () if leaving is None else (leaving.order_id,)
    return is_fillable(taker, found_by(taker, market, leaving_ids=leaving_ids))


def found_by(
    taker: LiveOrder, market: Market, *, leaving_ids: Collection[int] = ()
) -> Iterator[Offer]:
    """Yield what `taker` would find in the book as it is, but for orders that end before it."""
    makers = market.book.opposite(taker.side)
    reachable = makers.orders(_key_limit(taker, market))
    return offers(taker, reachable, leaving_ids=leaving_ids)


def may_meet(taker: LiveOrder, market: Market) -> bool:
    """Say whether `taker` has to look into the book: False for one whose price meets nobody. O(1).

    Most orders that come to rest are of that kind.
    """
    makers = market.book.opposite(taker.side)
    best, price_ticks = makers.best, taker.price_ticks
    return best is not None and (not price_ticks or best.key <= makers.key_limit(price_ticks))


def _key_limit(taker: LiveOrder, market: Market) -> int:
    """Return the last key of the other side at which `taker` trades."""
    price_ticks = taker.price_ticks
    if not price_ticks:
        lowest, highest = price_band(market.rules, market.book.last_price_ticks)
        price_ticks = highest if taker.side is Side.BUY else lowest
    return market.book.opposite(taker.side).key_limit(price_ticks)


class Match:
    """The way of one taker, which is in no index, through the other side of a book.

    The taker holds what it needs; the market's funds move it, fill by fill.
    """

    __slots__ = ("_book", "_events", "_funds", "_market", "_state", "_taker")

    def __init__(
        self, taker: LiveOrder, market: Market, *, state: State, events: list[Event]
    ) -> None:
        self._taker = taker
        self._market = market
        self._book = market.book
        self._funds = market.funds
        self._state = state
        self._events = events

    def run(self) -> EndReason | None:
        """Trade as far as price and size reach; append what happens to the events.

        Returns:
            Why the taker ended, None if some of it is left; the caller lets it rest or expire.
        """
        taker = self._taker
        makers = self._book.opposite(taker.side)
        price_ticks = taker.price_ticks
        key_limit = (
            makers.key_limit(price_ticks) if price_ticks else _key_limit(taker, self._market)
        )
        prevents = taker.self_trade_prevention is not _ALLOWED
        while (level := makers.best) is not None and level.key <= key_limit:
            maker = level.first
            if taker.quote_value and not self._taker_lots(maker.price_ticks):
                return EndReason.FILLED if taker.filled_lots else EndReason.REMAINDER_EXPIRED
            if prevents and maker.account == taker.account:
                if self._prevent(maker):
                    return EndReason.SELF_TRADE
            else:
                self._fill(maker)
                if taker.filled_lots == taker.quantity_lots:
                    return EndReason.FILLED
        return None

    def _taker_lots(self, price_ticks: int) -> int:
        """Return how many lots the taker still wants, or can pay for, at this price."""
        taker = self._taker
        lots = taker.quantity_lots - taker.filled_lots
        if taker.quote_value:
            value_max = self._funds.value_within(taker, taker.quote_value)
            return min(lots, (value_max - taker.filled_value) // price_ticks)
        return lots

    def _fill(self, maker: LiveOrder) -> None:
        taker, book = self._taker, self._book
        rest_lots = maker.quantity_lots - maker.filled_lots
        maker_lots = maker.shown_lots if maker.display_lots else rest_lots
        lots = taker.quantity_lots - taker.filled_lots
        if taker.quote_value:
            lots = self._taker_lots(maker.price_ticks)
        if maker_lots < lots:
            lots = maker_lots
        assert lots > 0, "every fill brings the command nearer to its end"
        value = maker.price_ticks * lots
        for order in (maker, taker):
            order.filled_lots += lots
            order.filled_value += value
        self._state.stamp(maker)
        maker_fee, taker_fee = "0", "0"
        if self._funds.is_on or maker.maker_fee_e8 or taker.taker_fee_e8:
            maker_fee, taker_fee = map(
                str, self._funds.settle(maker, taker, price_ticks=maker.price_ticks, lots=lots)
            )
        book.trade_id += 1
        book.last_price_ticks = maker.price_ticks
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
                maker_fee,
                taker_fee,
            )
        )
        if maker.oco_order_id or taker.oco_order_id:
            self._state.end_other_leg(maker, self._events)
            self._state.end_other_leg(taker, self._events)
        if lots == rest_lots:
            self._state.end(maker, EndReason.FILLED, self._events)
        elif maker.display_lots:
            self._show_less(maker, lots)

    def _show_less(self, maker: LiveOrder, lots: int) -> None:
        maker.shown_lots -= lots
        if maker.shown_lots:
            return
        self._book.remove(maker)
        self._book.append(maker)
        self._events.append(OrderReplenished(maker.view()))

    def _prevent(self, maker: LiveOrder) -> bool:
        """Keep the account from trading with itself; return True if that ends the taker."""
        match self._taker.self_trade_prevention:
            case SelfTradePrevention.EXPIRE_TAKER:
                return True
            case SelfTradePrevention.EXPIRE_MAKER:
                self._state.end(maker, EndReason.SELF_TRADE, self._events)
                return False
            case SelfTradePrevention.EXPIRE_BOTH:
                self._state.end(maker, EndReason.SELF_TRADE, self._events)
                return True
            case SelfTradePrevention.DECREMENT:
                return self._decrement(maker)
            case SelfTradePrevention.NONE:
                raise AssertionError("`none` lets them trade")
            case mode:
                assert_never(mode)

    def _decrement(self, maker: LiveOrder) -> bool:
        # The smaller of the two ends and keeps its total on show, like any order that ends with
        # something left; only an order that lives on has a new, smaller total. Hidden size counts:
        # both orders are one owner's.
        maker_lots = maker.quantity_lots - maker.filled_lots
        taker_lots = self._taker_lots(maker.price_ticks)
        if maker_lots <= taker_lots:
            self._state.end(maker, EndReason.SELF_TRADE, self._events)
        else:
            self._reduce(maker, taker_lots)
        if taker_lots <= maker_lots:
            return True
        if self._taker.quote_value:
            self._taker.quote_value -= maker_lots * maker.price_ticks
            self._reduce(self._taker, 0)
        else:
            self._reduce(self._taker, maker_lots)
        return False

    def _reduce(self, order: LiveOrder, lots: int) -> None:
        order.quantity_lots -= lots
        if order.shown_lots:
            order.shown_lots = min(order.shown_lots, order.quantity_lots - order.filled_lots)
        self._state.rehold(order)
        self._state.stamp(order)
        self._events.append(OrderReduced(order.view()))
