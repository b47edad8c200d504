"""What a leader knows of one follower's log, and what it may send next.

Rules: `match_index` only grows within a term; `next_index` > `match_index` always. Two states, as
in etcd's raft: PROBE, one message outstanding until the logs are known to meet, and REPLICATE,
messages pipelined up to a bound. A lost connection or a rejected message leads back to PROBE.
The stock library steps back one index per round trip and lets late replies overwrite each other;
here a rejection names where the logs may still agree, and replies to other messages are ignored.
"""

from __future__ import annotations

from typing import Final

IN_FLIGHT_BYTES_MAX: Final = 4 * 1024 * 1024
"""How far the leader runs ahead of a follower's acknowledgements."""


class Progress:
    """The replication state of one follower. Pure; times are the owner's monotonic seconds."""

    def __init__(self, *, last_index: int, now_s: float) -> None:
        self.match_index = 0  # nothing is known yet; index 1 is the same on every member
        self.next_index = last_index + 1
        self.commit_index_sent = 0
        self.has_room = True  # on its disk, as it said last
        self.heard_at_s = now_s
        self.said_at_s = float("-inf")  # what was heard last, at the earliest
        self.sent_at_s = float("-inf")
        self.is_probing = True
        self._probe_outstanding = False
        self._in_flight: list[tuple[int, int]] = []  # (last index of the message, bytes)
        self._in_flight_bytes = 0

    def may_send_entries(self) -> bool:
        """Return whether a message with entries may leave now."""
        if self.is_probing:
            return not self._probe_outstanding
        return self._in_flight_bytes < IN_FLIGHT_BYTES_MAX

    @property
    def bytes_in_flight(self) -> int:
        """Return what was sent and is not acknowledged."""
        return self._in_flight_bytes

    def sent(self, *, last_index: int, size_bytes: int, now_s: float) -> None:
        """Note a message that carried entries up to `last_index`, or none (size 0)."""
        self.sent_at_s = now_s
        if self.is_probing:
            self._probe_outstanding = True
        elif size_bytes:
            self.next_index = last_index + 1
            self._in_flight.append((last_index, size_bytes))
            self._in_flight_bytes += size_bytes

    def accepted(self, match_index: int) -> bool:
        """Note that the follower holds the leader's log up to `match_index`.

        Returns whether that is news.
        """
        is_news = match_index > self.match_index
        self.match_index = max(self.match_index, match_index)
        self.next_index = max(self.next_index, self.match_index + 1)
        self.is_probing = False
        self._probe_outstanding = False
        kept = [(index, size) for index, size in self._in_flight if index > match_index]
        self._in_flight = kept
        self._in_flight_bytes = sum(size for _, size in kept)
        return is_news

    def rejected(self, *, previous_index: int, hint_index: int) -> None:
        """Note that the logs differ at `previous_index` and may agree at `hint_index`.

        Stale rejections (of a message before the newest probe, or below what matches) are ignored.
        """
        if self.is_probing:
            if previous_index != self.next_index - 1:
                return
            assert hint_index >= 1, "the first entry is the same on every member"
            next_index = max(self.match_index + 1, min(previous_index, hint_index + 1))
            # No way further back: this follower lost what it had acknowledged. Ask again at the
            # pace of heartbeats, not of the network.
            self._probe_outstanding = next_index == self.next_index
            self.next_index = next_index
        elif previous_index > self.match_index:
            self.probe()

    def probe(self) -> None:
        """Start over from what is known to match: after a rejection or a lost connection."""
        self.is_probing = True
        self._probe_outstanding = False
        if self.match_index:
            self.next_index = self.match_index + 1
        self._in_flight = []
        self._in_flight_bytes = 0

    def retry_probe(self) -> None:
        """Allow the outstanding probe to be sent again: its answer is overdue."""
        self._probe_outstanding = False
