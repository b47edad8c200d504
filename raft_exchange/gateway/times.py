"""RFC 3339 text <-> whole microseconds since 1970, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_RFC_3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class NotATime(ValueError):
    """The text is no RFC 3339 date and time."""


def parse_time_us(text: str) -> int:
    """Return the time in microseconds; digits beyond them are cut off.

    Raises:
        NotATime: not RFC 3339, not a date of the calendar, or a leap second.
    """
    match = _RFC_3339.fullmatch(text) if len(text) <= 40 else None
    if match is None:
        raise NotATime(text)
    date, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        raise NotATime(text) from None
    whole_us = (moment - _EPOCH) // _MICROSECOND
    return whole_us + int(fraction.ljust(6, "0")[:6]) if fraction else whole_us


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def format_time_us(time_us: int) -> str:
    """Return `2026-01-31T12:00:00.000000Z`: always microseconds, always UTC."""
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"
