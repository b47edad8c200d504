"""What must be signed, and whether a signature is still good for it.

Whether a signature is a key's at all is found before: this file knows no bodies and no bytes.

Rules of this file:

- In a market of signed orders nothing that its owner did not sign places, changes or ends an order:
  a node can neither forge nor alter what a trader asked, nor end it.
- Who may register signing keys, change such a market or freeze an account could do all of that. So
  once an operator has a signing key as well, these are signed, too.
"""

from __future__ import annotations

from raft_exchange.matching.limits import SIGNATURE_WINDOW_US
from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAfter,
    CancelAll,
    CancelOrder,
    ChangeAccount,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateKey,
    KeyKind,
    PlaceOco,
    PlaceOrder,
    RejectCode,
    ReplaceOrder,
    RevokeKey,
)
from raft_exchange.matching.nonces import UsedNonce
from raft_exchange.matching.state import State

UNSIGNED = CommandRefused(RejectCode.UNAUTHENTICATED, "signature")


def refuse_unsigned(state: State, command: Command) -> CommandRefused | None:
    """Refuse a command that must be signed and was not. O(1), but for cancels of all markets."""
    if not state.signed_markets:
        return None
    is_refused = _moves_signed_orders(state, command) or (
        bool(state.keys.signing_operators) and _opens_a_way(state, command)
    )
    return UNSIGNED if is_refused else None


def _moves_signed_orders(state: State, command: Command) -> bool:
    signed = state.signed_markets
    match command:
        case PlaceOrder(market=market):
            return market in signed
        case PlaceOco(limit=limit, stop=stop):
            return limit.market in signed or stop.market in signed
        case ReplaceOrder(account=account, order_id=order_id, order=order):
            return order.market in signed or _is_signed(state, account, order_id, "")
        case AmendOrder(account=account, order_id=order_id):
            return _is_signed(state, account, order_id, "")
        case CancelOrder(account=account, order_id=order_id, client_order_id=label):
            return _is_signed(state, account, order_id, label)
        case CancelAll(account=account, market=market):
            own = state.live.accounts.get(account)
            return market in signed if market else bool(own and signed & own.by_market.keys())
        case CancelAfter():
            return True  # it ends what is placed later, wherever that may be
    return False


def _is_signed(state: State, account: str, order_id: int, label: str) -> bool:
    order = state.owned(account, order_id) if order_id else state.labelled(account, label)
    return not isinstance(order, CommandRefused) and order.market in state.signed_markets


def _opens_a_way(state: State, command: Command) -> bool:
    """Say whether who sends it could have signed orders placed or ended by it."""
    match command:
        case ChangeMarket(market=market):
            return market in state.signed_markets
        case ChangeAccount():
            return True
        case CreateKey(key_kind=kind, replaces=replaced):
            return kind is KeyKind.ED25519 or _signs(state, replaced)
        case RevokeKey(key_id=key_id):
            return _signs(state, key_id)
    return False


def _signs(state: State, key_id: str) -> bool:
    held = state.keys.get(key_id)
    return held is not None and held.key.kind is KeyKind.ED25519


def use_signature(
    state: State, key_id: str, *, timestamp_us: int, nonce: str
) -> CommandRefused | None:
    """Refuse a signature whose time is not now, or that was taken before; else it is taken. O(1).

    A refused one has changed nothing.
    """
    if abs(state.time_us - timestamp_us) > SIGNATURE_WINDOW_US:
        return CommandRefused(RejectCode.SIGNATURE_EXPIRED, "timestamp")
    if state.nonces.has(key_id, nonce):
        return CommandRefused(RejectCode.NONCE_REUSED, "nonce")
    if state.nonces.is_full:
        return CommandRefused(RejectCode.LIMIT_REACHED, "nonce")
    state.nonces.add(UsedNonce(key_id, nonce, state.time_us))
    return None
