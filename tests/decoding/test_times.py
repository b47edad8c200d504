"""RFC 3339 in and out, in whole microseconds."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.decoding.times import NotATime, format_time_us, parse_time_us
from raft_exchange.matching.limits import TIME_US_MAX

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 1_000_000),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("9999-12-31T23:59:59.999999Z", TIME_US_MAX),
    ],
)
def test_a_time_is_microseconds_since_1970(text: str, time_us: int) -> None:
    assert parse_time_us(text) == time_us


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "0", "1700000000", "2023-11-14", "2023-11-14T22:13:20", "20231114T221320Z"),
        *("2023-11-14 22:13:20Z", "2023-13-01T00:00:00Z", "2023-02-30T00:00:00Z"),
        *("2023-11-14T24:00:00Z", "2023-11-14T23:59:60Z", "2023-11-14T22:13:20+25:00"),
        *("2023-11-14T22:13:20.Z", "2023-11-14T22:13:20.1234567890Z", "2023-11-14T22:13:20Z\n"),
        *("٢٠٢٣-11-14T22:13:20Z", "0000-01-01T00:00:00Z", "\ud800"),
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(NotATime):
        parse_time_us(text)


@given(st.text(max_size=45))
def test_garbage_raises_only_its_own_error(text: str) -> None:
    with contextlib.suppress(NotATime):
        parse_time_us(text)


@given(st.integers(0, TIME_US_MAX))
def test_what_is_formatted_reads_back_the_same(time_us: int) -> None:
    text = format_time_us(time_us)
    assert parse_time_us(text) == time_us
    assert len(text) == len("2026-01-31T12:00:00.000000Z")


@given(st.datetimes(timezones=st.timezones()))
def test_both_agree_with_the_standard_library(moment: datetime) -> None:
    """Which is not asked, since what it takes for a time grows with its releases."""
    utc = _utc(moment)
    if utc is None:
        return
    text = utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    time_us = (utc - EPOCH) // timedelta(microseconds=1)
    assert parse_time_us(text) == time_us
    assert format_time_us(time_us) == text


def _utc(moment: datetime) -> datetime | None:
    with contextlib.suppress(OverflowError):  # before year 1, after 9999
        return moment.astimezone(UTC)
    return None


@given(st.datetimes(), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_an_offset_is_taken_off(moment: datetime, offset_minutes: int) -> None:
    sign, (hours, minutes) = "-" if offset_minutes < 0 else "+", divmod(abs(offset_minutes), 60)
    local = moment.isoformat(timespec="microseconds")
    local_us = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    text = f"{local}{sign}{hours:02d}:{minutes:02d}"
    assert parse_time_us(text) == local_us - offset_minutes * 60_000_000
