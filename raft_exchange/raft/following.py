"""How a follower's log meets its leader's: compare, then append; truncate only what differs.

The stock library deletes whatever follows the message's previous entry, equal or not, so that a
message sent twice can delete what was acknowledged in between.
"""

from __future__ import annotations

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.wire import AppendEntries


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


def append_missing(log: Journal, commit_index: int, message: AppendEntries) -> int:
    """Append what the log lacks; return the index up to which it now equals the leader's."""
    for entry in message.entries:
        if entry.index <= log.last_index:
            if entry.index <= commit_index:
                _check_same(log, entry.index, entry.term)
                continue
            if log.term_at(entry.index) == entry.term:
                continue
            log.truncate_from(entry.index)
        assert entry.index == log.last_index + 1, "entries are without a gap"
        log.add(entry.command, entry.index, entry.term)
    return message.previous_index + len(message.entries)
