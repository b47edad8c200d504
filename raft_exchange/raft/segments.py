"""The journal's files: reading them back, and telling a torn tail from damage.

A segment is a file of fixed size, born as zeros: sector 0 is its head, the last sector its foot,
blocks fill the sectors between from 1 on. Blocks are numbered without a gap through all segments;
a segment is named by the number of its first block. The first block says how the journal stood,
so that older segments may be removed.

What may be believed rests on two facts of writing. Block N+1 is written only after the sync of
block N returned. A segment gets its name only after its head and first block are synced, and only
when everything before it is synced or was given up as torn. Hence an unreadable block N is a torn
tail, which may be cut because nobody was told of it, exactly when all of this holds:

* it is in the last segment and not its first block;
* no valid block head with a greater number stands behind it;
* one of its sectors was not written to its end (`records.is_torn`), or its first one if its head
  is unreadable, so that its length is unknown.

Everything else is `JournalCorrupt`: a byte changed in the last block as well as a file that is
missing, shortened or from another journal. The foot names the segment that follows, so that the
loss of the newest file is seen. What cannot be seen: whole sectors of the very last block turned
into zeros, and the loss of the newest file in the instant before the foot was written.

A cut never overwrites: writing goes on in a new segment whose first block takes the torn one's
number, and readers stop there in the old one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from raft_exchange.raft.records import (
    SALT_BYTES,
    SECTOR_BYTES,
    BlockHead,
    Record,
    block_head,
    block_records,
    decode_records,
    encode_block,
    from_sectors,
    is_torn,
    sectors_for,
    to_sectors,
)
from raft_exchange.raft.storage import Directory

FORMAT_VERSION: Final = 1
FIRST_SECTOR: Final = 1
SUFFIX: Final = ".journal"
UNFINISHED_SUFFIX: Final = ".unfinished"

_MAGIC: Final = b"rx.log\r\n"
_HEAD: Final = struct.Struct(f"<8sI{SALT_BYTES}sQQ")  # magic, version, salt, first block, sectors
_FOOT: Final = struct.Struct(f"<{SALT_BYTES}sQQ")  # salt, own first block, first block of the next
_CRC: Final = struct.Struct("<I")
_ZEROS: Final = bytes(1024 * 1024)  # compared at once; stripping goes byte by byte


class JournalCorrupt(RuntimeError):
    """The journal on disk is not what was written. The message names the file and the byte."""


class SegmentHead(NamedTuple):
    """What sector 0 of a segment says."""

    salt: bytes
    first_sequence: int
    sectors: int

    @property
    def name(self) -> str:
        """The segment's file name."""
        return name_for(self.first_sequence)


class Block(NamedTuple):
    """One valid block: what one sync wrote."""

    segment: SegmentHead
    sector: int
    sequence: int
    data: bytes

    @property
    def end_sector(self) -> int:
        """The sector after the block."""
        return self.sector + sectors_for(len(self.data))

    @property
    def begins_segment(self) -> bool:
        """Whether this is the block that says how the journal stood when the segment began."""
        return self.sector == FIRST_SECTOR

    def records(self) -> Iterator[Record]:
        """Yield the block's records."""
        return decode_records(self.data)


class TornTail(NamedTuple):
    """What a loss of power left of a block whose sync never returned."""

    segment: str
    offset_bytes: int
    length_bytes: int


