"""Bencode: the examples of the specification, round trips, and garbage."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grape.bencode import (
    BENCODE_BYTES_MAX,
    DEPTH_MAX,
    INTEGER_DIGITS_MAX,
    BencodeError,
    Value,
    decode,
    encode,
)

NUMBER_MAX = 10**INTEGER_DIGITS_MAX - 1

values = st.recursive(
    st.integers(-NUMBER_MAX, NUMBER_MAX) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=8), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, b"i0e"),
        (-42, b"i-42e"),
        (b"", b"0:"),
        (b"spam", b"4:spam"),
        ([b"spam", 42], b"l4:spami42ee"),
        ({b"foo": 1, b"bar": [b""]}, b"d3:barl0:e3:fooi1ee"),
    ],
)
def test_each_type_has_one_form(value: Value, data: bytes) -> None:
    assert encode(value) == data
    assert decode(data) == value


@given(values)
def test_what_is_encoded_is_decoded(value: Value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=200))
def test_garbage_raises_only_its_own_error(data: bytes) -> None:
    with contextlib.suppress(BencodeError):
        value = decode(data)
        assert decode(encode(value)) == value


@given(values, st.data())
def test_a_damaged_value_raises_only_its_own_error(value: Value, data: st.DataObject) -> None:
    good = bytearray(encode(value))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BencodeError):
        decode(bytes(good))


def test_what_follows_the_value_is_ignored() -> None:
    assert decode(b"i1egarbage") == 1


def test_keys_may_come_in_any_order() -> None:
    assert decode(b"d1:bi1e1:ai2ee") == {b"a": 2, b"b": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i",
        b"ie",
        b"i-e",
        b"i-0e",
        b"i01e",
        b"i 1e",
        b"i1_0e",
        b"i+1e",
        b"i1",
        b"01:a",
        b"-1:a",
        b"1:",
        b":",
        b"1",
        b"99999:a",
        b"l",
        b"li1e",
        b"d",
        b"d1:a",
        b"di1ei2ee",
        b"d1:ai1e1:ai2ee",
        b"x",
        b"i" + b"9" * (INTEGER_DIGITS_MAX + 1) + b"e",
        b"9" * 100 + b":",
        b"l" * (DEPTH_MAX + 1) + b"e" * (DEPTH_MAX + 1),
        b"d1:a" * 20_000,
        b"4:spam" + b" " * BENCODE_BYTES_MAX,
    ],
)
def test_what_has_no_one_meaning_or_no_bound_is_refused(data: bytes) -> None:
    with pytest.raises(BencodeError):
        decode(data)


def test_the_deepest_value_is_still_read() -> None:
    data = b"l" * DEPTH_MAX + b"e" * DEPTH_MAX
    assert encode(decode(data)) == data
