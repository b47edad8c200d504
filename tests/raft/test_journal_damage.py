"""What was synced is read back as it was, or the journal refuses to open. Never less, silently."""

from __future__ import annotations

from contextlib import suppress

import pytest

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.records import SECTOR_BYTES
from raft_exchange.raft.segments import Block, JournalCorrupt, TornTail, read
from tests.support.disk import Disk, PowerCut
from tests.support.journal_model import SEGMENT_BYTES, Life, state_of


@pytest.fixture(scope="module")
def life() -> Life:
    """A journal of three segments: entries, votes, a truncation, a compaction; all synced."""
    life = Life(7, Disk(7))
    life.open()
    while len(life.disk.files) < 3:
        life.append(bytes(range(len(life.model.entries) % 200, 200)) + bytes(300))
        life.append(b"")
        life.enter_term()
        life.sync()
        life.commit()
        if len(life.model.entries) == 8:
            life.append(b"never committed")
            life.sync()
            life.truncate()
            life.compact()
            life.sync()
    life.append(b"the last synced block " * 60)
    life.append(b"has two entries")
    life.sync()
    assert life.journal is not None
    life.journal.close()
    assert len(life.disk.files) == 3
    return life


def open_copy(disk: Disk) -> Journal:
    return Journal(disk.directory(), segment_bytes=SEGMENT_BYTES)


def invert(disk: Disk, name: str, offset: int) -> None:
    disk.damage(name, offset, disk.files[name].written[offset] ^ 0xFF)


def last_block_of(disk: Disk) -> Block:
    last = list(read(disk.directory()))[-1]
    assert isinstance(last, Block)
    return last


@pytest.mark.parametrize("change", [0x00, 0x01, 0x80, 0xFF])
def test_no_single_damaged_byte_loses_a_synced_change(life: Life, change: int) -> None:
    """Each byte of each file, a bit flipped, inverted or zeroed: all there, or refused."""
    refused = 0
    for name in life.disk.files:
        for offset in range(SEGMENT_BYTES):
            disk = life.disk.copy()
            byte = disk.files[name].written[offset]
            disk.damage(name, offset, byte ^ change if change else 0)
            with suppress(JournalCorrupt):
                assert state_of(open_copy(disk)) == life.synced.state()
                continue
            refused += 1
    assert refused > SEGMENT_BYTES // 2, "what was written mattered"


