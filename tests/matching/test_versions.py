"""Writing for an earlier release: what is new is left out while it says nothing, else refused."""

from __future__ import annotations

from enum import IntEnum

import msgspec
import pytest

from raft_exchange.matching.versions import NewerVersion, Versions, refuse_newer


class Kind(IntEnum):
    OLD = 0
    NEW = 1


class Part(msgspec.Struct, frozen=True, array_like=True):
    size: int
    colour: str = ""  # since version 2


class OldThing(msgspec.Struct, frozen=True, array_like=True, tag="thing"):
    kind: Kind
    parts: tuple[Part, ...]
    note: str | None = None  # since version 2
    weight: int = 0  # since version 3


class NewThing(msgspec.Struct, frozen=True, array_like=True, tag="new"):
    size: int


SINCE = {
    (Kind, "NEW"): 2,
    (Part, "colour"): 2,
    (OldThing, "note"): 2,
    (OldThing, "weight"): 3,
    NewThing: 2,
}
RELEASE_3 = Versions(3, SINCE)
OLD = OldThing(Kind.OLD, (Part(1), Part(2)))


def test_what_uses_nothing_new_needs_the_first_version() -> None:
    assert RELEASE_3.needed_by(OLD) == 1


@pytest.mark.parametrize(
    ("value", "needed"),
    [
        (OldThing(Kind.NEW, ()), 2),
        (OldThing(Kind.OLD, (Part(1), Part(2, "red"))), 2),
        (OldThing(Kind.OLD, (), note="n"), 2),
        (OldThing(Kind.OLD, (), weight=1), 3),
        (OldThing(Kind.NEW, (), weight=1), 3),
        (NewThing(1), 2),
        ([OLD, NewThing(1)], 2),
    ],
)
def test_a_new_class_field_or_value_needs_its_version(value: object, needed: int) -> None:
    assert RELEASE_3.needed_by(value) == needed


def test_the_bytes_for_an_earlier_release_are_those_it_would_write() -> None:
    """Positions are names: one field more and the earlier release refuses the whole entry."""
    assert msgspec.msgpack.decode(RELEASE_3.encode(OLD, 1)) == ["thing", 0, [[1], [2]]]
    assert msgspec.msgpack.decode(RELEASE_3.encode(OLD, 2)) == [
        *("thing", 0),
        [[1, ""], [2, ""]],
        None,
    ]


def test_the_newest_version_is_the_plain_encoding() -> None:
    assert RELEASE_3.encode(OLD, 3) == msgspec.msgpack.encode(OLD)


def test_what_an_earlier_release_wrote_is_read_with_the_defaults() -> None:
    assert msgspec.msgpack.decode(RELEASE_3.encode(OLD, 1), type=OldThing) == OLD


@pytest.mark.parametrize(
    "value", [NewThing(1), OldThing(Kind.NEW, ()), OldThing(Kind.OLD, (), "n")]
)
def test_nothing_new_is_ever_left_out_silently(value: object) -> None:
    with pytest.raises(AssertionError):
        RELEASE_3.encode(value, 1)


def test_the_refusal_names_both_versions_and_what_to_do() -> None:
    refuse_newer("an entry", 3, 3)
    with pytest.raises(NewerVersion, match=r"version 4; .* up to 3: run the later release"):
        refuse_newer("an entry", 4, 3)
