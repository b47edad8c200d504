"""Writing segments: the next block to its place, and a new file when it does not fit.

A new segment is made under an unfinished name, synced, renamed, and the rename synced, before the
first byte that depends on it is written. Only then does the old one's foot name it. An unfinished
file holds nothing that counts and is removed at the next opening.
"""

from __future__ import annotations

from raft_exchange.raft.records import SECTOR_BYTES, encode_block, sectors_for
from raft_exchange.raft.segments import (
    FIRST_SECTOR,
    UNFINISHED_SUFFIX,
    Block,
    SegmentHead,
    encode_beginning,
    encode_foot,
    sectors_needed,
)
from raft_exchange.raft.storage import Directory


class SegmentWriter:
    """Appends blocks to a journal's last segment.

    Raises `OSError` from every method; after one the writer may only be closed.

    Args:
        directory: where the segments are.
        segment_bytes: size of a segment; a larger block gets a larger one.
        is_synced: whether `append` waits for the disk.
    """

    def __init__(self, directory: Directory, *, segment_bytes: int, is_synced: bool) -> None:
        self.segment = SegmentHead(b"", 0, 0)
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._is_synced = is_synced
        self._file: int | None = None
        self._sector = 0
        self._sequence = 1

    def resume_after(self, block: Block) -> None:
        """Go on after the last block found, made durable once more.

        It may be in the system's cache and not on the disk, even after a sync that failed; only
        what is written again is synced again. The same holds for the names in the directory.
        """
        self._file = self._directory.open(block.segment.name)
        self.segment, self._sector = block.segment, block.sector
        self._sequence = block.sequence
        self._write(block.data)
        self._directory.sync_data(self._file)
        self._directory.sync()

    def append(self, records: bytes, checkpoint: bytes) -> None:
        """Write one block and, if asked to, wait for the disk.

        Args:
            records: the block.
            checkpoint: the records that say how the journal stands *before* this block; begins a
                new segment if the block needs one.
        """
        if self._sector + sectors_for(len(records)) >= self.segment.sectors:
            self.begin(self.segment.salt, checkpoint, records_bytes=len(records))
        self._write(records)
        if self._is_synced:
            assert self._file is not None
            self._directory.sync_data(self._file)

    def begin(self, salt: bytes, checkpoint: bytes, *, records_bytes: int = 0) -> None:
        """Go on in a new segment, which has room for a block of that many bytes of records."""
        sectors = max(
            self._segment_bytes // SECTOR_BYTES, sectors_needed(len(checkpoint), records_bytes)
        )
        segment = SegmentHead(salt, self._sequence, sectors)
        unfinished = segment.name + UNFINISHED_SUFFIX
        file = self._directory.create(unfinished, sectors * SECTOR_BYTES)
        self._directory.write(file, encode_beginning(segment, checkpoint), 0)
        self._directory.sync_data(file)
        self._directory.rename(unfinished, segment.name)
        self._directory.sync()
        previous, self._file = self._file, file
        if previous is not None:
            foot_offset = (self.segment.sectors - 1) * SECTOR_BYTES
            self._directory.write(previous, encode_foot(self.segment, segment), foot_offset)
            self._directory.sync_data(previous)
            self._directory.close_file(previous)
        self.segment = segment
        self._sector = FIRST_SECTOR + sectors_for(len(checkpoint))
        self._sequence += 1

    def close(self) -> None:
        """Give the file back, without a sync. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            self._directory.close_file(file)

    def _write(self, records: bytes) -> None:
        assert self._file is not None
        block = encode_block(
            records, sequence=self._sequence, salt=self.segment.salt, sector=self._sector
        )
        self._directory.write(self._file, block, self._sector * SECTOR_BYTES)
        self._sector += len(block) // SECTOR_BYTES
        self._sequence += 1
