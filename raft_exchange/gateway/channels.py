"""What can be streamed: the names of channels, and which of them a reader may have.

`book:M`, `trades:M`, `ticker:M` and `candles:M:I` are public; `orders`, `fills` and `balances`
are the caller's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.access import Principal
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.reads import market_named
from raft_exchange.marketdata.candles import INTERVALS_US
from raft_exchange.matching.messages import Scope

MARKET_KINDS: Final = ("book", "trades", "ticker")
CANDLES: Final = "candles"
PRIVATE_KINDS: Final = ("orders", "fills", "balances")
KINDS: Final = (*MARKET_KINDS, CANDLES, *PRIVATE_KINDS)
CHANNELS_MAX: Final = 50
"""Channels of one reader."""

FORMS: Final = (
    *(f"{kind}:MARKET" for kind in MARKET_KINDS),
    f"{CANDLES}:MARKET:{'|'.join(INTERVALS_US)}",
    *PRIVATE_KINDS,
)


class Channel(NamedTuple):
    """One stream of messages; `name` is a market, or the account of a private channel."""

    kind: str
    name: str
    interval: str = ""

    @property
    def label(self) -> str:
        """What clients call it."""
        if self.kind in PRIVATE_KINDS:
            return self.kind
        return f"{self.kind}:{self.name}:{self.interval}".rstrip(":")


async def channels_named(context: Context, names: list[str], *, reader: Principal) -> list[Channel]:
    """Return the channels of these names, each once; private ones are those of the reader.

    Raises:
        Problem: `bad_field`, `unknown_market`, this node cannot catch up, or the reader may not
            read what is private.
    """
    if not 0 < len(names) <= CHANNELS_MAX:
        raise _bad_channel(",".join(names), f"1 to {CHANNELS_MAX} channels")
    channels = [_parse(name, reader) for name in names]
    for channel in channels:
        if channel.kind not in PRIVATE_KINDS:
            await market_named(context, channel.name)
    return list(dict.fromkeys(channels))


def _parse(text: str, reader: Principal) -> Channel:
    kind, *rest = text.split(":")
    if kind in PRIVATE_KINDS and not rest:
        reader.demand(Scope.READ)
        return Channel(kind, reader.account)
    if kind in MARKET_KINDS and len(rest) == 1:
        return Channel(kind, rest[0])
    if kind == CANDLES and len(rest) == 2 and rest[1] in INTERVALS_US:
        return Channel(kind, *rest)
    raise _bad_channel(text, list(FORMS))


def _bad_channel(value: str, allowed: list[str] | str) -> Problem:
    return Problem(
        ErrorCode.BAD_FIELD,
        "channels names something that cannot be streamed",
        field="channels",
        value=value,
        allowed=allowed,
    )