class Segment:
    """The bytes of one segment file, read-only.

    Raises:
        JournalCorrupt: the head is damaged, of another format or not of this file.
    """

    def __init__(self, name: str, raw: bytes) -> None:
        self.name = name
        self._raw = raw
        head = from_sectors(raw, 0, 1)[: _HEAD.size + _CRC.size]
        if len(head) < _HEAD.size + _CRC.size or not head.startswith(_MAGIC):
            raise self._corrupt(0, "not a journal segment")
        (crc,) = _CRC.unpack_from(head, _HEAD.size)
        if crc32(head[: _HEAD.size]) != crc:
            raise self._corrupt(0, "the head is damaged")
        _, version, *fields = _HEAD.unpack_from(head)
        if version != FORMAT_VERSION:
            raise self._corrupt(0, f"format {version}; this release reads {FORMAT_VERSION}")
        self.head = SegmentHead(*fields)
        if name != self.head.name:
            raise self._corrupt(0, f"the file is {self.head.name} by its head")
        if len(raw) != self.head.sectors * SECTOR_BYTES:
            raise self._corrupt(len(raw), f"the file had {self.head.sectors * SECTOR_BYTES} bytes")
        self._foot_sector = self.head.sectors - 1

    @property
    def followed_by(self) -> int | None:
        """The number of the first block of the next segment, if the foot names one."""
        foot = from_sectors(self._raw, self._foot_sector, 1)
        (crc,) = _CRC.unpack_from(foot, _FOOT.size)
        salt, own, following = _FOOT.unpack_from(foot)
        is_valid = crc32(foot[: _FOOT.size]) == crc and salt == self.head.salt
        return int(following) if is_valid and own == self.head.first_sequence else None

    def block(self, sector: int, sequence: int) -> Block | None:
        """Return the block numbered `sequence` at `sector` if it is there and valid. O(bytes)."""
        head = self._head(sector)
        if head is None or head.sequence != sequence:
            return None
        data = block_records(self._raw, sector, self.head.salt, head)
        return None if data is None else Block(self.head, sector, sequence, data)

    def torn_tail(self, sector: int, sequence: int) -> TornTail | None:
        """Return what stands where block `sequence` is expected at the end of the last segment.

        None if nothing was ever written there. O(sectors).

        Raises:
            JournalCorrupt: by the rule above, something that was synced cannot be read.
        """
        begin, end = sector * SECTOR_BYTES, self._foot_sector * SECTOR_BYTES
        written = self._written_end(begin, end) - begin
        if sector == FIRST_SECTOR:
            raise self._corrupt(begin, f"block {sequence} is unreadable; it began the segment")
        if written == 0:
            return None
        for later in range(sector, sector + -(-written // SECTOR_BYTES)):
            found = self._head(later)
            if found is not None and found.sequence > sequence:
                raise self._corrupt(
                    begin,
                    f"block {sequence} is unreadable, but block {found.sequence} was written "
                    f"after it at byte {later * SECTOR_BYTES}",
                )
        head = self._head(sector)
        if not is_torn(self._raw, sector, 1 if head is None else head.sectors):
            raise self._corrupt(begin, f"block {sequence} was written whole and has changed since")
        return TornTail(self.name, begin, written)

    def _written_end(self, begin: int, end: int) -> int:
        """Return where the zeros begin that stand before `end`, all that was allocated ahead."""
        while self._raw.endswith(_ZEROS, begin, end):
            end -= len(_ZEROS)
        return begin + len(self._raw[begin:end].rstrip(b"\0"))

    def unreadable(self, sector: int, sequence: int, following: str) -> JournalCorrupt:
        """Return the error for a block that is missing before a later segment."""
        return self._corrupt(
            sector * SECTOR_BYTES, f"block {sequence} is missing or damaged before {following}"
        )

    def _head(self, sector: int) -> BlockHead | None:
        head = block_head(self._raw, sector, self.head.salt)
        if head is None or sector + head.sectors > self._foot_sector:
            return None
        return head

    def _corrupt(self, offset_bytes: int, what: str) -> JournalCorrupt:
        return JournalCorrupt(f"{self.name}, byte {offset_bytes}: {what}")


def name_for(sequence: int) -> str:
    """Return the name of the segment that begins with that block; names sort like numbers."""
    return f"{sequence:020d}{SUFFIX}"


def sectors_needed(first_records_bytes: int, records_bytes: int) -> int:
    """Return how many sectors hold the head, a first block, one more block and the foot."""
    return FIRST_SECTOR + sectors_for(first_records_bytes) + sectors_for(records_bytes) + 1


def encode_beginning(segment: SegmentHead, records: bytes) -> bytes:
    """Return the head and the first block of a new segment."""
    head = _HEAD.pack(_MAGIC, FORMAT_VERSION, *segment)
    block = encode_block(
        records, sequence=segment.first_sequence, salt=segment.salt, sector=FIRST_SECTOR
    )
    return to_sectors(head + _CRC.pack(crc32(head))) + block


def encode_foot(segment: SegmentHead, following: SegmentHead) -> bytes:
    """Return the last sector of a segment after which another one begins."""
    foot = _FOOT.pack(segment.salt, segment.first_sequence, following.first_sequence)
    return to_sectors(foot + _CRC.pack(crc32(foot)))


def read(directory: Directory) -> Iterator[Block | TornTail]:
    """Yield every block of a journal in the order of writing, checking every sum on the way.

    A `TornTail` can only come last. Writes nothing and takes no lock, so an offline check can use
    it; beside a running writer the last block may look torn. Holds one segment in memory.

    Raises:
        JournalCorrupt: see the rule above.
        OSError: the disk failed to read.
    """
    names = [name for name in directory.names() if name.endswith(SUFFIX)]
    salt: bytes | None = None
    for number, name in enumerate(names):
        segment = Segment(name, directory.read(name))
        if salt is not None and segment.head.salt != salt:
            raise JournalCorrupt(f"{name}, byte 0: the segment belongs to another journal")
        salt = segment.head.salt
        following = names[number + 1] if number + 1 < len(names) else None
        yield from _read_segment(segment, following)


def _read_segment(segment: Segment, following: str | None) -> Iterator[Block | TornTail]:
    sector, sequence = FIRST_SECTOR, segment.head.first_sequence
    while following is None or name_for(sequence) != following:
        block = segment.block(sector, sequence)
        if block is None:
            break
        yield block
        sector, sequence = block.end_sector, sequence + 1
    else:
        return
    if following is not None:
        raise segment.unreadable(sector, sequence, following)
    if segment.followed_by is not None:
        raise JournalCorrupt(f"{name_for(segment.followed_by)}: the segment is missing")
    torn = segment.torn_tail(sector, sequence)
    if torn is not None:
        yield torn
