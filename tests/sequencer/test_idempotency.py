"""The idempotency window: bounded by time and by counts, oldest out first; equal to a list."""

import random

import pytest

from raft_exchange.matching.messages import (
    AccountCreated,
    CommandRefused,
    CreateAccount,
    RejectCode,
)
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.sequencer.idempotency import (
    IdempotencyWindow,
    Stored,
    decode_events,
    fingerprint,
)


def stored(account: str, key: str, time_us: int = 0) -> Stored:
    return Stored(account, key, b"f", 1, time_us, b"")


def test_a_key_belongs_to_its_account() -> None:
    window = IdempotencyWindow()
    window.put(stored("a", "k"))
    assert window.get("a", "k") is not None
    assert window.get("b", "k") is None


def test_a_key_leaves_when_the_window_has_passed_and_not_before() -> None:
    window = IdempotencyWindow(window_us=100)
    window.put(stored("a", "k", time_us=50))
    window.expire(now_us=149)
    assert window.get("a", "k") is not None
    window.expire(now_us=150)
    assert window.get("a", "k") is None


def test_newer_keys_of_an_account_push_out_its_oldest_and_nobody_elses() -> None:
    window = IdempotencyWindow(keys_per_account_max=2)
    for account, key in (("b", "first"), ("a", "1"), ("a", "2"), ("a", "3")):
        window.put(stored(account, key))
    assert window.get("a", "1") is None
    assert [s.key for s in window.entries()] == ["first", "2", "3"]


def test_newer_keys_of_the_cluster_push_out_the_oldest_of_all() -> None:
    window = IdempotencyWindow(keys_max=2, keys_per_account_max=2)
    for number in range(3):
        window.put(stored(f"a{number}", "k"))
    assert [s.account for s in window.entries()] == ["a1", "a2"]


def of_bytes(account: str, key: str, size_bytes: int) -> Stored:
    return Stored(account, key, b"f", 1, 0, bytes(size_bytes))


def test_large_results_push_out_the_oldest_of_their_account_then_of_all() -> None:
    window = IdempotencyWindow(bytes_max=100, bytes_per_account_max=60)
    for account, key, size_bytes in (
        ("b", "1", 30),
        ("b", "2", 20),
        ("a", "1", 30),
        ("a", "2", 20),
    ):
        window.put(of_bytes(account, key, size_bytes), bounds_bytes=True)
    window.put(of_bytes("a", "3", 40), bounds_bytes=True)  # for which 30 of its own have to go,
    left = [(s.account, s.key) for s in window.entries()]  # and then 30 of whoever is the oldest
    assert left == [("b", "2"), ("a", "2"), ("a", "3")]
    window.check()


def test_a_result_that_is_larger_than_the_bound_is_remembered_alone() -> None:
    window = IdempotencyWindow(bytes_max=100, bytes_per_account_max=60)
    window.put(of_bytes("b", "1", 10), bounds_bytes=True)
    window.put(of_bytes("a", "1", 10), bounds_bytes=True)
    window.put(of_bytes("a", "2", 500), bounds_bytes=True)
    assert [s.key for s in window.entries()] == ["2"]
    window.put(of_bytes("b", "2", 1), bounds_bytes=True)
    assert [(s.account, s.key) for s in window.entries()] == [("b", "2")]
    window.check()


def test_before_the_version_that_bounds_them_bytes_do_not_count() -> None:
    window = IdempotencyWindow(bytes_max=100, bytes_per_account_max=60)
    for number in range(5):
        window.put(of_bytes("a", str(number), 50))
    assert len(window) == 5
    window.put(of_bytes("a", "5", 0), bounds_bytes=True)
    assert len(window) == 2, "the first that is bounded makes room"
    window.check()


@pytest.mark.parametrize("seed", range(20))
def test_the_window_equals_a_plain_list(seed: int) -> None:
    """A list filtered at each step is obviously right; the window must never differ from it."""
    rng = random.Random(seed)
    window = IdempotencyWindow(keys_max=12, keys_per_account_max=5, window_us=30)
    plain: list[Stored] = []
    now_us = 0
    for step in range(400):
        now_us += rng.randrange(4)
        window.expire(now_us=now_us)
        plain = [s for s in plain if s.time_us > now_us - 30]
        new = stored(rng.choice("abcd"), f"k{step}", now_us)
        of_account = [s for s in plain if s.account == new.account]
        if len(of_account) == 5:
            plain.remove(of_account[0])
        if len(plain) == 12:
            plain.pop(0)
        plain.append(new)
        window.put(new)
        window.check()
        assert window.entries() == plain


def test_stored_events_come_back_as_they_were() -> None:
    events = [AccountCreated("a"), CommandRefused(RejectCode.NOT_OPEN, "order_id")]
    assert decode_events(VERSIONS.encode(list(events), 1)) == tuple(events)


def test_another_command_or_batch_has_another_fingerprint() -> None:
    assert fingerprint(CreateAccount("a"), 0) == fingerprint(CreateAccount("a"), 0)
    assert fingerprint(CreateAccount("a"), 0) != fingerprint(CreateAccount("b"), 0)
    assert fingerprint(CreateAccount("a"), 0) != fingerprint(CreateAccount("a"), 1)
