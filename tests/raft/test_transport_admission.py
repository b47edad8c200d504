"""Bounds in time: buckets, failing addresses, log lines."""

from __future__ import annotations

import logging

import pytest

from raft_exchange.raft.admission import (
    ADDRESSES_MAX,
    LOG_BURST,
    BoundedLog,
    FailureLimiter,
    TokenBucket,
)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Three at once, then two a second, never more than three again."""
    bucket = TokenBucket(3, 2, now_s=10)
    assert [bucket.take(now_s=10) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(now_s=10.5) for _ in range(2)] == [True, False]
    assert [bucket.take(now_s=1_000) for _ in range(4)] == [True, True, True, False]


def test_an_address_is_blocked_after_its_burst_and_heard_again_later() -> None:
    """Others are not concerned."""
    limiter = FailureLimiter(burst=3, per_s=1)
    for _ in range(3):
        assert not limiter.blocks("10.0.0.1", now_s=0)
        limiter.failed("10.0.0.1", now_s=0)
    assert limiter.blocks("10.0.0.1", now_s=0)
    assert not limiter.blocks("10.0.0.2", now_s=0)
    assert limiter.blocks("10.0.0.1", now_s=0.9)
    assert not limiter.blocks("10.0.0.1", now_s=1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    """An IPv6 host has its whole /64; an IPv4 address may come in IPv6 clothes."""
    limiter = FailureLimiter(burst=1, per_s=1)
    limiter.failed(one, now_s=0)
    assert limiter.blocks(other, now_s=0) is same


def test_the_table_of_addresses_is_bounded() -> None:
    """The one that failed longest ago is forgotten; the newest are known."""
    limiter = FailureLimiter(burst=1, per_s=0.001)
    addresses = [f"10.{i >> 8}.{i & 255}.1" for i in range(ADDRESSES_MAX + 10)]
    for address in addresses:
        limiter.failed(address, now_s=0)
    assert len(limiter) == ADDRESSES_MAX
    assert not limiter.blocks(addresses[9], now_s=0)
    assert limiter.blocks(addresses[10], now_s=0)
    assert limiter.blocks(addresses[-1], now_s=0)


def test_log_lines_are_held_back_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A flood leaves a burst of lines, and later one that says how many are missing."""
    now_s = 0.0
    log = BoundedLog(logging.getLogger("test"), clock_s=lambda: now_s)
    for _ in range(LOG_BURST + 500):
        log.write(logging.WARNING, "refused %s", "somebody")
    assert len(caplog.records) == LOG_BURST
    now_s = 1.0
    log.write(logging.WARNING, "refused %s", "somebody")
    assert caplog.messages[-1] == "refused somebody (500 lines before this were held back)"
