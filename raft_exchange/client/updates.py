"""What a stream tells, typed, and a book that follows it.

Updates of a channel chain: each names the `previous_sequence` of its channel, and a snapshot names
none. `stream` itself misses nothing, so that a break in the chain would be a fault of the exchange;
`FollowedBook` checks it all the same, with the checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

import msgspec
from sortedcontainers import SortedDict

from raft_exchange.client.account_models import Balance, Fill
from raft_exchange.client.models import Candle, Level, Order, Ticker, Trade

CHECKSUM_LEVELS: Final = 10


class BookUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A book (`snapshot`), or the present size of its levels that changed (`delta`).

    A level of quantity 0 is gone.
    """

    type: str
    channel: str
    market: str
    sequence: int
    previous_sequence: int | None = None
    bids: list[Level]
    asks: list[Level]
    checksum: int
    time: datetime
    truncated: bool = False


class TradesUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Trades, oldest first: the last ones (`snapshot`), then new ones (`trade`)."""

    type: str
    channel: str
    market: str
    sequence: int
    previous_sequence: int | None = None
    trades: list[Trade]


class TickerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The ticker as a whole."""

    type: str
    channel: str
    sequence: int
    ticker: Ticker


class CandlesUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Candles, oldest first: the last ones (`snapshot`), then those that changed (`candle`)."""

    type: str
    channel: str
    market: str
    interval: str
    sequence: int
    previous_sequence: int | None = None
    candles: list[Candle]


class OrdersUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One's own orders: the live ones (`snapshot`), then each new state (`order`)."""

    type: str
    channel: str
    sequence: int
    previous_sequence: int | None = None
    orders: list[Order]


class FillsUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One's own side of trades, oldest first: the last (`snapshot`), then the new ones (`fill`)."""

    type: str
    channel: str
    sequence: int
    previous_sequence: int | None = None
    fills: list[Fill]


class BalancesUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One's own balances by asset: all (`snapshot`), then those that changed (`balance`)."""

    type: str
    channel: str
    sequence: int
    previous_sequence: int | None = None
    balances: dict[str, Balance]


class Resync(msgspec.Struct, frozen=True, kw_only=True):
    """Updates were missed that no node remembers: forget these channels; snapshots follow."""

    type: str
    sequence: int
    channels: list[str]
    reason: str = ""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is missing up to `sequence`."""

    type: str
    sequence: int


class OtherUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An update of a channel that this release has no type for."""

    type: str
    channel: str
    sequence: int
    data: Mapping[str, Any]


Update = (
    BookUpdate
    | TradesUpdate
    | TickerUpdate
    | CandlesUpdate
    | OrdersUpdate
    | FillsUpdate
    | BalancesUpdate
    | Resync
    | Heartbeat
    | OtherUpdate
)

_CHANNELS: Final[Mapping[str, Callable[[bytes], Update]]] = {
    "book": msgspec.json.Decoder(BookUpdate).decode,
    "trades": msgspec.json.Decoder(TradesUpdate).decode,
    "ticker": msgspec.json.Decoder(TickerUpdate).decode,
    "candles": msgspec.json.Decoder(CandlesUpdate).decode,
    "orders": msgspec.json.Decoder(OrdersUpdate).decode,
    "fills": msgspec.json.Decoder(FillsUpdate).decode,
    "balances": msgspec.json.Decoder(BalancesUpdate).decode,
}
_NOTICES: Final[Mapping[str, Callable[[bytes], Update]]] = {
    "resync": msgspec.json.Decoder(Resync).decode,
    "heartbeat": msgspec.json.Decoder(Heartbeat).decode,
}


def decode_update(kind: str, data: bytes) -> Update:
    """Return the update in a message; `kind` is that of its channel.

    Raises:
        msgspec.DecodeError: it is none.
    """
    if kind in _CHANNELS:
        return _CHANNELS[kind](data)
    found = msgspec.json.decode(data, type=dict[str, Any])
    type_ = str(found.get("type"))
    if type_ in _NOTICES:
        return _NOTICES[type_](data)
    sequence = found.get("sequence")
    channel = str(found.get("channel", kind))
    return OtherUpdate(
        type=type_,
        channel=channel,
        sequence=sequence if isinstance(sequence, int) else 0,
        data=found,
    )


class OutOfStep(Exception):
    """A book differs from the exchange's: an update is missing, or the checksum is another one."""


class FollowedBook:
    """A book kept by a stream's `BookUpdate`s; `bids` and `asks` are best first."""

    def __init__(self) -> None:
        self.sequence = 0
        self._bids = SortedDict()
        self._asks = SortedDict()

    def best_bids(self, count: int) -> list[Level]:
        """Return up to `count` bids, best first. O(count)."""
        return [self._bids[price] for price in islice(reversed(self._bids), count)]

    def best_asks(self, count: int) -> list[Level]:
        """Return up to `count` asks, best first. O(count)."""
        return [self._asks[price] for price in islice(self._asks, count)]

    @property
    def bids(self) -> list[Level]:
        """Every bid, best first."""
        return self.best_bids(len(self._bids))

    @property
    def asks(self) -> list[Level]:
        """Every ask, best first."""
        return self.best_asks(len(self._asks))

    def apply(self, update: BookUpdate) -> None:
        """Follow one update.

        Raises:
            OutOfStep: the book cannot be right any more.
        """
        if update.type == "snapshot":
            self._bids.clear()
            self._asks.clear()
        elif update.previous_sequence != self.sequence:
            raise OutOfStep(f"{update.previous_sequence} was missed after {self.sequence}")
        for side, levels in ((self._bids, update.bids), (self._asks, update.asks)):
            for level in levels:
                if level.quantity:
                    side[level.price] = level
                else:
                    side.pop(level.price, None)
        self.sequence = update.sequence
        if self.checksum() != update.checksum:
            raise OutOfStep(f"the checksum at {update.sequence} is not {update.checksum}")

    def checksum(self) -> int:
        """Return the CRC-32 of the ten best levels of each side, as the exchange reckons it."""
        best = (*self.best_bids(CHECKSUM_LEVELS), *self.best_asks(CHECKSUM_LEVELS))
        parts = [f"{number:f}" for level in best for number in (level.price, level.quantity)]
        return zlib.crc32(":".join(parts).encode("ascii"))
