"""The journal's bytes: records in a block, a block in sectors.

A *record* is one change of the log: 21 bytes of head (kind, length of data, index, term), then
data. A *block* is what one sync writes: a head (sequence, length, two CRCs), then records. It is
valid as a whole or not at all. Both CRC-32 start from the journal's salt and the block's sector,
so that bytes left over from another place, file or journal never pass.

A block fills whole *sectors* of 512 bytes, each of 511 bytes of data and a mark. A disk that loses
power keeps, loses or tears (a beginning arrives) each unsynced sector for itself; in all but the
first case the mark reads as zeros, since segments are born as zeros and no sector is written
twice with other bytes. So a block with a bad CRC and all its marks was written whole and damaged
later, and one with a blank mark was torn: the difference between data loss and a cut tail.
The CRC does not cover the marks: where the data is right a mark does not matter, so one damaged
byte cannot both spoil a block and make it look torn.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

SECTOR_BYTES: Final = 512
MARK: Final = b"\xa5"
_BLANK: Final = bytes(len(MARK))
_DATA_BYTES: Final = SECTOR_BYTES - len(MARK)

# The kinds of record. The comment says what index, term and data mean.
ENTRY: Final = 1  # index and term of the entry; its command
TRUNCATE: Final = 2  # the first index that is gone
COMPACT: Final = 3  # the base: everything up to index is in a snapshot; its term
RESET: Final = 4  # a snapshot at (index, term) replaced the whole log
STATE: Final = 5  # commit index, current term, whom this node voted for in it (empty: nobody)
TAIL: Final = 6  # begins a segment: where the log ended then

RECORD: Final = struct.Struct("<BIQQ")
_BLOCK: Final = struct.Struct("<QII")  # sequence, bytes of records, CRC of the padded records
_CRC: Final = struct.Struct("<I")  # CRC of that head
_PLACE: Final = struct.Struct("<8sQ")  # salt, sector: what every CRC starts from
BLOCK_HEAD_BYTES: Final = _BLOCK.size + _CRC.size
SALT_BYTES: Final = 8

Record = tuple[int, int, int, bytes]
"""Kind, index, term, data."""


class BlockHead(NamedTuple):
    """What a valid block head says."""

    sequence: int
    records_bytes: int
    records_crc: int

    @property
    def sectors(self) -> int:
        """How many sectors the block fills."""
        return sectors_for(self.records_bytes)


def sectors_for(records_bytes: int) -> int:
    """Return how many sectors a block with that many bytes of records fills."""
    return -(-(BLOCK_HEAD_BYTES + records_bytes) // _DATA_BYTES)


def encode_record(kind: int, index: int, term: int, data: bytes = b"") -> bytes:
    """Return one record."""
    return RECORD.pack(kind, len(data), index, term) + data


def decode_records(data: bytes) -> Iterator[Record]:
    """Yield the records of a block.

    Raises:
        ValueError: the bytes do not end with a record's end; no block of ours is like that.
    """
    unpack_from, head_bytes, end = RECORD.unpack_from, RECORD.size, len(data)
    offset = 0
    while offset < end:
        if offset + head_bytes > end:
            raise ValueError(f"half a record at byte {offset}")
        kind, length, index, term = unpack_from(data, offset)
        offset += head_bytes + length
        if offset > end:
            raise ValueError(f"a record ends at byte {offset} of {end}")
        yield kind, index, term, data[offset - length : offset]


def encode_block(records: bytes, *, sequence: int, salt: bytes, sector: int) -> bytes:
    """Return the sectors of one block, to be written at `sector` of its segment. O(bytes)."""
    padded = records.ljust(sectors_for(len(records)) * _DATA_BYTES - BLOCK_HEAD_BYTES, b"\0")
    place = crc32(_PLACE.pack(salt, sector))
    head = _BLOCK.pack(sequence, len(records), crc32(padded, place))
    return to_sectors(head + _CRC.pack(crc32(head, place)) + padded)


def block_head(raw: bytes, sector: int, salt: bytes) -> BlockHead | None:
    """Return the head of the block that begins at `sector` of a segment, if it is one. O(1)."""
    offset = sector * SECTOR_BYTES
    head = raw[offset : offset + _BLOCK.size]
    if len(head) < _BLOCK.size:
        return None
    (expected,) = _CRC.unpack_from(raw, offset + _BLOCK.size)
    if crc32(head, crc32(_PLACE.pack(salt, sector))) != expected:
        return None
    return BlockHead(*_BLOCK.unpack(head))


def block_records(raw: bytes, sector: int, salt: bytes, head: BlockHead) -> bytes | None:
    """Return the records of the block at `sector` if its CRC holds. O(bytes)."""
    padded = from_sectors(raw, sector, head.sectors)[BLOCK_HEAD_BYTES:]
    if crc32(padded, crc32(_PLACE.pack(salt, sector))) != head.records_crc:
        return None
    return padded[: head.records_bytes]


def to_sectors(data: bytes) -> bytes:
    """Return `data` in marked sectors, the last one filled with zeros."""
    pieces = [data[start : start + _DATA_BYTES] for start in range(0, len(data), _DATA_BYTES)]
    pieces[-1] = pieces[-1].ljust(_DATA_BYTES, b"\0")
    pieces.append(b"")
    return MARK.join(pieces)


def from_sectors(raw: bytes, sector: int, count: int) -> bytes:
    """Return the data of `count` sectors, without their marks."""
    first, end = sector * SECTOR_BYTES, (sector + count) * SECTOR_BYTES
    return b"".join([raw[start : start + _DATA_BYTES] for start in range(first, end, SECTOR_BYTES)])


def is_torn(raw: bytes, sector: int, count: int) -> bool:
    """Return whether one of `count` sectors was never written to its end."""
    first, end = sector * SECTOR_BYTES, (sector + count) * SECTOR_BYTES
    return any(
        raw[start + _DATA_BYTES : start + SECTOR_BYTES] == _BLANK
        for start in range(first, end, SECTOR_BYTES)
    )
