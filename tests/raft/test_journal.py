"""The journal in peace: the library's interface, ours, and what stays on disk."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pysyncobj.journal import MemoryJournal

from raft_exchange.raft import journal as journal_module
from raft_exchange.raft.entries import Position
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.storage import Directory
from raft_exchange.raft.wire import COMMAND_BYTES_MAX
from tests.support.disk import Disk, PowerCut
from tests.support.journal_model import SEGMENT_BYTES, state_of


def new_journal(disk: Disk | None = None) -> Journal:
    return Journal((disk or Disk()).directory(), segment_bytes=SEGMENT_BYTES)


def filled(count: int, disk: Disk | None = None) -> Journal:
    journal = new_journal(disk)
    for index in range(1, count + 1):
        journal.add(b"order %d" % index, index, 1 + index // 10)
    journal.sync()
    return journal


def entry(index: int) -> tuple[bytes, int, int]:
    return b"order %d" % index, index, 1 + index // 10


def test_without_a_base_it_behaves_as_the_librarys_own_journal() -> None:
    """The same calls by position give the same answers as the memory journal it replaces."""
    draw = random.Random(3)
    ours, theirs = new_journal(), MemoryJournal()
    for _ in range(2000):
        length = len(theirs)
        assert len(ours) == length
        if draw.random() < 0.7 or length == 0:
            given = (draw.randbytes(draw.randrange(20)), length + 1, length // 5)
            ours.add(*given)
            theirs.add(*given)
        elif draw.random() < 0.3:
            position = draw.randrange(length + 2)
            ours.deleteEntriesFrom(position)
            theirs.deleteEntriesFrom(position)
        else:
            a, b = draw.randrange(-2, length + 3), draw.randrange(-2, length + 3)
            assert ours[a:b] == theirs[a:b]
            assert ours[a:] == theirs[a:]
            position = draw.randrange(-length, length)
            assert ours[position] == theirs[position]
    with pytest.raises(IndexError):
        ours[len(ours)]


def test_after_a_compaction_position_zero_is_the_base() -> None:
    """So the library always finds a first and a last entry, and the base's term."""
    journal = filled(30)
    journal.deleteEntriesTo(19)
    assert journal.base == Position(20, 3)
    assert journal.first_index == 21
    assert len(journal) == 11
    assert journal[0] == (b"\x01", 20, 3)
    assert journal[1] == entry(21)
    assert journal[-1] == entry(30)
    assert journal[:] == [(b"\x01", 20, 3), *map(entry, range(21, 31))]
    journal.deleteEntriesFrom(1)
    assert journal[-1] == journal[0] == (b"\x01", 20, 3)
    with pytest.raises(AssertionError):
        journal.deleteEntriesFrom(0)


def test_terms_are_known_from_the_base_to_the_end() -> None:
    """And nowhere else."""
    journal = filled(30)
    journal.compact_to(12)
    assert [journal.term_at(index) for index in (11, 12, 13, 30, 31)] == [None, 2, 2, 4, None]
    assert new_journal().term_at(0) == 0


def test_entries_come_in_bounded_runs() -> None:
    """By number and by bytes, but never none where there is one."""
    journal = filled(30)
    journal.compact_to(5)
    assert journal.entries_from(28, bytes_max=1 << 20, count_max=99) == [*map(entry, (28, 29, 30))]
    assert journal.entries_from(6, bytes_max=1 << 20, count_max=2) == [entry(6), entry(7)]
    assert journal.entries_from(12, bytes_max=16, count_max=99) == [entry(12), entry(13)]
    assert journal.entries_from(12, bytes_max=15, count_max=99) == [entry(12)]
    assert journal.entries_from(12, bytes_max=0, count_max=99) == [entry(12)]
    assert journal.entries_from(31, bytes_max=99, count_max=99) == []
    for index in (5, 32):
        with pytest.raises(AssertionError):
            journal.entries_from(index, bytes_max=99, count_max=99)


def test_nothing_reaches_the_disk_before_sync_and_all_of_it_with_one_write() -> None:
    """One write and one sync for everything pending; none for nothing."""
    disk = Disk()
    journal = filled(3, disk)
    operations = disk.operations
    assert not journal.pending
    journal.sync()
    journal.add(b"order", 4, 5)
    journal.setCurrentTerm(5, "n1")
    journal.truncate_from(4)
    journal.add(b"another", 4, 5)
    assert journal.pending
    assert disk.operations == operations
    journal.sync()
    assert not journal.pending
    assert disk.operations == operations + 2


def test_an_os_journal_writes_without_waiting() -> None:
    disk = Disk()
    journal = Journal(disk.directory(), durability="os", segment_bytes=SEGMENT_BYTES)
    operations = disk.operations
    journal.add(b"order", 1, 1)
    journal.sync()
    assert disk.operations == operations + 1


def test_a_vote_alone_is_pending() -> None:
    """It must be durable before it is given."""
    disk = Disk()
    journal = new_journal(disk)
    journal.setCurrentTerm(3, "n2")
    assert journal.pending
    journal.sync()
    disk.power_cut()
    journal = new_journal(disk)
    assert journal.getCurrentTerm() == 3
    assert journal.getVotedForNodeId() == "n2"


def test_terms_do_not_go_back_and_a_vote_is_not_taken_back() -> None:
    """Only a bug of the owner could ask for it."""
    journal = new_journal()
    journal.setCurrentTerm(3, None)
    journal.setCurrentTerm(3, "n2")
    journal.setCurrentTerm(3, "n2")
    for term, vote in [(2, None), (3, "n1"), (3, None)]:
        with pytest.raises(AssertionError):
            journal.setCurrentTerm(term, vote)
    journal.setCurrentTerm(4, None)
    assert journal.getVotedForNodeId() is None


