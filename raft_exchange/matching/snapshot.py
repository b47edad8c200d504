"""The machine <-> canonical, versioned bytes, and the hash by which replicas compare.

Canonical means one state, one byte string, both ways: lists are sorted by what is in them (names,
then queue priority), never by how they came to be, and `decode` refuses every byte string that
`encode` would not have written. So equal hashes are equal states, whatever their histories.

Layout: one byte format version, then the msgpack of `_State`. Format 2 appends to the records of
format 1: what a record does not have of it is left out, and a state without any of it is written
in format 1, byte for byte. So a release that reads format 1 only reads every state it could have
made itself, and an old log gives the hash it always gave.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import ANONYMOUS
from raft_exchange.matching.records import (
    FundsRecord,
    MarketRecord,
    funds_record,
    market_record,
    restore_funds,
    restore_market,
)
from raft_exchange.matching.state import State
from raft_exchange.matching.versions import short

FORMAT_VERSION: Final = 2
FIRST_VERSION: Final = 1


class SnapshotError(ValueError):
    """The bytes are not a state of this machine in this format; the message says why."""


class _State(msgspec.Struct, array_like=True):
    sequence: int
    time_us: int
    order_id: int
    accounts: list[str]  # sorted; `anonymous` is one of them
    markets: list[MarketRecord]  # sorted by name
    funds: FundsRecord | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_State)


def encode(exchange: Exchange) -> bytes:
    """Return the canonical bytes of the whole state. O(n log n)."""
    state = exchange.state
    markets = [market_record(state.markets[name]) for name in sorted(state.markets)]
    funds = funds_record(state)
    version = FIRST_VERSION
    fields: list[object] = [
        state.sequence,
        state.time_us,
        state.order_id,
        sorted(state.live.accounts),
        [_shortened(market) for market in markets],
    ]
    if funds is not None:
        fields.append(funds)
        version = FORMAT_VERSION
    elif not all(market.is_of_version_1() for market in markets):
        version = FORMAT_VERSION
    return bytes([version]) + _encoder.encode(fields)


def _shortened(market: MarketRecord) -> list[object]:
    return [short(market.rules), *msgspec.structs.astuple(market)[1:]]


def decode(data: bytes) -> Exchange:
    """Return the machine whose `encode` is `data`. O(n log n).

    Raises:
        SnapshotError: another version, not a state, a state that breaks an invariant of
            `Exchange.check`, or one written in another way than `encode` writes it.
    """
    if not data or data[0] not in (FIRST_VERSION, FORMAT_VERSION):
        raise SnapshotError(f"snapshot format {data[:1].hex() or 'none'}; read are 01 and 02")
    try:
        exchange = _restored(_decoder.decode(memoryview(data)[1:]))
        exchange.check()
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    except AssertionError as error:
        raise SnapshotError(f"a state that cannot be: {error}") from error
    if encode(exchange) != data:
        raise SnapshotError("not the canonical bytes of this state")
    return exchange


def state_hash(exchange: Exchange) -> str:
    """Return the SHA-256, in hex, of the canonical bytes of the whole state. O(n log n)."""
    return hashlib.sha256(encode(exchange)).hexdigest()


def _restored(held: _State) -> Exchange:
    state = State()
    state.sequence = held.sequence
    state.time_us = held.time_us
    state.order_id = held.order_id
    for account in held.accounts:
        if account != ANONYMOUS:  # a new state has it
            state.live.open_account(account)
    for market in held.markets:
        restore_market(state, market)
    if held.funds is not None:
        restore_funds(state, held.funds)
    return Exchange(state)
