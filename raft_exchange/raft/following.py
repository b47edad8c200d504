"""How a follower's log meets its leader's: compare, then append; truncate only what differs.

Configurations in the log count from where they are appended, until they are truncated again.

The stock library deletes whatever follows the message's previous entry, equal or not, so that a
message sent twice can delete what was acknowledged in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from pysyncobj.node import Node

from raft_exchange.raft.elections import Elections, Met
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import CONFIGURATION
from raft_exchange.raft.membership import Configuration, History
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.seat import Seat, monotonic_s
from raft_exchange.raft.wire import AppendEntries, AppendReply

SCAN_BYTES: Final = 1024 * 1024
SCAN_ENTRIES: Final = 4_096

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Configuration)


class HistoriesDiffer(RuntimeError):
    """This member has committed something else than its leader: it must stop, not follow.

    No fault that Raft survives leads here; two clusters in one, or a folder restored beside a
    living cluster, do.
    """


def _check_same(log: Journal, index: int, term: int) -> None:
    """Assert that what is committed here is what the leader has there."""
    held = log.term_at(index)
    if held is not None and held != term:
        raise HistoriesDiffer(
            f"entry {index} is committed here in term {held}, at the leader in term {term}"
        )


def conflict(log: Journal, commit_index: int, message: AppendEntries) -> int | None:
    """Return None if the logs meet at the message's previous entry, else where they may.

    Skips a whole run of the conflicting term: one round trip for each term, not for each entry.
    """
    if message.previous_index > log.last_index:
        return log.last_index
    if message.previous_index <= commit_index:
        _check_same(log, message.previous_index, message.previous_term)
        return None  # committed entries are the same on every member
    term = log.term_at(message.previous_index)
    if term == message.previous_term:
        return None
    index = message.previous_index
    while index > commit_index and log.term_at(index) == term:
        index -= 1
    return index


def append_missing(
    log: Journal, commit_index: int, message: AppendEntries, history: History
) -> int:
    """Append what the log lacks; return the index up to which it now equals the leader's."""
    for entry in message.entries:
        if entry.index <= log.last_index:
            if entry.index <= commit_index:
                _check_same(log, entry.index, entry.term)
                continue
            if log.term_at(entry.index) == entry.term:
                continue
            log.truncate_from(entry.index)
            history.truncate_from(entry.index)
        assert entry.index == log.last_index + 1, "entries are without a gap"
        log.add(entry.command, entry.index, entry.term)
        if entry.command[:1] == CONFIGURATION:
            history.add(entry.index, decode_configuration(entry.command))
    return message.previous_index + len(message.entries)


def encode_configuration(configuration: Configuration) -> bytes:
    """Return the command of an entry that says who the members are."""
    return CONFIGURATION + _encoder.encode(configuration)


def decode_configuration(command: bytes) -> Configuration:
    """Return what such a command says.

    Raises:
        ValueError: not of a format that this release reads; the member has to stop.
    """
    return _decoder.decode(command[1:])


def configurations(log: Journal) -> Iterator[tuple[int, Configuration]]:
    """Yield what the log that is held says of its members, with the indexes. O(entries)."""
    index = log.first_index
    while index <= log.last_index:
        for command, at, _ in log.entries_from(index, bytes_max=SCAN_BYTES, count_max=SCAN_ENTRIES):
            if command[:1] == CONFIGURATION:
                yield at, decode_configuration(command)
            index = at + 1


class Following:
    """One member's part in replication while another leads."""

    def __init__(
        self,
        seat: Seat,
        history: History,
        elections: Elections,
        outbox: Outbox,
        *,
        has_room: Callable[[], bool],
    ) -> None:
        self.met = Met(0, float("-inf"))
        self._seat = seat
        self._history = history
        self._elections = elections
        self._outbox = outbox
        self._has_room = has_room

    def receive(self, node: Node, message: AppendEntries) -> None:
        """Take entries, or a heartbeat, of whoever leads; answer when they are stored."""
        seat, log = self._seat, self._seat.log
        if message.term < seat.term:
            # Without an answer a deposed leader would learn of its fate late.
            self._answer(node, message, success=False, match_index=seat.commit_index)
            return
        self._elections.hear_leader(node, message.term)
        hint_index = conflict(log, seat.commit_index, message)
        if hint_index is not None:
            self._answer(node, message, success=False, match_index=hint_index)
            return
        match_index = append_missing(log, seat.commit_index, message, self._history)
        if log.term_at(message.commit_index) == message.term:
            self.met = Met(message.commit_index, seat.attention.said_at_s(monotonic_s()))
        # Only what was compared with the leader's log may be committed on its word.
        if min(message.commit_index, match_index) > seat.commit_index:
            seat.commit(min(message.commit_index, match_index))
        self._answer(node, message, success=True, match_index=match_index)

    def _answer(
        self, node: Node, message: AppendEntries, *, success: bool, match_index: int
    ) -> None:
        reply = AppendReply(
            self._seat.term, message.previous_index, success, match_index, self._has_room()
        )
        self._outbox.send_after_sync(node, reply)
