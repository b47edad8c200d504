"""What was synced is read back as it was, or the journal refuses to open. Never less, silently."""

from __future__ import annotations

from contextlib import suppress

import pytest

from raft_exchange.raft import segments
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.records import (
    COMPACT,
    ENTRY,
    SECTOR_BYTES,
    STATE,
    TAIL,
    TRUNCATE,
    BlockHead,
    block_head,
    block_records,
    encode_block,
    encode_record,
)
from raft_exchange.raft.segment_writer import SegmentWriter
from raft_exchange.raft.segments import Block, JournalCorrupt, TornTail, read
from tests.support.disk import Disk, PowerCut
from tests.support.journal_model import SEGMENT_BYTES, Life, state_of


def three_segments() -> Life:
    """A journal with entries, votes, a truncation and a compaction; all synced."""
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


@pytest.fixture(scope="module")
def life() -> Life:
    return three_segments()


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
            if offset % SECTOR_BYTES == SECTOR_BYTES - 1:
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


@pytest.mark.parametrize("seed", range(4))
def test_the_newest_segment_is_missed_after_a_power_cut_as_well(seed: int) -> None:
    """The foot that names it was synced, too."""
    disk = Disk(seed)
    journal = open_copy(disk)
    while len(disk.files) < 2:
        journal.add(bytes(500), journal.last_index + 1, 1)
        journal.sync()
    disk.power_cut()
    del disk.files[max(disk.files)]
    with pytest.raises(JournalCorrupt, match="the segment is missing"):
        open_copy(disk)


def test_a_segment_of_another_journal_is_refused(life: Life) -> None:
    """The same history under the same names, but another journal's salt."""
    other = three_segments()
    assert other.synced.state() == life.synced.state()
    for name in life.disk.files:
        disk = life.disk.copy()
        disk.files[name] = other.disk.files[name]
        with pytest.raises(JournalCorrupt, match="belongs to another journal"):
            open_copy(disk)


def test_the_sums_of_a_block_are_bound_to_its_place_and_journal() -> None:
    """So that bytes left over from elsewhere are no block."""
    salt, other_salt = b"8 bytes.", b"another."
    records = encode_record(ENTRY, 1, 1, bytes(1000))
    block = encode_block(records, sequence=9, salt=salt, sector=2)
    raw = bytes(2 * SECTOR_BYTES) + block
    head = block_head(raw, 2, salt)
    assert head is not None
    assert head == BlockHead(9, len(records), head.records_crc)
    assert block_records(raw, 2, salt, head) == records
    assert block_head(bytes(SECTOR_BYTES) + raw, 3, salt) is None
    assert block_head(raw, 2, other_salt) is None
    assert block_records(bytes(SECTOR_BYTES) + raw, 3, salt, head) is None
    assert block_records(raw, 2, other_salt, head) is None
    assert block_head(raw[: 2 * SECTOR_BYTES + 10], 2, salt) is None


@pytest.mark.parametrize(
    "records",
    [
        encode_record(ENTRY, 3, 1, b"a gap"),
        encode_record(ENTRY, 1, 1, b"twice"),
        encode_record(TRUNCATE, 2, 0),
        encode_record(COMPACT, 1, 2),
        encode_record(STATE, 2, 1),
        encode_record(STATE, 0, 1, b"\xff"),
        encode_record(99, 1, 1),
        encode_record(ENTRY, 2, 1, b"longer")[:-1],
        encode_record(ENTRY, 2, 1)[:-1],
    ],
)
def test_valid_sums_over_records_that_do_not_follow_are_refused(records: bytes) -> None:
    """A bug of another release must not become this one's state: checked on reading as well."""
    disk = Disk()
    journal = open_copy(disk)
    journal.add(b"order", 1, 1)
    journal.close()
    writer = SegmentWriter(disk.directory(), segment_bytes=SEGMENT_BYTES, is_synced=True)
    writer.resume_after(last_block_of(disk))
    writer.append(records, b"")
    with pytest.raises(JournalCorrupt, match=last_block_of(disk).segment.name):
        open_copy(disk)


def test_a_segment_that_does_not_begin_where_the_log_ended_is_refused() -> None:
    """Records were lost between two segments although the numbers fit."""
    disk = Disk()
    open_copy(disk).close()
    block = last_block_of(disk)
    writer = SegmentWriter(disk.directory(), segment_bytes=SEGMENT_BYTES, is_synced=True)
    writer.resume_after(block)
    writer.begin(block.segment.salt, encode_record(TAIL, 5, 1))
    with pytest.raises(JournalCorrupt, match="block 2: the segment began at"):
        open_copy(disk)


def test_a_block_with_another_number_than_the_next_is_refused() -> None:
    """Both sums hold, but a block is missing before it."""
    disk = Disk()
    open_copy(disk).close()
    last = last_block_of(disk)
    raw = encode_block(b"", sequence=3, salt=last.segment.salt, sector=last.end_sector)
    for offset, value in enumerate(raw):
        disk.damage(last.segment.name, last.end_sector * SECTOR_BYTES + offset, value)
    with pytest.raises(JournalCorrupt, match="block 2 is unreadable, but block 3 was written"):
        open_copy(disk)


def test_a_segment_without_its_first_block_is_refused() -> None:
    """It was synced before the file had its name, so it is no torn tail."""
    disk = Disk()
    open_copy(disk).close()
    (name,) = disk.files
    for offset in range(SECTOR_BYTES, SEGMENT_BYTES):
        disk.damage(name, offset, 0)
    with pytest.raises(JournalCorrupt, match="it began the segment"):
        open_copy(disk)


def test_a_damaged_head_is_called_so() -> None:
    """And not another format, name or size."""
    disk = Disk()
    open_copy(disk).close()
    (name,) = disk.files
    for offset in range(8, 40):
        copy = disk.copy()
        invert(copy, name, offset)
        with pytest.raises(JournalCorrupt, match=f"{name}, byte 0: the head is damaged"):
            open_copy(copy)


def test_another_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later release wrote is not damage."""
    disk = Disk()
    with monkeypatch.context() as later_release:
        later_release.setattr(segments, "FORMAT_VERSION", 2)
        open_copy(disk).close()
    with pytest.raises(JournalCorrupt, match="format 2; this release reads 1"):
        open_copy(disk)


def test_a_renamed_segment_is_refused() -> None:
    """The name says where it belongs, and the head knows better."""
    disk = Disk()
    open_copy(disk).close()
    (name,) = disk.files
    disk.files["00000000000000000009.journal"] = disk.files.pop(name)
    with pytest.raises(JournalCorrupt, match=f"the file is {name} by its head"):
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
