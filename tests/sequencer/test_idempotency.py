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
