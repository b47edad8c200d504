"""JSON in: bytes -> an object, and the fields of an object one by one.

Rules:
- A number keeps its text (`Number`) until `decimals` reads it; nothing passes through a float.
- A name twice in one object is refused: two programs could read two different orders from it.
- Unknown names are refused, with the known ones: a misspelt `post_only` must not be ignored.
- `null` is the same as absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, TypeVar

from raft_exchange.decoding.decimals import (
    E18,
    NotANumber,
    OffGrid,
    format_e18,
    parse_e36,
    parse_steps,
)
from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.times import NotATime, parse_time_us
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import FEE_E8_MAX, INT64_MAX

Json = Mapping[str, object]
T = TypeVar("T")

NUMBER_FORM: Final = "a decimal number such as 100.25, as a string or a JSON number"
TIME_FORM: Final = "an RFC 3339 time such as 2030-01-31T12:00:00Z"
NAME_FORM: Final = "1 to 32 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"


DEPTH_MAX: Final = 32
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
"""A string, or all the rest where it does not end, which is no JSON: a quote always matches, so
that each character is looked at once, whatever a stranger sends."""
_BRACKET: Final = re.compile(r"[\[\]{}]")


class Number(str):
    """A JSON number, as its text: told apart from a JSON string by its type."""

    __slots__ = ()


class _NotJson(ValueError):
    pass


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotJson("a name appears twice in one object")
    return members


def _constant(text: str) -> object:
    raise _NotJson(f"{text} is no JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_constant
)


def _is_too_deep(text: str) -> bool:
    """Say whether arrays and objects of a JSON text stand in each other beyond `DEPTH_MAX`.

    The decoder recurses, and how far it can is a matter of the process it runs in: replicas would
    differ over a text that only some of them could read.
    """
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        if bracket in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                return True
        else:
            depth -= 1
    return False


def decode_object(body: bytes) -> Json:
    """Return the JSON object in `body`, numbers as `Number`.

    Raises:
        Problem: `bad_json`: not UTF-8, not JSON, nested too deeply, or not an object.
    """
    value = decode_value(body)
    if not isinstance(value, dict):
        raise Problem(ErrorCode.BAD_JSON, "the body must be a JSON object")
    return value


def decode_value(body: bytes) -> object:
    """Return the JSON value in `body`, numbers as `Number`.

    Raises:
        Problem: `bad_json`: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        text = body.decode("utf-8")
        if _is_too_deep(text):
            raise _NotJson(f"nested deeper than {DEPTH_MAX}")
        value: object = _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise Problem(ErrorCode.BAD_JSON, f"the body is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise Problem(ErrorCode.BAD_JSON, str(error)) from None
    return value


def known_fields(body: Json, allowed: tuple[str, ...]) -> None:
    """Refuse names that are not in `allowed`."""
    for name in body:
        if name not in allowed:
            raise Problem(
                ErrorCode.BAD_FIELD,
                "this field is not known here",
                field=name,
                allowed=list(allowed),
            )


def bad_field(body: Json, field: str, allowed: list[str] | str) -> Problem:
    """Return the refusal of one malformed or missing field."""
    value = body.get(field)
    fault = "is missing" if value is None else "cannot be read"
    return Problem(
        ErrorCode.BAD_FIELD, f"{field} {fault}", field=field, value=value, allowed=allowed
    )


def choice(body: Json, field: str, table: Mapping[str, T]) -> T | None:
    """Return the meaning of a word of a closed list; None where it is absent."""
    value = body.get(field)
    if value is None:
        return None
    if type(value) is not str or value not in table:
        raise bad_field(body, field, list(table))
    return table[value]


def required_choice(body: Json, field: str, table: Mapping[str, T]) -> T:
    """Return the meaning of a word of a closed list."""
    found = choice(body, field, table)
    if found is None:
        raise bad_field(body, field, list(table))
    return found


def name(body: Json, field: str) -> str:
    """Return the name of a market or an asset."""
    value = body.get(field)
    if type(value) is not str or not is_name(value):
        raise bad_field(body, field, NAME_FORM)
    return value


def is_label(text: str, length_max: int) -> bool:
    """Say whether `text` is 1 to `length_max` printable ASCII characters."""
    return 0 < len(text) <= length_max and text.isascii() and text.isprintable()


def label(body: Json, field: str, length_max: int) -> str:
    """Return a label of printable ASCII; "" where it is absent."""
    value = body.get(field)
    if value is None:
        return ""
    if type(value) is not str or not is_label(value, length_max):
        raise bad_field(body, field, f"1 to {length_max} printable ASCII characters")
    return value


def flag(body: Json, field: str) -> bool:
    """Return a yes or no; no where it is absent."""
    value = body.get(field)
    if value is None:
        return False
    if type(value) is not bool:
        raise bad_field(body, field, ["true", "false"])
    return value


def time_us(body: Json, field: str) -> int:
    """Return a time in microseconds; 0 where it is absent."""
    value = body.get(field)
    if value is None:
        return 0
    if type(value) is not str:
        raise bad_field(body, field, TIME_FORM)
    try:
        found_us = parse_time_us(value)
    except NotATime:
        raise bad_field(body, field, TIME_FORM) from None
    if found_us <= 0:  # 0 stands for "none" in a command
        raise Problem(
            ErrorCode.OUT_OF_RANGE, f"{field} is past", field=field, value=value, allowed="later"
        )
    return found_us


def steps(body: Json, field: str, step_e18: int, off_grid: ErrorCode) -> int | None:
    """Return how many steps a decimal is; None where it is absent.

    Raises:
        Problem: `bad_field` for what is no number, `off_grid` for what is no whole step.
    """
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad_field(body, field, NUMBER_FORM)
    try:
        return parse_steps(value, step_e18)
    except NotANumber:
        raise bad_field(body, field, NUMBER_FORM) from None
    except OffGrid:
        raise Problem(
            off_grid,
            f"{field} is no whole number of steps",
            field=field,
            value=value,
            allowed=f"multiples of {format_e18(step_e18)}",
        ) from None


def out_of_range(body: Json, field: str, allowed: str) -> Problem:
    """Return the refusal of a value out of its range."""
    return Problem(
        ErrorCode.OUT_OF_RANGE,
        f"{field} is out of range",
        field=field,
        value=body.get(field),
        allowed=allowed,
    )


def fee_e8(body: Json, field: str) -> int | None:
    """Return a fee, a part of the amount, in units of 10^-8; None where it is absent.

    Raises:
        Problem: `bad_field` or `out_of_range`.
    """
    found = steps(body, field, E18 // 10**8, ErrorCode.OUT_OF_RANGE)
    if found is not None and not 0 <= found <= FEE_E8_MAX:
        raise out_of_range(body, field, "0 to 0.1, a part of the amount, in 8 decimal places")
    return found


def amount_e36(body: Json, field: str) -> int:
    """Return an amount of an asset in units of 10^-36.

    Raises:
        Problem: `bad_field` or `out_of_range`.
    """
    value = body.get(field)
    try:
        return parse_e36(value if isinstance(value, str) else "")
    except NotANumber:
        raise bad_field(body, field, NUMBER_FORM) from None
    except OffGrid:
        raise out_of_range(body, field, "up to 36 decimal places") from None


def notional_max(body: Json, field: str, step_e36: int) -> int | None:
    """Return a largest notional in steps of tick x lot, rounded down; None where it is absent.

    Raises:
        Problem: `bad_field` or `out_of_range`.
    """
    if body.get(field) is None:
        return None
    amount = amount_e36(body, field)
    if amount and not 0 < amount // step_e36 <= INT64_MAX:
        raise out_of_range(body, field, "0 for no limit, or tick x lot to below 2^63 times it")
    return amount // step_e36


def count_max(body: Json, field: str) -> int | None:
    """Return a largest count, 0 for no limit; None where it is absent.

    Raises:
        Problem: `bad_field` or `out_of_range`.
    """
    found = steps(body, field, E18, ErrorCode.OUT_OF_RANGE)
    if found is not None and not 0 <= found <= INT64_MAX:
        raise out_of_range(body, field, "0 for no limit, or a whole number")
    return found
