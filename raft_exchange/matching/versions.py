"""How a struct looked to a release that knows fewer fields of it.

Fields are only ever appended, with a default that means "as before". `short` leaves out appended
fields that hold their default, from the end: what is left is what the release before them wrote,
byte for byte. So what says only old things never looks new: an old release reads it, and old logs
give the hashes they always gave.
"""

from __future__ import annotations

from typing import Final

import msgspec

from raft_exchange.matching.messages import MarketRules

FIELDS_OF_VERSION_1: Final[dict[type[msgspec.Struct], int]] = {MarketRules: 11}
"""How many fields a struct had in version 1, of those that have more now."""


def short(struct: msgspec.Struct) -> list[object]:
    """Return the fields of an untagged array struct without those that say "as before"."""
    values = list(msgspec.structs.astuple(struct))
    appended = len(values) - FIELDS_OF_VERSION_1[type(struct)]
    for default in type(struct).__struct_defaults__[: -appended - 1 : -1]:
        if values[-1] != default:
            break
        values.pop()
    return values


def is_of_version_1(struct: msgspec.Struct) -> bool:
    """Say whether `struct` says nothing that version 1 could not say."""
    return len(short(struct)) == FIELDS_OF_VERSION_1[type(struct)]