def test_only_the_entry_that_follows_is_taken() -> None:
    """No gap, no overlap, no falling term, no command beyond the bound."""
    journal = filled(15)
    for command, index, term in [
        (b"", 15, 9),
        (b"", 17, 9),
        (b"", 16, 1),
        (bytes(COMMAND_BYTES_MAX + 1), 16, 9),
    ]:
        with pytest.raises(AssertionError):
            journal.add(command, index, term)
    journal.add(bytes(COMMAND_BYTES_MAX), 16, 9)


def test_the_commit_index_rides_along_and_costs_no_sync() -> None:
    """It is only a hint, so a crash may take the newest one."""
    disk = Disk()
    journal = filled(10, disk)
    journal.setRaftCommitIndex(8)
    assert not journal.pending
    disk.power_cut()
    journal = new_journal(disk)
    assert journal.getRaftCommitIndex() == 1
    journal.setRaftCommitIndex(8)
    journal.add(b"order", 11, 2)
    journal.sync()
    disk.power_cut()
    assert new_journal(disk).getRaftCommitIndex() == 8


def test_the_commit_index_never_vouches_for_what_is_not_there() -> None:
    """Not beyond the end, and not for other entries that came to stand below it."""
    disk = Disk()
    journal = filled(10, disk)
    journal.setRaftCommitIndex(50)
    assert journal.getRaftCommitIndex() == 10
    journal.add(b"not committed", 11, 2)
    assert journal.getRaftCommitIndex() == 10
    journal.truncate_from(5)
    for index in range(5, 13):
        journal.add(b"another", index, 7)
    assert journal.getRaftCommitIndex() == 4
    journal.sync()
    disk.power_cut()
    assert new_journal(disk).getRaftCommitIndex() == 4


def test_a_compaction_frees_the_segments_before_it() -> None:
    """Oldest first, after the record of it is durable; the log goes on behind the base."""
    disk = Disk()
    journal = filled(0, disk)
    for index in range(1, 101):
        journal.add(bytes(400), index, 1)
        journal.sync()
    segments = len(disk.files)
    assert segments > 10
    journal.compact_to(90)
    journal.compact_to(90)
    journal.compact_to(7)
    assert len(disk.files) == segments
    journal.sync()
    assert len(disk.files) < 5
    before = state_of(journal)
    journal.close()
    journal = new_journal(disk)
    assert state_of(journal) == before
    assert journal.base == Position(90, 1)
    assert journal.getRaftCommitIndex() == 90


def test_a_reset_forgets_even_later_entries() -> None:
    """A snapshot replaced a log that had gone another way."""
    disk = Disk()
    journal = filled(0, disk)
    for index in range(1, 31):
        journal.add(bytes(400), index, 1)
        journal.sync()
    journal.reset_to(20, 5)
    assert len(journal) == 1
    assert journal[-1] == (b"\x01", 20, 5)
    assert journal.getRaftCommitIndex() == 20
    journal.sync()
    assert len(disk.files) == 1, "all older segments are needless"
    journal.add(b"after", 21, 6)
    journal.sync()
    disk.power_cut()
    journal = new_journal(disk)
    assert journal[:] == [(b"\x01", 20, 5), (b"after", 21, 6)]


def test_what_a_reset_made_needless_goes_after_a_restart_as_well() -> None:
    """The process may end between the record and the removals."""
    disk = Disk()
    journal = filled(0, disk)
    for index in range(1, 29):
        journal.add(bytes(400), index, 1)
        journal.sync()
    journal.reset_to(20, 5)
    disk.operations, disk.fail_at = 0, 3
    with pytest.raises(PowerCut):
        journal.sync()
    disk.power_cut()
    journal = new_journal(disk)
    assert journal.base == Position(20, 5)
    assert len(disk.files) > 1
    journal.setCurrentTerm(6, None)
    journal.sync()
    assert len(disk.files) == 1


def test_clear_begins_again_at_one() -> None:
    journal = filled(5)
    journal.setCurrentTerm(8, "n1")
    journal.clear()
    assert len(journal) == 0
    journal.add(b"first", 1, 0)
    assert journal[0] == (b"first", 1, 0)
    assert journal.getCurrentTerm() == 8


def test_a_block_larger_than_a_segment_gets_a_larger_segment() -> None:
    disk = Disk()
    journal = filled(3, disk)
    journal.add(bytes(10 * SEGMENT_BYTES), 4, 1)
    journal.sync()
    journal.add(b"behind", 5, 1)
    journal.sync()
    before = state_of(journal)
    disk.power_cut()
    assert state_of(new_journal(disk)) == before


def test_pending_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much at once is synced early rather than collected."""
    monkeypatch.setattr(journal_module, "PENDING_BYTES_MAX", 1000)
    journal = new_journal()
    for index in range(1, 100):
        journal.add(bytes(100), index, 1)
        journal.check()


def test_a_hundred_thousand_entries_come_back(tmp_path: Path) -> None:
    """From real files, through several segments."""
    journal = Journal(Directory.ensure(tmp_path / "journal"), segment_bytes=4 << 20)
    for index in range(1, 100_001):
        journal.add(b"%0150d" % index, index, index // 1000)
        if index % 1000 == 0:
            journal.sync()
    journal._destroy()
    journal = Journal(Directory(tmp_path / "journal"))
    journal.check()
    assert len(journal) == 100_000
    assert all(
        entry == (b"%0150d" % index, index, index // 1000)
        for index, entry in enumerate(journal[:], start=1)
    )
    journal.close()
