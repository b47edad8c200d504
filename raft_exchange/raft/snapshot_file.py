"""The bytes of a snapshot: what it is a snapshot of, the content, and sums over all of it.

Layout: 12 bytes of magic and format version; chunks, each a length, a CRC-32 and up to 1 MiB; the
SHA-256 of everything before it. The first chunk is the `Header`, the others are the sections one
after the other, cut without regard to where one ends. Nothing in it depends on the node or the
moment, so every node writes the same bytes at the same index.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Final
from zlib import crc32

import msgspec

from raft_exchange.raft.entries import Position
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.wire import SHA256_BYTES

FORMAT_VERSION: Final = 2
READABLE_VERSIONS: Final = (1, 2)
"""The first knew nothing of members."""
PIECE_BYTES_MAX: Final = 1024 * 1024
SECTIONS_MAX: Final = 16

_MAGIC: Final = b"rx.snap\n"
_HEAD: Final = struct.Struct("<8sI")  # magic, version
_CHUNK: Final = struct.Struct("<II")  # length, CRC of the bytes


class SnapshotDamaged(ValueError):
    """The bytes are not a whole snapshot of this format; the message says where and why."""


class Image(msgspec.Struct, frozen=True):
    """The content: the state machine's own bytes, opaque here, and what names that state."""

    sequence: int
    time_us: int
    state_hash: str
    sections: Sequence[bytes]


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot is of.

    `log_bytes` sums up the commands of the log up to `index`, `configuration` is in force there.
    """

    cluster: str
    index: int
    term: int
    log_bytes: int
    sequence: int
    time_us: int
    state_hash: str
    section_bytes: list[int]
    configuration: Configuration | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)


def header_of(
    image: Image,
    *,
    cluster: str,
    at: Position,
    log_bytes: int,
    configuration: Configuration | None,
) -> Header:
    """Return the header of a snapshot with that content; `at` is the last entry in it.

    Without a configuration it is in force what was before: the founders', in a new log.
    """
    return Header(
        cluster,
        at.index,
        at.term,
        log_bytes,
        image.sequence,
        image.time_us,
        image.state_hash,
        [len(section) for section in image.sections],
        configuration,
    )


def encode(header: Header, sections: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a snapshot, in pieces of `PIECE_BYTES_MAX` and a little. O(bytes)."""
    assert header.section_bytes == [len(section) for section in sections]
    assert len(sections) <= SECTIONS_MAX
    total = hashlib.sha256()
    for piece in _pieces(header, sections):
        total.update(piece)
        yield piece
    yield total.digest()


def _pieces(header: Header, sections: Sequence[bytes]) -> Iterator[bytes]:
    yield _HEAD.pack(_MAGIC, FORMAT_VERSION)
    yield _chunk(_encoder.encode(header))
    for section in sections:
        for start in range(0, len(section), PIECE_BYTES_MAX):
            yield _chunk(section[start : start + PIECE_BYTES_MAX])


def _chunk(data: bytes) -> bytes:
    return _CHUNK.pack(len(data), crc32(data)) + data


def decode(raw: bytes) -> tuple[Header, list[bytes]]:
    """Return header and sections of a whole snapshot, every sum checked. O(bytes).

    Raises:
        SnapshotDamaged: one byte is missing, changed or too many; or another format.
    """
    header, offset = decode_header(raw)
    chunks = []
    end = len(raw) - SHA256_BYTES
    while offset < end:
        chunk, offset = _read_chunk(raw, offset, end)
        chunks.append(chunk)
    if hashlib.sha256(memoryview(raw)[:end]).digest() != raw[end:]:
        raise SnapshotDamaged(f"byte {end}: the SHA-256 is another one")
    content = memoryview(b"".join(chunks))
    if len(content) != sum(header.section_bytes):
        raise SnapshotDamaged(f"{len(content)} bytes of content, not {header.section_bytes}")
    sections, start = [], 0
    for size_bytes in header.section_bytes:
        sections.append(bytes(content[start : start + size_bytes]))
        start += size_bytes
    return header, sections


def decode_header(raw: bytes) -> tuple[Header, int]:
    """Return the header of a snapshot that begins with `raw`, and where the content begins.

    Raises:
        SnapshotDamaged: not a snapshot of this format.
    """
    if len(raw) < _HEAD.size:
        raise SnapshotDamaged(f"{len(raw)} bytes are no snapshot")
    magic, version = _HEAD.unpack_from(raw)
    if magic != _MAGIC:
        raise SnapshotDamaged("byte 0: not a snapshot")
    if version not in READABLE_VERSIONS:
        raise SnapshotDamaged(f"format {version}; this release reads {READABLE_VERSIONS}")
    chunk, offset = _read_chunk(raw, _HEAD.size, len(raw))
    try:
        header = _decoder.decode(chunk)
    except (msgspec.DecodeError, ValueError) as error:
        raise SnapshotDamaged(f"byte {_HEAD.size}: no header: {error}") from error
    if len(header.section_bytes) > SECTIONS_MAX or any(n < 0 for n in header.section_bytes):
        raise SnapshotDamaged(f"byte {_HEAD.size}: sections of {header.section_bytes} bytes")
    return header, offset


def _read_chunk(raw: bytes, offset: int, end: int) -> tuple[bytes, int]:
    start = offset + _CHUNK.size
    if start > end:
        raise SnapshotDamaged(f"byte {offset}: the file ends inside a chunk's head")
    length, crc = _CHUNK.unpack_from(raw, offset)
    if length > PIECE_BYTES_MAX or start + length > end:
        raise SnapshotDamaged(f"byte {offset}: a chunk of {length} bytes")
    chunk = raw[start : start + length]
    if crc32(chunk) != crc:
        raise SnapshotDamaged(f"byte {offset}: the chunk is damaged")
    return chunk, start + length
