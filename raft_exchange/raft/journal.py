"""The durable log: what a member of the group must not forget, on disk before it is told.

Rules.

* Changes are made in memory and collected as records; `sync` writes everything collected as one
  block with one write and one fdatasync. **The owner calls `sync` before any message leaves that
  reflects a change** (an acknowledgement, a vote, a request for votes) and before it counts its
  own entries towards a commit.
* A block is valid as a whole or not at all. So after a crash the journal is exactly as it was at
  the end of the last `sync` that returned, or of the one that was under way.
* Nothing is ever overwritten with other bytes. Space comes back by removing whole segments, after
  the record that makes them needless is durable.
* The commit index is a hint: it rides in the next block that is written anyway, never exceeds the
  last entry, and falls back when entries are truncated. So it never vouches for an entry that was
  not there when the group committed it.
* The first `OSError` is the last thing the journal does: from then on every change and every sync
  raises `StorageFailed`. What is in memory may not be on disk, so the process has to end.

The library addresses entries by position, we by index. Position 0 is the base where there is one
(as a no-op with the base's index and term), so `log[0]` and `log[-1]` always answer and the entry
after the base can be compared with its predecessor.

One writer, one thread. Layout: `records`; recovery and what counts as damage: `segments`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, overload

from pysyncobj.journal import Journal as LibraryJournal

from raft_exchange.metrics.durations import Durations
from raft_exchange.raft.entries import Entries, Position
from raft_exchange.raft.records import (
    COMPACT,
    ENTRY,
    RECORD,
    RESET,
    SALT_BYTES,
    STATE,
    TAIL,
    TRUNCATE,
    encode_record,
)
from raft_exchange.raft.recovery import recover
from raft_exchange.raft.segment_writer import SegmentWriter
from raft_exchange.raft.segments import UNFINISHED_SUFFIX, TornTail
from raft_exchange.raft.storage import Directory, StorageFailed
from raft_exchange.raft.wire import COMMAND_BYTES_MAX

SEGMENT_BYTES: Final = 64 * 1024 * 1024
PENDING_BYTES_MAX: Final = 16 * 1024 * 1024
"""More than this is not collected: `add` then syncs by itself, which is early but never wrong."""
VOTE_BYTES_MAX: Final = 256

assert PENDING_BYTES_MAX + COMMAND_BYTES_MAX < SEGMENT_BYTES

Durability = Literal["fsync", "os"]
"""What `sync` waits for: the disk; or only the system, which survives `kill -9` but no power cut.

After a power cut an "os" journal may refuse to open, because blocks are missing in its middle."""

LogEntry = tuple[bytes, int, int]
"""The library's shape of an entry: command, index, term."""

_NO_OP: Final = b"\x01"  # the library's command type; stands for the base at position 0

logger = logging.getLogger(__name__)


