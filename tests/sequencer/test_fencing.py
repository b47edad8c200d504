"""The mark in the data folder, and the hash from a forked child."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from raft_exchange.sequencer import hashing
from raft_exchange.sequencer.fence import FILE_NAME, FenceFile
from raft_exchange.sequencer.hashing import ForkedHasher

WAIT_S_MAX = 20.0


def test_a_fence_stands_across_restarts_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fence = FenceFile(tmp_path)
    assert not fence.is_up
    fence.put_up("the hash of the state at entry 7")
    assert fence.is_up
    caplog.clear()
    again = FenceFile(tmp_path)
    assert again.is_up
    assert "entry 7" in caplog.text
    (tmp_path / FILE_NAME).unlink()
    assert not FenceFile(tmp_path).is_up


def test_members_seen_to_differ_are_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fence = FenceFile(tmp_path)
    fence.note("n2", 40)
    assert fence.divergences == 1
    assert not fence.is_up
    assert "member n2 differs at entry 40" in caplog.text


def answer(hasher: ForkedHasher) -> tuple[int, bytes] | None:
    deadline_s = time.monotonic() + WAIT_S_MAX
    while (found := hasher.poll()) is None and hasher.is_busy:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    return found


def test_the_hash_is_of_the_state_as_it_stood() -> None:
    state = [b"before"]

    def encode() -> bytes:
        time.sleep(0.05)  # the parent has gone on by now
        return state[0]

    hasher = ForkedHasher()
    assert hasher.start(7, encode)
    state[0] = b"after"
    assert not hasher.start(8, encode), "one at a time"
    assert answer(hasher) == (7, hashlib.sha256(b"before").digest())
    assert hasher.poll() is None, "once"


def test_a_child_that_fails_gives_no_hash() -> None:
    def encode() -> bytes:
        raise SystemExit

    hasher = ForkedHasher()
    assert hasher.start(7, encode)
    assert answer(hasher) is None
    assert hasher.start(8, lambda: b"")
    assert answer(hasher) == (8, hashlib.sha256(b"").digest())


def test_where_no_descriptor_is_to_be_had_there_is_no_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    hasher = ForkedHasher()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", refuse)
        assert not hasher.start(7, lambda: b"")
    assert not hasher.is_busy
    assert hasher.start(8, lambda: b"")
    assert answer(hasher) == (8, hashlib.sha256(b"").digest())


def test_a_child_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "HASH_S_MAX", 0.05)

    def encode() -> bytes:
        time.sleep(WAIT_S_MAX)
        return b""

    hasher = ForkedHasher()
    assert hasher.start(7, encode)
    assert answer(hasher) is None
    assert not hasher.is_busy


def test_no_descriptor_is_left_behind() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    hasher = ForkedHasher()
    for index in range(5):
        assert hasher.start(index, lambda: b"x")
        answer(hasher)
    assert hasher.start(6, lambda: b"x")
    hasher.stop()
    assert count() == before
