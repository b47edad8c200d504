"""The exchange: one command in, its events out, nothing else.

Rules of this package:

- `apply` is the only way in. State after = f(state before, command): no clock, no randomness,
  no environment, no order that comes from a hash.
- Guards first, then mutation. Whatever can be refused is refused before the first write, so a
  refused command has changed nothing and gives exactly one event, `CommandRefused`.
- `apply` is total: whatever integers and strings a command holds, it answers with events.
- Every order accepted by a command rests, waits as a stop, or is ended by the same command.
- Time is the logged clock, moved by `AdvanceTime` only and never back. An order with an expiry
  that the clock has reached is not live.

The order of the guards is behaviour that old logs rely on: see DESIGN.md.
"""

from __future__ import annotations

from typing import Final, assert_never

from raft_exchange.matching.administration import (
    change_account,
    change_market,
    create_account,
    create_key,
    create_market,
    revoke_key,
    transfer,
)
from raft_exchange.matching.amending import amend
from raft_exchange.matching.canceling import advance_time, cancel, cancel_after, cancel_all
from raft_exchange.matching.compound import place_oco, replace
from raft_exchange.matching.entry import place
from raft_exchange.matching.keys import HeldKey
from raft_exchange.matching.messages import (
    AccountCommand,
    AdvanceTime,
    AmendOrder,
    CancelAfter,
    CancelAll,
    CancelOrder,
    ChangeAccount,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    Event,
    HouseCommand,
    KeyKind,
    MarketRules,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    RevokeKey,
    Withdraw,
)
from raft_exchange.matching.orders import LiveOrders
from raft_exchange.matching.signatures import refuse_unsigned, use_signature
from raft_exchange.matching.state import Market, State

STOPS_SINCE: Final = 2
"""The version from which on the last price is kept: stops and price bands look at it."""


class Exchange:
    """The replicated state machine: a `State`, and the one way to change it."""

    __slots__ = ("state",)

    def __init__(self, state: State | None = None) -> None:
        self.state = State() if state is None else state

    @property
    def version(self) -> int:
        """The active version (`versions.py`); moved by the sequencer, between two commands."""
        return self.state.version

    @version.setter
    def version(self, version: int) -> None:
        if self.state.version < STOPS_SINCE <= version:
            # Earlier releases have not kept it, so a node that was restored from their snapshot
            # would know another one.
            for market in self.state.markets.values():
                market.book.last_price_ticks = 0
        self.state.version = version

    @property
    def sequence(self) -> int:
        """Commands applied, the refused and the replayed ones included."""
        return self.state.sequence

    @property
    def time_us(self) -> int:
        """The logged clock, microseconds since the epoch."""
        return self.state.time_us

    @property
    def order_id(self) -> int:
        """The last order id given out."""
        return self.state.order_id

    @property
    def markets(self) -> dict[str, Market]:
        """Markets by name; to read."""
        return self.state.markets

    @property
    def live(self) -> LiveOrders:
        """Every account and every live order; to read."""
        return self.state.live

    def apply(self, command: Command) -> list[Event]:
        """Apply the next command of the log and return what happened, at least one event.

        O(log n) for each order that enters, trades or leaves.
        """
        state = self.state
        state.sequence += 1
        events = place(state, command) if type(command) is PlaceOrder else self._dispatch(command)
        if state.ledger.touched:
            events += state.ledger.changes()
        return events

    def _dispatch(self, command: Command) -> list[Event]:
        state = self.state
        match command:
            case PlaceOrder():
                return place(state, command)
            case CancelOrder():
                return cancel(state, command)
            case AmendOrder():
                return amend(state, command)
            case ReplaceOrder():
                return replace(state, command)
            case PlaceOco():
                return place_oco(state, command)
            case CancelAll():
                return cancel_all(state, command)
            case _:
                return self._keep_house(command)

    def _keep_house(self, command: HouseCommand) -> list[Event]:
        state = self.state
        match command:
            case AdvanceTime():
                return advance_time(state, command)
            case CreateAccount():
                return create_account(state, command)
            case CreateMarket():
                return create_market(state, command)
            case ChangeMarket():
                return change_market(state, command)
            case _:
                return self._keep_accounts(command)

    def _keep_accounts(self, command: AccountCommand) -> list[Event]:
        state = self.state
        match command:
            case CancelAfter():
                return cancel_after(state, command)
            case Deposit() | Withdraw():
                return transfer(state, command)
            case ChangeAccount():
                return change_account(state, command)
            case CreateKey():
                return create_key(state, command)
            case RevokeKey():
                return revoke_key(state, command)
            case _:
                assert_never(command)

    def refuse_key(self, key_id: str, command: Command) -> CommandRefused | None:
        """Refuse a command that the key of this id does not authorise by now. Changes nothing."""
        return self.state.keys.refuse(key_id, command)

    def refuse_unsigned(self, command: Command) -> CommandRefused | None:
        """Refuse a command that must be signed, and was not. Changes nothing."""
        return refuse_unsigned(self.state, command)

    def signing_key(self, key_id: str) -> HeldKey | None:
        """Return the key of this id if it signs and is good by now."""
        held = self.state.keys.get(key_id)
        is_good = held is not None and not held.key.revoked_at_us
        return held if is_good and held is not None and held.key.kind is KeyKind.ED25519 else None

    def use_signature(self, key_id: str, *, timestamp_us: int, nonce: str) -> CommandRefused | None:
        """Take a signature, which then was taken; or refuse it, which changes nothing."""
        return use_signature(self.state, key_id, timestamp_us=timestamp_us, nonce=nonce)

    def rules_of_order(self, account: str, order_id: int) -> MarketRules | None:
        """Return the rules of the market in which the account has this live order."""
        order = self.state.owned(account, order_id)
        if isinstance(order, CommandRefused):
            return None
        return self.state.markets[order.market].rules

    def count_command(self) -> None:
        """Give a command its place in the sequence and do nothing: an idempotent replay."""
        self.state.sequence += 1

    def next_due_us(self) -> int | None:
        """Return the logged time at which something happens by itself, None if never. O(1)."""
        return self.state.live.next_due_us()

    def check(self) -> None:
        """Assert every invariant. O(n log n): tests and simulation call it after each step."""
        self.state.check()