class Journal(LibraryJournal):  # type: ignore[misc]  # the library is untyped
    """The log, the term, the vote and the commit index of one member.

    Opening takes the directory's lock, checks every checksum and makes what it found durable once
    more, since the process before may have died between a write and its sync.

    Args:
        directory: used by nobody else; closed with the journal.
        durability: what `sync` waits for.
        segment_bytes: size of a segment; a larger block gets a larger one.

    Raises:
        DirectoryInUse: another process has it open.
        JournalCorrupt: something that was synced cannot be read back.
        StorageFailed: the disk failed.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        durability: Durability = "fsync",
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self._writer = SegmentWriter(
            directory, segment_bytes=segment_bytes, is_synced=durability == "fsync"
        )
        self.sync_durations = Durations()
        self._failure: str | None = None
        self._is_open = True
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._state_is_due = False
        try:
            with self._storage("open"):
                directory.lock()
                self._open()
        except BaseException:
            self._release()
            raise

    def _open(self) -> None:
        for name in self._directory.names():
            if name.endswith(UNFINISHED_SUFFIX):
                self._directory.unlink(name)
        found = recover(self._directory)
        self._entries: Entries = found.entries
        self._term, self._vote, self._commit_index = found.term, found.vote, found.commit_index
        self._last_index_of = found.last_index_of
        self.torn: TornTail | None = found.torn
        """What this opening cut, if anything."""
        self._note_written(self._state_record())
        if found.last_block is None:
            self._writer.begin(os.urandom(SALT_BYTES), self._checkpoint)
        else:
            self._writer.resume_after(found.last_block)
            if self.torn is not None:
                self._writer.begin(found.last_block.segment.salt, self._checkpoint)
                logger.warning("cut what no sync had confirmed: %s", self.torn)
        self._last_index_of.setdefault(self._writer.segment.name, 0)

    # Reading --------------------------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """The index of the first entry held; one more than `last_index` where there is none."""
        return self._entries.base.index + 1

    @property
    def last_index(self) -> int:
        """The index of the last entry, or of the base where there is none."""
        return self._entries.last_index

    @property
    def base(self) -> Position:
        """The entry before the first one held; (0, 0) as long as nothing was compacted."""
        return self._entries.base

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index` or of the base; None where neither is there."""
        return self._entries.term_at(index)

    def entries_from(self, index: int, *, bytes_max: int, count_max: int) -> list[LogEntry]:
        """Return entries from `index` on, at least one where there is one. O(returned).

        Args:
            index: from `first_index` to `last_index + 1`.
            bytes_max: bounds the sum of the commands' lengths, unless the first alone is longer.
            count_max: bounds their number.
        """
        return self._entries.run(index, bytes_max=bytes_max, count_max=count_max)

    # Changing -------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something waits for `sync`. A commit index alone does not."""
        return self._state_is_due or self._pending_bytes > 0

    @property
    def segments(self) -> int:
        """How many files it has."""
        return len(self._last_index_of)

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append the entry that follows the last one."""
        entries = self._entries
        last = entries.last
        assert idx == last.index + 1, f"entry {idx} cannot follow {last}"
        assert term >= last.term, f"term {term} cannot follow {last}"
        assert len(command) <= COMMAND_BYTES_MAX, len(command)
        self._collect(RECORD.pack(ENTRY, len(command), idx, term), command)
        entries.append(command, term)
        if self._pending_bytes > PENDING_BYTES_MAX:
            self.sync()

    def truncate_from(self, index: int) -> None:
        """Drop the entry at `index` and all after it; they were never committed."""
        assert self.first_index <= index <= self.last_index, index
        self._collect(encode_record(TRUNCATE, index, 0))
        self._entries.truncate_from(index)
        self._commit_index = min(self._commit_index, index - 1)

    def compact_to(self, index: int) -> None:
        """Drop the entries up to `index`, for which a durable snapshot stands.

        Memory is freed at once, files at the next `sync`: those segments of which every entry is
        gone. An index at or below the base changes nothing.
        """
        if index <= self._entries.base.index:
            return
        term = self._entries.term_at(index)
        assert term is not None, f"entry {index} is not held"
        base = Position(index, term)
        self._collect(encode_record(COMPACT, index, term))
        self._entries.compact_to(base)
        self._commit_index = max(self._commit_index, index)

    def reset_to(self, index: int, term: int) -> None:
        """Begin after a durable snapshot of everything up to (`index`, `term`).

        All entries are dropped, those after `index` too: for a log that does not contain that
        entry. One that does keeps its tail by `compact_to` (Raft section 7).
        """
        base = Position(index, term)
        self._collect(encode_record(RESET, index, term))
        self._entries.reset_to(base)
        self._commit_index = index
        self._last_index_of = dict.fromkeys(self._last_index_of, 0)

    def sync(self) -> None:
        """Make every change durable; nothing to do costs nothing.

        Raises:
            StorageFailed: now or earlier; see the rules above.
        """
        self._refuse_after_failure()
        if self.pending:
            with self._storage("write"):
                started_s = time.perf_counter()
                self._write_pending()
                self.sync_durations.observe(time.perf_counter() - started_s)
                self._remove_needless()

    def free_bytes(self) -> int:
        """Return how much the disk still takes, for the reserve below which orders are refused.

        Raises:
            StorageFailed: the disk failed to say.
        """
        with self._storage("ask for the free space"):
            return self._directory.free_bytes()

    def close(self) -> None:
        """Sync what is pending, with the commit index, and release the directory. Idempotent."""
        if not self._is_open:
            return
        try:
            if self._failure is None:
                self._state_is_due = self._state_record() != self._state_written
                self.sync()
        finally:
            self._release()

    def check(self) -> None:
        """Assert every invariant. O(n): tests call it after each step."""
        self._entries.check()
        assert self.base.index <= self._commit_index <= self.last_index, "it is one of this log's"
        assert self._pending_bytes == sum(map(len, self._pending))
        assert self._pending_bytes <= PENDING_BYTES_MAX
        assert list(self._last_index_of)[-1] == self._writer.segment.name, (
            "writing goes on in the last segment"
        )

    # The library's interface ---------------------------------------------------------------------
    # Its names are not ours; what each does is told in terms of ours.

    def __len__(self) -> int:
        return len(self._entries) + self._base_positions

    @overload
    def __getitem__(self, item: int) -> LogEntry: ...
    @overload
    def __getitem__(self, item: slice) -> list[LogEntry]: ...
    def __getitem__(self, item: int | slice) -> LogEntry | list[LogEntry]:
        positions = range(len(self))[item]
        if isinstance(positions, int):
            return self._entry_at(positions)
        return [self._entry_at(position) for position in positions]

    def _entry_at(self, position: int) -> LogEntry:
        if position < self._base_positions:
            return _NO_OP, self.base.index, self.base.term
        return self._entries.get(self._index_at(position))

    def _index_at(self, position: int) -> int:
        return self.first_index + position - self._base_positions

    @property
    def _base_positions(self) -> int:
        return 1 if self._entries.base.index else 0

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Truncate from that position; the base stays."""
        if entryFrom < len(self):
            self.truncate_from(self._index_at(entryFrom))

    def deleteEntriesTo(self, entryTo: int) -> None:
        """Compact so that the entry at that position becomes the base, at position 0."""
        self.compact_to(self._index_at(entryTo))

    def clear(self) -> None:
        """Begin again with an empty log whose next entry is 1. Term and vote stay."""
        self.reset_to(0, 0)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Enter `term`, or vote in it. The owner syncs before it tells anyone."""
        self._refuse_after_failure()
        assert term >= self._term, f"term {term} is before {self._term}"
        assert term > self._term or self._vote in (None, votedForNodeId), "one vote in a term"
        assert votedForNodeId is None or 0 < len(votedForNodeId.encode()) <= VOTE_BYTES_MAX
        self._term, self._vote = term, votedForNodeId
        self._state_is_due = True

    def getCurrentTerm(self) -> int:
        """Return the current term."""
        return self._term

    def getVotedForNodeId(self) -> str | None:
        """Return whom this node voted for in the current term."""
        return self._vote

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Note the commit index, if it is one of this log's; it is written with the next block."""
        base, last_index = self._entries.base, self._entries.last_index
        self._commit_index = min(max(raftCommitIndex, base.index), last_index)

    def getRaftCommitIndex(self) -> int:
        """Return the greatest index known to be committed, at least 1 as the library counts."""
        return max(1, self._commit_index)

    def _destroy(self) -> None:
        self.close()

    # Writing --------------------------------------------------------------------------------------

    def _collect(self, *parts: bytes) -> None:
        self._refuse_after_failure()
        self._pending += parts
        for part in parts:
            self._pending_bytes += len(part)

    def _write_pending(self) -> None:
        state = self._state_record()
        if state != self._state_written:
            self._pending.append(state)
        self._writer.append(b"".join(self._pending), self._checkpoint)
        self._pending.clear()
        self._pending_bytes = 0
        self._state_is_due = False
        self._note_written(state)

    def _note_written(self, state: bytes) -> None:
        last, base = self._entries.last, self._entries.base
        self._state_written = state
        self._checkpoint = (
            encode_record(TAIL, last.index, last.term)
            + encode_record(COMPACT, base.index, base.term)
            + state
        )

    def _remove_needless(self) -> None:
        self._last_index_of[self._writer.segment.name] = self._entries.last_index
        # Oldest first, each removal durable before the next: a gap would look like a loss.
        for name, last_index in list(self._last_index_of.items())[:-1]:
            if last_index > self._entries.base.index:
                return
            self._directory.unlink(name)
            self._directory.sync()
            del self._last_index_of[name]

    def _state_record(self) -> bytes:
        return encode_record(STATE, self._commit_index, self._term, (self._vote or "").encode())

    @contextmanager
    def _storage(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = f"the journal could not {doing}: {error}"
            raise StorageFailed(self._failure) from error

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise StorageFailed(self._failure)

    def _release(self) -> None:
        self._is_open = False
        self._writer.close()
        self._directory.close()
