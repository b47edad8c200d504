"""The log in memory: the entries after a base, without a gap.

The base is the last entry that is no longer held, because a snapshot stands for it; its index and
term stay known, since the entry after it is compared with them. A log that never was compacted
has the base (0, 0). Commands and terms lie in two flat arrays: an entry costs its bytes and 16.
"""

from __future__ import annotations

from array import array

import msgspec


class Position(msgspec.Struct, frozen=True):
    """An entry's index and the term of the leader that appended it."""

    index: int
    term: int


class Entries:
    """A run of entries. Indexes count from 1; `base.index + 1` is the first one held."""

    def __init__(self, base: Position) -> None:
        self.base = base
        self._commands: list[bytes] = []
        self._terms = array("Q")

    def __len__(self) -> int:
        return len(self._commands)

    @property
    def last(self) -> Position:
        """The last entry, or the base where there is none."""
        if not self._commands:
            return self.base
        return Position(self.base.index + len(self._commands), self._terms[-1])

    @property
    def last_index(self) -> int:
        """The index of the last entry, or of the base where there is none."""
        return self.base.index + len(self._commands)

    def append(self, command: bytes, term: int) -> None:
        """Put one entry behind the last."""
        self._commands.append(command)
        self._terms.append(term)

    def truncate_from(self, index: int) -> None:
        """Drop the entry at `index` and all after it."""
        position = index - self.base.index - 1
        assert position >= 0, f"entry {index} is not held: the log begins after {self.base}"
        del self._commands[position:]
        del self._terms[position:]

    def compact_to(self, base: Position) -> None:
        """Drop the entries up to `base`, which is one of them. O(entries kept)."""
        assert self.term_at(base.index) == base.term, f"{base} is not an entry of this log"
        count = base.index - self.base.index
        del self._commands[:count]
        del self._terms[:count]
        self.base = base

    def reset_to(self, base: Position) -> None:
        """Drop everything; the log begins after `base`."""
        self._commands.clear()
        del self._terms[:]
        self.base = base

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index` or of the base; None where neither is there."""
        position = index - self.base.index - 1
        if position == -1:
            return self.base.term
        return self._terms[position] if 0 <= position < len(self._terms) else None

    def get(self, index: int) -> tuple[bytes, int, int]:
        """Return command, index and term of an entry that is held."""
        position = index - self.base.index - 1
        assert position >= 0, f"entry {index} is not held: the log begins after {self.base}"
        return self._commands[position], index, self._terms[position]

    def run(self, index: int, *, bytes_max: int, count_max: int) -> list[tuple[bytes, int, int]]:
        """Return entries from `index` on, at least one where there is one. O(returned).

        Args:
            index: held, or the one after the last.
            bytes_max: bounds the sum of the commands' lengths, unless the first alone is longer.
            count_max: bounds their number.
        """
        position = index - self.base.index - 1
        assert 0 <= position <= len(self._commands), f"entry {index} is not held: {self.base}"
        found: list[tuple[bytes, int, int]] = []
        for offset in range(position, min(position + count_max, len(self._commands))):
            command = self._commands[offset]
            bytes_max -= len(command)
            if bytes_max < 0 and found:
                break
            found.append((command, self.base.index + 1 + offset, self._terms[offset]))
        return found

    def check(self) -> None:
        """Assert every invariant. O(n)."""
        assert len(self._commands) == len(self._terms), "every entry has a term"
        terms = [self.base.term, *self._terms]
        assert terms == sorted(terms), "terms never decrease along the log"
