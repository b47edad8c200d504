"""Bencode: the four types of BitTorrent's wire format <-> bytes.

What a peer sends is bounded before it is believed: size, depth and the digits of every number. The
decoder is as lenient as the grapes in the field (keys in any order, anything after the value) and
strict where two readers could disagree (leading zeros, `-0`, a key twice): the target and the
signature of an item are computed over its re-encoding, which must be one.
"""

from __future__ import annotations

from typing import Final, TypeAlias

BENCODE_BYTES_MAX: Final = 65_536  # no UDP datagram is longer
DEPTH_MAX: Final = 32
INTEGER_DIGITS_MAX: Final = 19  # below 10^19: every signed 64-bit number, and no long division
LENGTH_DIGITS_MAX: Final = 5
assert len(str(BENCODE_BYTES_MAX)) <= LENGTH_DIGITS_MAX, "every possible length can be written"

Value: TypeAlias = int | bytes | list["Value"] | dict[bytes, "Value"]

_INTEGER: Final = ord("i")
_LIST: Final = ord("l")
_DICT: Final = ord("d")
_END: Final = ord("e")


class BencodeError(ValueError):
    """The bytes are not a bencoded value within the bounds."""


def encode(value: Value) -> bytes:
    """Return the one canonical encoding: keys sorted as raw bytes. O(size)."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def decode(data: bytes) -> Value:
    """Return the value at the start of `data`; what follows it is ignored. O(size).

    Raises:
        BencodeError: for everything that is not such a value. Nothing else is ever raised.
    """
    if len(data) > BENCODE_BYTES_MAX:
        raise BencodeError("too long")
    try:
        return _read(data, 0, 0)[0]
    except IndexError:
        raise BencodeError("truncated") from None


def _write(value: Value, parts: list[bytes]) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:" % len(value))
        parts.append(value)
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            parts.append(b"%d:" % len(key))
            parts.append(key)
            _write(value[key], parts)
        parts.append(b"e")
    else:
        assert isinstance(value, list), f"bencode has no {type(value).__name__}"
        parts.append(b"l")
        for item in value:
            _write(item, parts)
        parts.append(b"e")


def _read(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    """Return the value that starts at `at` and the position after it."""
    lead = data[at]
    if lead in (_DICT, _LIST):
        if depth == DEPTH_MAX:
            raise BencodeError("too deep")
        if lead == _DICT:
            return _read_dict(data, at + 1, depth + 1)
        return _read_list(data, at + 1, depth + 1)
    if lead == _INTEGER:
        return _read_integer(data, at + 1)
    return _read_bytes(data, at)


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    colon = data.find(b":", at, at + LENGTH_DIGITS_MAX + 1)
    digits = data[at:colon] if colon >= 0 else b""
    if not digits.isdigit() or (digits[0] == 0x30 and len(digits) > 1):
        raise BencodeError("not a length")
    start = colon + 1
    end = start + int(digits)
    if end > len(data):
        raise BencodeError("truncated")
    return data[start:end], end


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    end = data.find(b"e", at, at + INTEGER_DIGITS_MAX + 2)
    text = data[at:end] if end >= 0 else b""
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > INTEGER_DIGITS_MAX:
        raise BencodeError("not an integer")
    if digits[0] == 0x30 and text != b"0":
        raise BencodeError("an integer has one form")
    return int(text), end + 1


def _read_list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    while data[at] != _END:
        item, at = _read(data, at, depth)
        items.append(item)
    return items, at + 1


def _read_dict(data: bytes, at: int, depth: int) -> tuple[dict[bytes, Value], int]:
    items: dict[bytes, Value] = {}
    while data[at] != _END:
        key, at = _read_bytes(data, at)
        if key in items:
            raise BencodeError("a key stands twice")
        items[key], at = _read(data, at, depth)
    return items, at + 1
