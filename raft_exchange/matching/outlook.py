"""What an order would do if it came now, told from what it would meet: nothing here changes.

Who looks may hold the book (`matcher.py`), or only what the events told of it: a maker is anything
with the terms of an order that rests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from raft_exchange.matching.accounts import Funds
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AccountSettings,
    MarketRules,
    PlaceOrder,
    SelfTradePrevention,
    Side,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.risk import fees_e8

_ALLOWED = SelfTradePrevention.NONE


class Maker(Protocol):
    """An order that rests: its terms, and how much of it is filled and shown."""

    @property
    def order_id(self) -> int: ...  # noqa: D102
    @property
    def account(self) -> str: ...  # noqa: D102
    @property
    def price_ticks(self) -> int: ...  # noqa: D102
    @property
    def quantity_lots(self) -> int: ...  # noqa: D102
    @property
    def filled_lots(self) -> int: ...  # noqa: D102
    @property
    def display_lots(self) -> int: ...  # noqa: D102
    @property
    def shown_lots(self) -> int: ...  # noqa: D102


class Offer(NamedTuple):
    """What a taker finds at one meeting: whose, at what price, how much."""

    account: str
    price_ticks: int
    lots: int


class Outlook(NamedTuple):
    """What a taker would trade: price_ticks x quantity_lots in all, and how many lots."""

    value: int
    lots: int


def new_order(
    command: PlaceOrder, rules: MarketRules, settings: AccountSettings, *, order_id: int
) -> LiveOrder:
    """Return the order that `command` asks for, unstamped; it is nowhere yet and holds nothing."""
    mode = command.self_trade_prevention
    if mode is None:
        anonymous = command.account == ANONYMOUS
        mode = SelfTradePrevention.NONE if anonymous else rules.self_trade_prevention
    maker_fee_e8, taker_fee_e8 = fees_e8(settings, rules)
    order = LiveOrder(
        order_id,
        command.client_order_id,
        command.account,
        command.market,
        command.side,
        command.type,
        command.time_in_force,
        command.price_ticks,
        command.quantity_lots,
        0,
        0,
        command.expires_at_us,
        command.post_only,
        mode,
        0,
        0,
        0,
        maker_fee_e8=maker_fee_e8,
        taker_fee_e8=taker_fee_e8,
    )
    if command.stop_price_ticks or command.display_lots:
        order.stop_price_ticks = command.stop_price_ticks
        order.is_pending = command.stop_price_ticks > 0
        order.display_lots = command.display_lots
    elif command.quote_value:
        order.quote_value = int(command.quote_value)
        order.quantity_lots = rules.quantity_lots_max
    return order


def offers(
    taker: LiveOrder, makers: Iterable[Maker], *, leaving_ids: Collection[int] = ()
) -> Iterator[Offer]:
    """Yield how many lots `taker` would find at each maker, in the order of the meetings.

    What icebergs hide at a price comes after all that is shown there. An own order that the
    taker's mode keeps it from trading with is met once, whole.

    Args:
        taker: the order that comes.
        makers: the other side of the book as far as it trades, in the order of the queues.
        leaving_ids: orders that end before the taker comes.
    """
    prevents = taker.self_trade_prevention is not _ALLOWED
    hidden: list[Offer] = []
    price_ticks = 0
    for maker in makers:
        if maker.price_ticks != price_ticks:
            yield from hidden
            price_ticks, hidden = maker.price_ticks, []
        if maker.order_id in leaving_ids:
            continue
        lots = maker.quantity_lots - maker.filled_lots
        if maker.display_lots and not (prevents and maker.account == taker.account):
            if maker.shown_lots < lots:  # else it hides nothing, and is gone when that is taken
                hidden.append(Offer(maker.account, price_ticks, lots - maker.shown_lots))
            lots = maker.shown_lots
        yield Offer(maker.account, price_ticks, lots)
    yield from hidden


def is_fillable(taker: LiveOrder, found: Iterable[Offer]) -> bool:
    """Say whether trades alone would fill `taker` at once and whole. O(makers walked).

    Own makers do not count: `expire_maker` would remove them and go on, every other mode but
    `none` would end the taker or take from its size.
    """
    missing_lots = taker.quantity_lots
    mode = taker.self_trade_prevention
    for account, _, lots in found:
        if mode is not _ALLOWED and account == taker.account:
            if mode is SelfTradePrevention.EXPIRE_MAKER:
                continue
            return False
        missing_lots -= lots
        if missing_lots <= 0:
            return True
    return False


def outlook(taker: LiveOrder, found: Iterable[Offer], funds: Funds, *, freed: int = 0) -> Outlook:
    """Return what `taker` would trade if it came now, or more than its owner can pay for.

    Own makers are met as they would be: passed over, taken off the size, or the end of it. The
    walk stops where what the owner has free, and `freed` more, does not reach. O(makers walked).
    """
    value_max, lots_max = funds.most(taker, freed=freed)
    missing_lots = taker.quantity_lots - taker.filled_lots
    quote_value, value, traded_lots = taker.quote_value, 0, 0
    mode = taker.self_trade_prevention
    for account, price_ticks, offered_lots in found:
        wanted_lots = missing_lots
        if quote_value:
            left = funds.value_within(taker, quote_value) - value
            wanted_lots = min(missing_lots, left // price_ticks)
        if not wanted_lots or value > value_max or traded_lots > lots_max:
            break
        if mode is _ALLOWED or account != taker.account:
            lots = min(wanted_lots, offered_lots)
            value += price_ticks * lots
            traded_lots += lots
            missing_lots -= lots
        elif mode is SelfTradePrevention.EXPIRE_MAKER:
            continue
        elif mode is not SelfTradePrevention.DECREMENT or wanted_lots <= offered_lots:
            break
        elif quote_value:
            quote_value -= offered_lots * price_ticks
        else:
            missing_lots -= offered_lots
    return Outlook(value, traded_lots)


def entry_hold(order: LiveOrder, found: Iterable[Offer], funds: Funds, *, freed: int = 0) -> int:
    """Return what `order` has to hold when it comes in and finds this, in units of 10^-36.

    Where the owner has less, with `freed` that is about to come back, it is some amount beyond
    what he has. O(1), but O(makers that he could pay for) for a market order whose price, or
    size, is what the book makes of it.
    """
    by_book = order.quote_value or (order.side is Side.BUY and not order.price_ticks)
    if not funds.is_on or order.is_pending or not by_book:
        return funds.needs(order)
    expected = outlook(order, found, funds, freed=freed)
    if order.side is Side.BUY:
        return funds.price_of(order, expected.value)
    return funds.goods_of(order, expected.lots)
