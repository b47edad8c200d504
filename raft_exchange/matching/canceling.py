"""How orders are ended early: by their owner, one or all; by the logged clock."""

from __future__ import annotations

from raft_exchange.matching.limits import TIME_US_MAX
from raft_exchange.matching.messages import (
    AdvanceTime,
    AllCanceled,
    CancelAll,
    CancelOrder,
    CommandRefused,
    EndReason,
    Event,
    RejectCode,
    TimeAdvanced,
)
from raft_exchange.matching.state import State


def cancel(state: State, command: CancelOrder) -> list[Event]:
    """End one live order of the account."""
    if command.order_id != 0:
        order = state.owned(command.account, command.order_id)
    else:
        order = state.labelled(command.account, command.client_order_id)
    if isinstance(order, CommandRefused):
        return [order]
    return [state.end(order, EndReason.CANCELED_BY_OWNER)]


def cancel_all(state: State, command: CancelAll) -> list[Event]:
    """End the live orders of the account that the command means, oldest first."""
    if command.account not in state.live.accounts:
        return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
    if command.market is not None and command.market not in state.markets:
        return [CommandRefused(RejectCode.UNKNOWN_MARKET, "market")]
    orders = state.live.of_account(command.account, command.market, side=command.side)
    events: list[Event] = [state.end(order, EndReason.CANCELED_BY_OWNER) for order in orders]
    events.append(AllCanceled(len(orders)))
    return events


def advance_time(state: State, command: AdvanceTime) -> list[Event]:
    """Move the logged clock and end what is due."""
    if not 0 <= command.time_us <= TIME_US_MAX:
        return [CommandRefused(RejectCode.OUT_OF_RANGE, "time_us")]
    state.time_us = max(state.time_us, command.time_us)
    events: list[Event] = [TimeAdvanced(state.time_us)]
    for order in state.live.due(state.time_us):
        events.append(state.end(order, EndReason.TIME_EXPIRED))
    return events
