"""The messages of streams: their types, from which they are encoded and described.

Every message says its `type` and a `sequence`. Messages of a channel whose content is a change
also name the `previous_sequence`, that of the change before in the same channel: who sees another
one than it had last has missed something. A snapshot has none. Both count what happened to the
channel, not to the node, and are the same on every node.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from raft_exchange.gateway.account_answers import BalanceView, FillView
from raft_exchange.gateway.prices import CandleView, TickerView
from raft_exchange.gateway.rendering import OrderView, TradeView

Level = tuple[str, str, int]
"""Price, quantity and number of orders; "0" and 0 in a delta: the level is gone.

A level that came and went since the message before may be named as gone without having been there.
"""


class BookMessage(msgspec.Struct, frozen=True):
    """The book, or the levels of it that changed, best first; a delta has their present size.

    `checksum` is the CRC-32 (as zlib computes it) of the ten best levels of each side after this
    message: ASCII text `price:quantity` of the bids, best first, then of the asks, joined by `:`.
    `truncated`: the snapshot leaves out levels further from the best price than all it names.
    """

    type: Literal["snapshot", "delta"]
    channel: str
    market: str
    sequence: int
    previous_sequence: int | None
    time: str
    bids: list[Level]
    asks: list[Level]
    checksum: int
    truncated: bool


class TradesMessage(msgspec.Struct, frozen=True):
    """Trades, oldest first: the last ones as a snapshot, afterwards the new ones."""

    type: Literal["snapshot", "trade"]
    channel: str
    market: str
    sequence: int
    previous_sequence: int | None
    trades: list[TradeView]


class TickerMessage(msgspec.Struct, frozen=True):
    """The ticker as a whole; there is nothing to miss between two of them."""

    type: Literal["ticker"]
    channel: str
    sequence: int
    ticker: TickerView


class CandlesMessage(msgspec.Struct, frozen=True):
    """Candles, oldest first: the last ones as a snapshot, afterwards those that changed."""

    type: Literal["snapshot", "candle"]
    channel: str
    market: str
    interval: str
    sequence: int
    previous_sequence: int | None
    candles: list[CandleView]


class OrdersMessage(msgspec.Struct, frozen=True):
    """The caller's orders: the live ones, newest first, as a snapshot; then each new state.

    `truncated`: the account has more live orders than the snapshot names.
    """

    type: Literal["snapshot", "order"]
    channel: str
    account: str
    sequence: int
    previous_sequence: int | None
    orders: list[OrderView]
    truncated: bool


class FillsMessage(msgspec.Struct, frozen=True):
    """The caller's side of trades, oldest first: the last ones as a snapshot, then the new ones."""

    type: Literal["snapshot", "fill"]
    channel: str
    account: str
    sequence: int
    previous_sequence: int | None
    fills: list[FillView]


class BalancesMessage(msgspec.Struct, frozen=True):
    """What the caller has, by asset: everything as a snapshot, then what changed, as it is now."""

    type: Literal["snapshot", "balance"]
    channel: str
    account: str
    sequence: int
    previous_sequence: int | None
    balances: dict[str, BalanceView]


class Heartbeat(msgspec.Struct, frozen=True):
    """Nothing is missing up to `sequence`."""

    type: Literal["heartbeat"]
    sequence: int
    time: str


class Resync(msgspec.Struct, frozen=True):
    """What came after the sequence asked for is forgotten here: forget it too; snapshots follow."""

    type: Literal["resync"]
    sequence: int
    reason: Literal["too_old"]
    channels: list[str]


class GoingAway(msgspec.Struct, frozen=True):
    """The node stops soon: resume on another one."""

    type: Literal["going_away"]
    sequence: int


class CutOff(msgspec.Struct, frozen=True):
    """The node ends this stream; resume, and read faster."""

    type: Literal["cut_off"]
    sequence: int
    reason: Literal["slow_reader"]


Message = (
    BookMessage
    | TradesMessage
    | TickerMessage
    | CandlesMessage
    | OrdersMessage
    | FillsMessage
    | BalancesMessage
    | Heartbeat
    | Resync
    | GoingAway
    | CutOff
)
