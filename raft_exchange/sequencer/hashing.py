"""Hashing the whole state beside the trading: a forked child encodes, hashes and answers.

A million orders take seconds; the parent pays for the fork alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Final

from raft_exchange.raft.child import Child
from raft_exchange.sequencer.notices import DIGEST_BYTES

HASH_S_MAX: Final = 120.0


class HashFailed(Exception):
    """No child could be had, or it did not answer in `HASH_S_MAX`."""


class ForkedHasher:
    """One hash at a time, each in a child of its own."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._index = 0
        self._answer = -1
        self._deadline_s = 0.0

    def start(self, index: int, encode: Callable[[], bytes]) -> bool:
        """Begin to hash what `encode` returns now; return whether a child could be had for it.

        Args:
            index: what the answer is to be known by.
            encode: called in the child.
        """
        if self._child is not None:
            return False
        try:
            answer, writing = os.pipe()
        except OSError:
            return False

        def work() -> None:
            os.write(writing, hashlib.sha256(encode()).digest())

        try:
            self._child = Child(work, keep=writing)
        except OSError:
            os.close(answer)
            return False
        finally:
            os.close(writing)
        self._index, self._answer = index, answer
        self._deadline_s = time.monotonic() + HASH_S_MAX
        return True

    def poll(self) -> tuple[int, bytes] | None:
        """Return, once, the index and the 32 bytes of a hash that is ready."""
        if self._child is None:
            return None
        is_done = self._child.poll()
        if is_done is None:
            if time.monotonic() > self._deadline_s:
                self.stop()
            return None
        self._child = None
        value = os.read(self._answer, DIGEST_BYTES)
        os.close(self._answer)
        return (self._index, value) if is_done and len(value) == DIGEST_BYTES else None

    @property
    def is_busy(self) -> bool:
        """Whether a hash is under way."""
        return self._child is not None

    def stop(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child = None
            os.close(self._answer)
