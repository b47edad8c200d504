"""One transfer as the leader sees it: a window that moves over the bytes of a snapshot.

Two states, as in `progress.py`: ASKING, an offer without data is out and its answer will say where
to go on; SENDING, up to `WINDOW_BYTES` ahead of what was acknowledged. A lost connection, silence
or an answer that takes something back lead to ASKING. Offers also stand for heartbeats. A refusal
is believed: the next attempt waits. Pure; times are the owner's monotonic seconds.
"""

from __future__ import annotations

from typing import Final

from raft_exchange.raft.wire import CHUNK_BYTES_MAX, SnapshotReply, SnapshotStatus

WINDOW_BYTES: Final = 4 * CHUNK_BYTES_MAX
STALL_S: Final = 2.0
REFUSED_RETRY_S: Final = 5.0


class SnapshotSending:
    """The bytes of one snapshot on their way to one follower."""

    def __init__(self, index: int, size_bytes: int, *, now_s: float) -> None:
        self.index = index
        self.acknowledged_bytes = 0
        self.sent_bytes = 0
        self._size_bytes = size_bytes
        self._is_asking = True
        self._asked_at_s = float("-inf")
        self._moved_at_s = now_s
        self._resume_at_s = now_s

    def may_ask(self, now_s: float, *, every_s: float) -> bool:
        """Say whether the follower is to be asked where it is; True is followed by asking it.

        Whatever else it is sent: a follower that is up to date is sent entries all the time.
        """
        if not self._is_asking or now_s - self._asked_at_s < every_s:
            return False
        self._asked_at_s = now_s
        return True

    def next_span(self, now_s: float) -> tuple[int, int] | None:
        """Return offset and length of what may leave now, if anything may."""
        if now_s - self._moved_at_s > STALL_S:
            self.ask(now_s)
        length = min(
            CHUNK_BYTES_MAX,
            self._size_bytes - self.sent_bytes,
            self.acknowledged_bytes + WINDOW_BYTES - self.sent_bytes,
        )
        if self._is_asking or length <= 0:
            return None
        return self.sent_bytes, length

    def sent(self, length: int) -> None:
        """Note that so many more bytes left."""
        self.sent_bytes += length

    def answered(self, reply: SnapshotReply, *, now_s: float) -> None:
        """Note how much the follower has, or that it does not want it."""
        if reply.status is SnapshotStatus.REFUSED:
            self.acknowledged_bytes = self.sent_bytes = 0
            self._is_asking = True
            self._resume_at_s = now_s + REFUSED_RETRY_S
        elif self._is_asking or not self.acknowledged_bytes <= reply.offset <= self.sent_bytes:
            self.acknowledged_bytes = self.sent_bytes = min(reply.offset, self._size_bytes)
            self._is_asking = now_s < self._resume_at_s
            self._moved_at_s = now_s
        elif reply.offset > self.acknowledged_bytes:
            self.acknowledged_bytes = reply.offset
            self._moved_at_s = now_s

    def ask(self, now_s: float) -> None:
        """Start over from where the follower says it is."""
        self._is_asking = True
        self._moved_at_s = now_s

    def is_moving(self, now_s: float) -> bool:
        """Say whether the follower acknowledged anything lately."""
        return not self._is_asking and now_s - self._moved_at_s <= STALL_S
