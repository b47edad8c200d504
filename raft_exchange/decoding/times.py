"""RFC 3339 text <-> whole microseconds since 1970, UTC.

Replicas decode what traders signed, so what is a time must be the same under every release of
Python: this is arithmetic of our own, not the standard library's, which learns to read more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_RFC_3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_DAYS_OF_MONTH: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE_MONTH: Final = tuple(sum(_DAYS_OF_MONTH[:month]) for month in range(12))
_SECOND_US: Final = 1_000_000


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
    *clock, fraction, sign, zone_hours, zone_minutes = match.groups()
    year, month, day, hours, minutes, seconds = map(int, clock)
    is_date = year >= 1 and 1 <= month <= 12 and 1 <= day <= _days_of_month(year, month)
    if not is_date or hours > 23 or minutes > 59 or seconds > 59:
        raise NotATime(text)
    zone_s = 0
    if sign:
        if int(zone_hours) > 23 or int(zone_minutes) > 59:
            raise NotATime(text)
        zone_s = 60 * (60 * int(zone_hours) + int(zone_minutes)) * (-1 if sign == "-" else 1)
    days = _days_before_year(year) + _days_before_month(year, month) + day - 1 - _EPOCH_DAYS
    whole_s = 60 * (60 * (24 * days + hours) + minutes) + seconds - zone_s
    return whole_s * _SECOND_US + (int(fraction.ljust(6, "0")[:6]) if fraction else 0)


def format_time_us(time_us: int) -> str:
    """Return `2026-01-31T12:00:00.000000Z`: always microseconds, always UTC.

    `time_us` is in the years 1 to 9999.
    """
    seconds, micros = divmod(time_us, _SECOND_US)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=1_024)
def _second(whole_s: int) -> str:
    days, of_day = divmod(whole_s, 86_400)
    days += _EPOCH_DAYS
    year = days // 366 + 1  # at or before it
    while _days_before_year(year + 1) <= days:
        year += 1
    day, month = days - _days_before_year(year), 12
    while _days_before_month(year, month) > day:
        month -= 1
    day -= _days_before_month(year, month)
    minutes, seconds = divmod(of_day, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{year:04d}-{month:02d}-{day + 1:02d}T{hours:02d}:{minutes:02d}:{seconds:02d}"


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_of_month(year: int, month: int) -> int:
    return _DAYS_OF_MONTH[month - 1] + (month == 2 and _is_leap(year))


def _days_before_month(year: int, month: int) -> int:
    return _DAYS_BEFORE_MONTH[month - 1] + (month > 2 and _is_leap(year))


def _days_before_year(year: int) -> int:
    """Return the days of all years from 1 up to this one."""
    whole = year - 1
    return 365 * whole + whole // 4 - whole // 100 + whole // 400


_EPOCH_DAYS: Final = _days_before_year(1970)