def test_a_damaged_byte_in_any_record_is_refused_with_its_place(life: Life) -> None:
    """The message names the file and the first byte of the block that cannot be believed."""
    for block in read(life.disk.directory()):
        assert isinstance(block, Block)
        begin = block.sector * SECTOR_BYTES
        for offset in range(begin, begin + 20 + len(block.data) // 2):
            if offset % SECTOR_BYTES >= SECTOR_BYTES - 2:
                continue  # a mark
            disk = life.disk.copy()
            disk.damage(
                block.segment.name, offset, disk.files[block.segment.name].written[offset] ^ 1
            )
            with pytest.raises(JournalCorrupt, match=rf"{block.segment.name}, byte {begin}:"):
                open_copy(disk)


def test_every_shortened_file_is_refused(life: Life) -> None:
    """A segment has its full size before it counts, so a shorter one was cut from outside."""
    for name in life.disk.files:
        for size_bytes in range(SEGMENT_BYTES):
            disk = life.disk.copy()
            disk.shorten(name, size_bytes)
            with pytest.raises(JournalCorrupt, match=name):
                open_copy(disk)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_segment_is_refused(life: Life, number: int) -> None:
    """The oldest, one in the middle, and even the newest."""
    disk = life.disk.copy()
    name = sorted(disk.files)[number]
    del disk.files[name]
    with pytest.raises(JournalCorrupt, match="missing"):
        open_copy(disk)


def test_a_segment_of_another_journal_is_refused(life: Life) -> None:
    """The same history under the same names, but another journal's salt."""
    other = Life(7, Disk(7))
    other.open()
    while len(other.disk.files) < 3:
        other.append(bytes(500))
        other.sync()
    for name in sorted(life.disk.files)[1:]:
        disk = life.disk.copy()
        disk.files[name] = other.disk.files[sorted(other.disk.files)[-1]]
        with pytest.raises(JournalCorrupt):
            open_copy(disk)


def test_a_block_in_the_wrong_place_is_refused(life: Life) -> None:
    """A whole valid sector copied over another: the sums are bound to the place."""
    block = last_block_of(life.disk)
    name = block.segment.name
    begin = block.sector * SECTOR_BYTES
    for sector in range(1, block.sector):
        disk = life.disk.copy()
        for offset in range(SECTOR_BYTES):
            disk.damage(
                name, sector * SECTOR_BYTES + offset, disk.files[name].written[begin + offset]
            )
        with pytest.raises(JournalCorrupt):
            open_copy(disk)


def test_an_unwritten_sector_before_a_later_block_is_refused(life: Life) -> None:
    """The block after it proves that it was synced, so it is no torn tail."""
    last = last_block_of(life.disk)
    name = last.segment.name
    for sector in range(last.sector):
        disk = life.disk.copy()
        for offset in range(SECTOR_BYTES):
            disk.damage(name, sector * SECTOR_BYTES + offset, 0)
        with pytest.raises(JournalCorrupt, match=name):
            open_copy(disk)


def test_unwritten_sectors_of_the_very_last_block_cut_that_block_only(life: Life) -> None:
    """The one loss that looks exactly like a power cut before the sync returned."""
    last = last_block_of(life.disk)
    for sector in range(last.sector, last.end_sector):
        disk = life.disk.copy()
        for offset in range(SECTOR_BYTES):
            disk.damage(last.segment.name, sector * SECTOR_BYTES + offset, 0)
        assert isinstance(list(read(disk.directory()))[-1], TornTail)
        journal = open_copy(disk)
        base, entries, term, vote = life.synced.state()
        assert state_of(journal) == (base, entries[:-2], term, vote)


def test_a_damaged_byte_in_a_torn_last_block_is_cut_with_it() -> None:
    """Nobody was told of that block, so its content does not matter."""
    disk = Disk()
    journal = open_copy(disk)
    journal.add(b"synced", 1, 1)
    journal.sync()
    before = state_of(journal)
    journal.add(b"torn" * 300, 2, 1)
    disk.operations, disk.fail_at = 0, 1
    with pytest.raises(PowerCut):
        journal.sync()
    disk.kill()
    last = last_block_of(disk)
    begin = last.sector * SECTOR_BYTES
    for offset in range(SECTOR_BYTES):
        disk.damage(last.segment.name, begin + SECTOR_BYTES + offset, 0)
    for offset in range(begin + 100, begin + 400):
        copy = disk.copy()
        invert(copy, last.segment.name, offset)
        journal = open_copy(copy)
        assert journal.torn is not None
        assert state_of(journal) == before


def test_a_file_of_another_format_is_refused_by_name() -> None:
    """A stray file under a segment's name is not skipped."""
    disk = Disk()
    open_copy(disk).close()
    (name,) = disk.files
    for offset in range(8):
        disk.damage(name, offset, 0x41)
    with pytest.raises(JournalCorrupt, match=f"{name}, byte 0: not a journal segment"):
        open_copy(disk)


def test_reading_offline_gives_every_block_and_changes_nothing(life: Life) -> None:
    """An offline check needs neither the lock nor a write."""
    disk = life.disk.copy()
    running = open_copy(disk)
    operations = disk.operations
    blocks = list(read(disk.directory()))
    assert all(isinstance(block, Block) for block in blocks)
    assert [block.sequence for block in blocks if isinstance(block, Block)] == list(
        range(1, len(blocks) + 1)
    )
    assert disk.operations == operations
    running.close()
