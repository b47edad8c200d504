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

import operator
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, EnumType
from typing import Final, NamedTuple

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


class _Layout(NamedTuple):
    """How the fields of a message class stand to one version: those it has, and those after it.

    `kept` and `later` give a message's values of either, in order; `unsaid` is what `later` gives
    of a message that says nothing new. `sinces` and `names` are of the later fields.
    `open` gives those of `kept` whose type does not promise that every version can express them;
    `places` are their positions behind the tag.
    """

    tag: tuple[object, ...]
    kept: Callable[[object], tuple[object, ...]]
    open: Callable[[object], tuple[object, ...]]
    places: tuple[int, ...]
    later: Callable[[object], tuple[object, ...]]
    unsaid: tuple[object, ...]
    sinces: tuple[int, ...]
    names: tuple[str, ...]


class Versions(msgspec.Struct, frozen=True):
    """What one release knows: its newest version, and what each version after 1 brought."""

    newest: int
    since: Mapping[object, int]
    _layouts: dict[tuple[type, int], _Layout] = msgspec.field(default_factory=dict)

    def needed_by(self, value: object) -> int:
        """Return the earliest version that can express `value`. O(size)."""
        if isinstance(value, Enum):
            return self.since.get((type(value), value.name), 1)
        if isinstance(value, _SEQUENCES):
            return max(map(self.needed_by, value), default=1)
        if not isinstance(value, msgspec.Struct):
            return 1
        kind = type(value)
        layout = self._layout(kind, 1)
        needed = self.since.get(kind, 1)
        for item in layout.open(value):
            needed = max(needed, self.needed_by(item))
        later = layout.later(value)
        if later != layout.unsaid:
            for item, default, since in zip(later, layout.unsaid, layout.sinces, strict=True):
                if item != default:
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
        if isinstance(value, _SEQUENCES):
            return [self._plain(item, version) for item in value]
        if not isinstance(value, msgspec.Struct):
            assert not isinstance(value, Enum) or self.needed_by(value) <= version, value
            return value
        kind = type(value)
        layout = self._layout(kind, version)
        assert self.since.get(kind, 1) <= version, f"{kind.__name__} in version {version}"
        later = layout.later(value)
        assert later == layout.unsaid, (
            f"{kind.__name__}.{_first_said(layout, later)} in version {version}"
        )
        plain = [*layout.tag, *layout.kept(value)]
        for place in layout.places:
            plain[place] = self._plain(plain[place], version)
        return plain

    def _layout(self, kind: type[msgspec.Struct], version: int) -> _Layout:
        layout = self._layouts.get((kind, version))
        if layout is None:
            layout = self._layouts[kind, version] = self._make_layout(kind, version)
        return layout

    def _make_layout(self, kind: type[msgspec.Struct], version: int) -> _Layout:
        assert kind.__struct_config__.array_like, f"{kind.__name__}: positions are its names"
        names, defaults = kind.__struct_fields__, kind.__struct_defaults__
        of = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        tag = kind.__struct_config__.tag
        kept = [name for name in names if self.since.get((kind, name), 1) <= version]
        later = [name for name in names if self.since.get((kind, name), 1) > version]
        hints = typing.get_type_hints(kind)
        opened = [name for name in kept if not self._is_plain(hints[name])]
        return _Layout(
            () if tag is None else (tag,),
            _getter(kept),
            _getter(opened),
            tuple(kept.index(name) + (tag is not None) for name in opened),
            _getter(later),
            tuple(of[name] for name in later),
            tuple(self.since[kind, name] for name in later),
            tuple(later),
        )

    def _is_plain(self, hint: object) -> bool:
        """Whether every version can express all values of a field of this type: most are such."""
        if isinstance(hint, types.UnionType):
            return all(map(self._is_plain, hint.__args__))
        if isinstance(hint, EnumType):
            return not any((hint, name) in self.since for name in hint.__members__)
        return hint in _PLAIN


_PLAIN: Final = frozenset({int, str, bytes, bool, type(None)})
_SEQUENCES: Final = (list, tuple)


def _getter(names: Sequence[str]) -> Callable[[object], tuple[object, ...]]:
    if not names:
        return _nothing
    get = operator.attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)


def _nothing(value: object) -> tuple[object, ...]:
    return ()


def _first_said(layout: _Layout, later: tuple[object, ...]) -> str:
    said = zip(layout.names, later, layout.unsaid, strict=True)
    return next(name for name, item, default in said if item != default)


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
