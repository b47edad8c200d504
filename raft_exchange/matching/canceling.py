"""How orders are ended early: by their owner, one or all; by the logged clock."""

from __future__ import annotations

from raft_exchange.matching.limits import CANCEL_AFTER_US_MAX, TIME_US_MAX
from raft_exchange.matching.messages import (
    AdvanceTime,
    AllCanceled,
    CancelAfter,
    CancelAfterElapsed,
    CancelAfterSet,
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
    events: list[Event] = []
    state.end(order, EndReason.CANCELED_BY_OWNER, events)
    return events


def cancel_all(state: State, command: CancelAll) -> list[Event]:
    """End the live orders of the account that the command means, oldest first."""
    if command.account not in state.live.accounts:
        return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
    if command.market is not None and command.market not in state.markets:
        return [CommandRefused(RejectCode.UNKNOWN_MARKET, "market")]
    orders = state.live.of_account(command.account, command.market, side=command.side)
    events = state.end_all(orders, EndReason.CANCELED_BY_OWNER)
    events.append(AllCanceled(len(events)))
    return events


def cancel_after(state: State, command: CancelAfter) -> list[Event]:
    """Arm or disarm the dead-man switch of the account."""
    if not 0 <= command.after_us <= CANCEL_AFTER_US_MAX:
        return [CommandRefused(RejectCode.OUT_OF_RANGE, "after_us")]
    if command.account not in state.live.accounts:
        return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
    cancel_at_us = state.time_us + command.after_us if command.after_us else 0
    if cancel_at_us > TIME_US_MAX:
        return [CommandRefused(RejectCode.OUT_OF_RANGE, "after_us")]
    state.live.arm(command.account, cancel_at_us)
    return [CancelAfterSet(command.account, cancel_at_us)]


def advance_time(state: State, command: AdvanceTime) -> list[Event]:
    """Move the logged clock and end what is due: orders first, then those of dead-man switches."""
    if not 0 <= command.time_us <= TIME_US_MAX:
        return [CommandRefused(RejectCode.OUT_OF_RANGE, "time_us")]
    state.time_us = max(state.time_us, command.time_us)
    state.nonces.expire(now_us=state.time_us)
    events: list[Event] = [TimeAdvanced(state.time_us)]
    events += state.end_all(state.live.due(state.time_us), EndReason.TIME_EXPIRED)
    for _, account in state.live.switches(state.time_us):
        state.live.arm(account, 0)
        orders = state.live.of_account(account, None, side=None)
        ends = state.end_all(orders, EndReason.CANCEL_AFTER)
        events += [*ends, CancelAfterElapsed(account, len(ends))]
    return events
