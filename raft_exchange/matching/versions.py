"""Which version of the exchange brought what, and how a later release writes for an earlier one.

Rules.

* The replicated state carries the *active* version, from 1. It names everything a replica does
  with an entry: which commands, fields and values there are, and how they behave.
* A release reads all versions up to its `newest`. Everything written into the log, the digests and
  the state is written in the active version, so that replicas of two releases write the same bytes.
* What came after version 1 stands in `since`: a message class, `(class, "field")` or
  `(enum, "MEMBER")`. A later field is appended, and its default means "as before".
* A command that needs more than the active version is refused before the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAfter,
    ChangeAccount,
    ChangeMarket,
    CreateKey,
    Deposit,
    EndReason,
    MarketRules,
    Order,
    OrderType,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    RevokeKey,
    TradeExecuted,
    Withdraw,
)
from raft_exchange.matching.records import MarketRecord, OrderRecord, StateRecord


class NewerVersion(Exception):
    """Written by a later release; the message names both versions and says what to do."""


def refuse_newer(what: str, version: int, newest: int) -> None:
    """Raise where `version` is later than this release reads.

    Raises:
        NewerVersion: nothing was changed; a later release goes on from here.
    """
    if version > newest:
        raise NewerVersion(
            f"{what} is of version {version}; this release reads versions up to {newest}: "
            "run the later release on this node, its data is untouched"
        )


_encoder = msgspec.msgpack.Encoder()


class Versions(msgspec.Struct, frozen=True):
    """What one release knows: its newest version, and what each version after 1 brought."""

    newest: int
    since: Mapping[object, int]

    def needed_by(self, value: object) -> int:
        """Return the earliest version that can express `value`. O(size)."""
        if isinstance(value, Enum):
            return self.since.get((type(value), value.name), 1)
        if isinstance(value, list | tuple):
            return max(map(self.needed_by, value), default=1)
        if not isinstance(value, msgspec.Struct):
            return 1
        kind = type(value)
        needed = self.since.get(kind, 1)
        for name, default in _fields(kind):
            item = getattr(value, name)
            since = self.since.get((kind, name), 1)
            if since == 1 or item != default:
                needed = max(needed, since, self.needed_by(item))
        return needed

    def encode(self, value: object, version: int) -> bytes:
        """Return the msgpack of `value` as a release of `version` writes it.

        Fast in the newest version; else O(size) in Python.

        Raises:
            AssertionError: `value` needs a later version.
        """
        return _encoder.encode(value if version >= self.newest else self._plain(value, version))

    def _plain(self, value: object, version: int) -> object:
        if isinstance(value, list | tuple):
            return [self._plain(item, version) for item in value]
        if not isinstance(value, msgspec.Struct):
            assert not isinstance(value, Enum) or self.needed_by(value) <= version, value
            return value
        kind = type(value)
        assert kind.__struct_config__.array_like, f"{kind.__name__}: positions are its names"
        assert self.since.get(kind, 1) <= version, f"{kind.__name__} in version {version}"
        tag = kind.__struct_config__.tag
        plain: list[object] = [] if tag is None else [tag]
        for name, default in _fields(kind):
            item = getattr(value, name)
            if self.since.get((kind, name), 1) <= version:
                plain.append(self._plain(item, version))
            else:
                assert item == default, f"{kind.__name__}.{name} in version {version}"
        return plain


def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, object]]:
    """Return name and default of each field, in order; no default is `msgspec.NODEFAULT`."""
    names, defaults = kind.__struct_fields__, kind.__struct_defaults__
    return list(
        zip(names, (msgspec.NODEFAULT,) * (len(names) - len(defaults)) + defaults, strict=True)
    )


_SINCE: Final[dict[object, int]] = {
    CancelAfter: 2,
    ChangeAccount: 2,
    CreateKey: 2,
    RevokeKey: 2,
    **{(MarketRules, field): 2 for field in ("open_orders_max", "notional_max")},
    **{(ChangeMarket, field): 2 for field in ("open_orders_max", "notional_max")},
    (ChangeMarket, "cancel_orders"): 2,
    (ChangeMarket, "signed_orders"): 3,
    (MarketRules, "signed_orders"): 3,
    (StateRecord, "nonces"): 3,
    (EndReason, "CANCELED_BY_OPERATOR"): 2,
    (StateRecord, "decided"): 2,
    Deposit: 2,
    PlaceOco: 2,
    ReplaceOrder: 2,
    Withdraw: 2,
    (MarketRules, "settles"): 2,
    (MarketRules, "maker_fee_e8"): 2,
    (MarketRules, "taker_fee_e8"): 2,
    (AmendOrder, "stop_price_ticks"): 2,
    (ChangeMarket, "maker_fee_e8"): 2,
    (ChangeMarket, "taker_fee_e8"): 2,
    (ChangeMarket, "price_band_ppm"): 2,
    (MarketRules, "price_band_ppm"): 2,
    **{(PlaceOrder, field): 2 for field in ("stop_price_ticks", "display_lots", "quote_value")},
    **{(Order, field): 2 for field in ("stop_price_ticks", "display_lots", "shown_lots")},
    **{(Order, field): 2 for field in ("quote_value", "oco_order_id")},
    **{(OrderType, member): 2 for member in ("STOP", "STOP_LIMIT")},
    (TradeExecuted, "maker_fee"): 2,
    (TradeExecuted, "taker_fee"): 2,
    (OrderRecord, "maker_fee_e8"): 2,
    (OrderRecord, "taker_fee_e8"): 2,
    (OrderRecord, "held"): 2,
    (OrderRecord, "type"): 2,
    **{(OrderRecord, field): 2 for field in ("stop_price_ticks", "display_lots")},
    **{(OrderRecord, field): 2 for field in ("shown_lots", "oco_order_id")},
    (MarketRecord, "last_price_ticks"): 2,
    (MarketRecord, "stops"): 2,
    (StateRecord, "balances"): 2,
    (StateRecord, "transfers"): 2,
    (StateRecord, "switches"): 2,
}

VERSIONS: Final = Versions(newest=3, since=_SINCE)
"""This release. Whoever adds a command, field, value or behaviour raises `newest` once a release
and puts what is new into `since`: sequencer/DESIGN.md says how."""
