"""Commands of two parts, both or neither: two legs of which one ends the other; one for another.

Every guard of both parts comes before the first write.
"""

from __future__ import annotations

from raft_exchange.matching.entry import accept, admitted, entry_hold
from raft_exchange.matching.messages import (
    CommandRefused,
    EndReason,
    Event,
    PlaceOco,
    RejectCode,
    ReplaceOrder,
)
from raft_exchange.matching.orders import LiveOrder
from raft_exchange.matching.shapes import LIMIT_LEG, STOP_LEG, refuse_pair, refuse_place_shape
from raft_exchange.matching.state import State


def place_oco(state: State, command: PlaceOco) -> list[Event]:
    """Refuse two legs, or place both: the stop first, so that a fill of the limit order ends it."""
    if (refused := refuse_pair(command)) is not None:
        return [refused]
    stop = admitted(state, command.stop)
    if isinstance(stop, CommandRefused):
        return [CommandRefused(stop.code, STOP_LEG + stop.field)]
    limit = admitted(state, command.limit, joining=2)
    if isinstance(limit, CommandRefused):
        return [CommandRefused(limit.code, LIMIT_LEG + limit.field)]
    market = state.markets[limit.market]
    needed, needed_by_stop = entry_hold(limit, market), entry_hold(stop, market)
    refused = market.funds.refuse_hold(limit, max(needed, needed_by_stop))
    if refused is not None:
        return [CommandRefused(refused.code, LIMIT_LEG + refused.field)]
    # From here on nothing can fail.
    limit.oco_order_id, stop.oco_order_id = stop.order_id, limit.order_id
    events: list[Event] = []
    accept(state, stop, max(needed_by_stop - needed, 0), events=events)
    accept(state, limit, needed, events=events)
    return events


def replace(state: State, command: ReplaceOrder) -> list[Event]:
    """Refuse to put a new order in the place of a live one, or do both: end and place."""
    if command.order.account != command.account:
        return [CommandRefused(RejectCode.INVALID_COMBINATION, "account")]
    if (refused := refuse_place_shape(command.order, state.time_us)) is not None:
        return [refused]
    old = state.owned(command.account, command.order_id)
    if isinstance(old, CommandRefused):
        return [old]
    new = admitted(state, command.order, leaving=old)
    if isinstance(new, CommandRefused):
        return [new]
    funds = state.markets[new.market].funds
    freed = _freed(state, old, funds.asset(new.side))
    amount = _replaced_hold(state, new, old, freed=freed)
    if (refused := funds.refuse_hold(new, amount - freed)) is not None:
        return [refused]
    # From here on nothing can fail.
    events: list[Event] = []
    state.end(old, EndReason.REPLACED, events)
    accept(state, new, amount, events=events)
    return events


def _replaced_hold(state: State, new: LiveOrder, old: LiveOrder, *, freed: int) -> int:
    """Return what `new` has to hold when it comes in for `old`.

    The other leg of `old` ends before `new` meets the book, so what it costs without that leg is
    what it can owe. What it would cost with the leg counts where that is more: this was once all
    that was looked at, and the refusals that came of it are replayed.
    """
    market = state.markets[new.market]
    amount = entry_hold(new, market, leaving_ids=(old.order_id,), freed=freed)
    if not old.oco_order_id:
        return amount
    legs = (old.order_id, old.oco_order_id)
    return max(amount, entry_hold(new, market, leaving_ids=legs, freed=freed))


def _freed(state: State, old: LiveOrder, asset: str) -> int:
    """Return what the end of `old`, and of its other leg with it, sets free of `asset`."""
    if state.markets[old.market].funds.asset(old.side) != asset:
        return 0
    other = state.live.by_id.get(old.oco_order_id)
    return old.held + (other.held if other is not None else 0)
