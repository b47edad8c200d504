"""From a journal on disk to the state it stands for: a fold of its records, read-only.

The oldest segment may begin in the middle of history: `TAIL` says where the log ended then, and
the fold goes on from there without the entries before. That is complete only if those are all
behind the last base, because a segment is removed only when no entry in it is after the base;
`recover` insists on it.
"""

from __future__ import annotations

from raft_exchange.raft.entries import Entries, Position
from raft_exchange.raft.records import COMPACT, ENTRY, RESET, STATE, TAIL, TRUNCATE
from raft_exchange.raft.segments import Block, JournalCorrupt, TornTail, read
from raft_exchange.raft.storage import Directory


class Recovery:
    """What a journal holds, and what its writer needs to go on.

    `last_index_of` gives for each segment, oldest first, the greatest index of an entry in it; 0 if
    there is none or a reset came after it.
    """

    def __init__(self) -> None:
        self.entries = Entries(Position(0, 0))
        self.term = 0
        self.vote: str | None = None
        self.commit_index = 0
        self.last_index_of: dict[str, int] = {}
        self.last_block: Block | None = None
        self.torn: TornTail | None = None
        self._base = Position(0, 0)

    def take(self, block: Block) -> None:
        """Fold the next block.

        Raises:
            JournalCorrupt: its records do not follow from what was before.
        """
        entries, segment = self.entries, block.segment.name
        if block.begins_segment:
            self.last_index_of[segment] = 0
        try:
            for kind, index, term, data in block.records():
                if kind != ENTRY:
                    self._take_other(kind, Position(index, term), data)
                elif index == entries.last_index + 1:
                    entries.append(data, term)
                    self.last_index_of[segment] = index
                else:
                    raise ValueError(f"entry {index} stands after {entries.last}")
        except ValueError as error:
            raise JournalCorrupt(f"{segment}, block {block.sequence}: {error}") from error
        self.last_block = block

    def _take_other(self, kind: int, at: Position, data: bytes) -> None:
        if kind == STATE:
            self.commit_index, self.term = at.index, at.term
            self.vote = data.decode() or None
        elif kind == TAIL:
            self._begin_segment(at)
        elif kind == TRUNCATE:
            self._truncate_from(at.index)
        elif kind == COMPACT:
            self._compact_to(at)
        elif kind == RESET:
            self._base = at
            self.entries.reset_to(at)
            self.last_index_of = dict.fromkeys(self.last_index_of, 0)
        else:
            raise ValueError(f"a record of unknown kind {kind}")

    def _begin_segment(self, tail: Position) -> None:
        if len(self.last_index_of) == 1:
            self.entries.reset_to(tail)
        elif tail.index != self.entries.last_index:
            raise ValueError(f"the segment began at {tail}; the ones before end otherwise")

    def _truncate_from(self, index: int) -> None:
        if not self._base.index < index <= self.entries.last_index:
            raise ValueError(f"entry {index} is truncated but is not held")
        if index > self.entries.base.index:
            self.entries.truncate_from(index)
        else:  # it reaches back before the oldest segment; a base at or behind it must follow
            self.entries.reset_to(Position(index - 1, self._base.term))

    def _compact_to(self, base: Position) -> None:
        self._base = base
        if base.index > self.entries.base.index:
            if self.entries.term_at(base.index) != base.term:
                raise ValueError(f"the log is compacted to {base}, which is not in it")
            self.entries.compact_to(base)

    def finish(self) -> None:
        """Check that the log is complete from its base on, and the commit index one of its own.

        Raises:
            JournalCorrupt: it is not; the oldest segments are missing.
        """
        held = self.entries.base
        if self._base != held:
            raise JournalCorrupt(
                f"{next(iter(self.last_index_of))}: entries {self._base.index + 1} to "
                f"{held.index} were in older segments, which are missing"
            )
        if not self._base.index <= self.commit_index <= self.entries.last_index:
            raise JournalCorrupt(
                f"{next(reversed(self.last_index_of))}: the commit index {self.commit_index} "
                f"is not between {self._base} and {self.entries.last}"
            )


def recover(directory: Directory) -> Recovery:
    """Return what the journal in `directory` holds. Nothing at all in it is an empty journal.

    Raises:
        JournalCorrupt: see `segments`; never a silent loss.
        OSError: the disk failed to read.
    """
    found = Recovery()
    for item in read(directory):
        if isinstance(item, TornTail):
            found.torn = item
        else:
            found.take(item)
    found.finish()
    return found
