"""Exact decimals: the text of a number <-> whole ticks, lots and products of them.

No float and no rounding on the way in. A number is the grammar of JSON, whether it came quoted or
not, so that "41abc", "NaN", "0x10", " 1" and "1_000" are no numbers; its length and exponent are
bounded, so that 1e999999 costs nothing. Values are counted in units of 10^-18 (`_e18`).
"""

from __future__ import annotations

import re
from typing import Final

E18: Final = 10**18
MILLION: Final = 10**6
NUMBER_CHARS_MAX: Final = 64
EXPONENT_MAX: Final = 64
_NUMBER: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?", re.ASCII)


class NotANumber(ValueError):
    """The text is no decimal number within the bounds of this file."""


class OffGrid(ValueError):
    """The number is no whole multiple of the grid's step."""


def parse_steps(text: str, step_e18: int) -> int:
    """Return how many steps of `step_e18` the number in `text` is, exactly.

    Raises:
        NotANumber: not a decimal number, longer than `NUMBER_CHARS_MAX`, or its exponent is
            beyond `EXPONENT_MAX`.
        OffGrid: not a whole number of steps.
    """
    digits, places = _parse(text)
    if places <= 18:
        steps, rest = divmod(digits * _power(18 - places), step_e18)
    else:
        steps, rest = divmod(digits, step_e18 * _power(places - 18))
    if rest:
        raise OffGrid(text)
    return steps


def parse_e36(text: str) -> int:
    """Return the number in `text` in units of 10^-36, exactly.

    Raises:
        NotANumber: as `parse_steps`.
        OffGrid: more than 36 decimal places.
    """
    digits, places = _parse(text)
    if places <= 36:
        return digits * _power(36 - places)
    units, rest = divmod(digits, _power(places - 36))
    if rest:
        raise OffGrid(text)
    return units


def parse_steps_up(text: str, step_e36: int) -> int:
    """Return the least number of steps of `step_e36` (in 10^-36) that is at least `text`.

    Raises:
        NotANumber: as `parse_steps`.
    """
    return -_floor(text, step_e36, sign=-1)


def parse_steps_down(text: str, step_e36: int) -> int:
    """Return the greatest number of steps of `step_e36` (in 10^-36) that is at most `text`.

    Raises:
        NotANumber: as `parse_steps`.
    """
    return _floor(text, step_e36, sign=1)


def _floor(text: str, step_e36: int, *, sign: int) -> int:
    digits, places = _parse(text)
    if places <= 36:
        return sign * digits * _power(36 - places) // step_e36
    return sign * digits // (step_e36 * _power(places - 36))


def _parse(text: str) -> tuple[int, int]:
    """Return (digits, places): the number is digits x 10^-places."""
    match = _NUMBER.fullmatch(text) if len(text) <= NUMBER_CHARS_MAX else None
    if match is None:
        raise NotANumber(text)
    sign, whole, fraction, exponent = match.groups()
    power = int(exponent) if exponent else 0
    if abs(power) > EXPONENT_MAX:
        raise NotANumber(text)
    digits = int(whole + fraction) if fraction else int(whole)
    places = (len(fraction) if fraction else 0) - power
    return (-digits if sign else digits), places


def _power(exponent: int) -> int:
    return int(10**exponent)


def format_e18(value_e18: int) -> str:
    """Return the canonical decimal of a value in 10^-18: no exponent, no trailing zeros."""
    whole, fraction = divmod(value_e18, E18)
    return f"{whole}.{fraction:018d}".rstrip("0") if fraction else str(whole)


def format_e36(value_e36: int) -> str:
    """Return the canonical decimal of a value in 10^-36."""
    whole, fraction = divmod(value_e36, E18 * E18)
    return f"{whole}.{fraction:036d}".rstrip("0") if fraction else str(whole)


def format_ticks(ticks: int, tick_size_e18: int) -> str:
    """Return a price as a decimal."""
    return format_e18(ticks * tick_size_e18)


def format_lots(lots: int, lot_size_e18: int) -> str:
    """Return a quantity as a decimal."""
    return format_e18(lots * lot_size_e18)


def divide_half_even(dividend: int, divisor: int) -> int:
    """Return the nearest integer to the quotient of two positive integers, ties to even."""
    quotient, rest = divmod(dividend, divisor)
    double = 2 * rest
    if double > divisor or (double == divisor and quotient & 1):
        return quotient + 1
    return quotient
