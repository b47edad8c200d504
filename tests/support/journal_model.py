"""A journal that is obviously right, and a seeded life for it and the real one side by side."""

from __future__ import annotations

import copy
import random
from itertools import takewhile
from typing import Any

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.wire import ENTRY_BYTES_MAX
from tests.support.disk import Disk

SEGMENT_BYTES = 4096
"""Eight sectors, so that a short life has many segments."""


class Model:
    """What must be remembered: a list of entries after a base, the term and the vote."""

    def __init__(self) -> None:
        self.base = (0, 0)
        self.entries: list[tuple[bytes, int, int]] = []
        self.term = 0
        self.vote: str | None = None
        self.commit_index = 0

    @property
    def last(self) -> tuple[int, int]:
        return self.entries[-1][1:] if self.entries else self.base

    def state(self) -> Any:
        return self.base, list(self.entries), self.term, self.vote


def state_of(journal: Journal) -> Any:
    """Return the same picture of the real one."""
    entries = journal.entries_from(
        journal.first_index, bytes_max=1 << 40, count_max=journal.last_index
    )
    base = journal.base.index, journal.base.term
    return base, entries, journal.getCurrentTerm(), journal.getVotedForNodeId()


class Life:
    """Drives both through the same random steps, and remembers what may be found after a crash.

    `synced` is the model as the last returned sync left it, `syncing` as it was when the last sync
    was called. After a crash the journal must be one of the two.
    """

    def __init__(self, seed: int, disk: Disk) -> None:
        self.random = random.Random(seed)
        self.disk = disk
        self.model = Model()
        self.synced = self.syncing = Model()
        self.committed: dict[int, tuple[bytes, int, int]] = {}
        self.leader_term = 0
        self.journal: Journal | None = None

    def open(self) -> Journal:
        self.journal = Journal(self.disk.directory(), segment_bytes=SEGMENT_BYTES)
        return self.journal

    @property
    def settled_index(self) -> int:
        """The greatest index that is committed somewhere or stands in a snapshot."""
        return max(self.model.base[0], self.model.commit_index, *self.committed, 0)

    def run(self, steps: int) -> None:
        """Open, if it is not open, and live."""
        if self.journal is None:
            self.open()
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        choice = self.random.choices(
            [
                self.add,
                self.sync,
                self.enter_term,
                self.commit,
                self.truncate,
                self.compact,
                self.reset,
            ],
            weights=[10, 6, 2, 4, 2, 2, 0.4],
        )[0]
        choice()
        assert self.journal is not None
        self.journal.check()

    def add(self) -> None:
        for _ in range(self.random.choice([1, 1, 2, 5])):
            size = self.random.choice([0, 1, 40, 150, 486, 600, 2500])
            # Zeros and bytes that look like marks are what could confuse the reader.
            command = self.random.choice([b"\0" * size, self.random.randbytes(size)])
            self.append(command)

    def append(self, command: bytes) -> None:
        assert len(command) <= ENTRY_BYTES_MAX
        assert self.journal is not None
        index = self.model.last[0] + 1
        term = max(self.model.term, self.model.last[1], self.leader_term)
        self.journal.add(command, index, term)
        self.model.entries.append((command, index, term))

    def sync(self) -> None:
        assert self.journal is not None
        if self.journal.pending:
            self.syncing = copy.deepcopy(self.model)
        self.journal.sync()
        assert not self.journal.pending
        self.synced = self.syncing

    def enter_term(self) -> None:
        assert self.journal is not None
        term = max(self.model.term, self.model.last[1]) + self.random.randint(1, 3)
        vote = self.random.choice([None, "n1", "a node with a longer name"])
        self.journal.setCurrentTerm(term, vote)
        self.model.term, self.model.vote = term, vote

    def commit(self) -> None:
        """Only what was synced is committed, as the group does it."""
        assert self.journal is not None
        limit = min(self.synced.last[0], self.model.last[0])
        synced = self.synced.entries[: max(0, limit - self.synced.base[0])]
        agreed = list(takewhile(self.model.entries.__contains__, synced))
        if agreed and agreed[-1][1] > self.model.commit_index:
            self.model.commit_index = agreed[-1][1]
            self.journal.setRaftCommitIndex(self.model.commit_index)
            for entry in agreed:
                assert self.committed.setdefault(entry[1], entry) == entry

    def truncate(self) -> None:
        """Never what is committed."""
        assert self.journal is not None
        first = self.settled_index + 1
        if first <= self.model.last[0]:
            index = self.random.randint(first, self.model.last[0])
            term = self.model.last[1]
            self.journal.truncate_from(index)
            del self.model.entries[index - self.model.base[0] - 1 :]
            # Only another leader makes a member truncate; (index, term) names one entry for ever.
            self.leader_term = max(self.leader_term, self.model.term, term) + 1

    def compact(self) -> None:
        assert self.journal is not None
        base = self.model.base[0]
        if base < self.model.commit_index:
            index = self.random.randint(base + 1, self.model.commit_index)
            entry = self.model.entries[index - base - 1]
            self.journal.compact_to(index)
            del self.model.entries[: index - base]
            self.model.base = entry[1], entry[2]

    def reset(self) -> None:
        assert self.journal is not None
        index = self.settled_index + self.random.randint(1, 9)
        term = max(self.model.term, self.model.last[1]) + 1
        self.journal.reset_to(index, term)
        self.model.base, self.model.entries = (index, term), []
        self.model.commit_index = index

    def reopen_after_crash(self) -> None:
        """Open what the crash left, check it, and go on from there."""
        journal = self.open()
        found = state_of(journal)
        lost_terms = (0, self.model.last[1], self.model.term)
        assert found in (self.synced.state(), self.syncing.state())
        self.model = copy.deepcopy(self.syncing if found == self.syncing.state() else self.synced)
        self.synced = self.syncing = copy.deepcopy(self.model)
        self.leader_term = max(self.leader_term, *lost_terms) + 1
        commit_index = journal.getRaftCommitIndex()
        assert commit_index <= max(1, journal.last_index)
        for index in range(journal.first_index, min(commit_index, journal.last_index) + 1):
            assert (
                index == 1
                or self.committed[index] == self.model.entries[index - self.model.base[0] - 1]
            ), "the commit index vouches only for what was committed"
        self.model.commit_index = max(self.model.base[0], min(commit_index, self.model.last[0]))
        journal.check()
