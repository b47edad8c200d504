"""Where entries are put before the log forgets them, so that a day can be replayed later.

Layout of a file: 16 bytes of magic and format version; then chunks, each a length, a CRC-32 and
the msgpack of a `Chunk`, the first of which names the cluster and holds no entries. Chunks are only
ever appended, and synced before the log forgets what is in them. A new file begins at every start
and after `FILE_BYTES`; it is named by its first entry.

What a crash tore at a file's end was not forgotten by the log: it stands again in the next file.
So reading takes each file as far as it is whole, and insists that the next goes on where it ends.
A member that was sent a snapshot lacks what it jumped over; other members' archives hold it.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from raft_exchange.raft.storage import Directory

FORMAT_VERSION: Final = 1
SUFFIX: Final = ".archive"
FILE_BYTES: Final = 64 * 1024 * 1024
PIECE_BYTES: Final = 512 * 1024
PIECE_ENTRIES: Final = 4_096
"""How much is archived in one tick: written and synced in the loop."""
CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024
RETRY_S: Final = 30.0

_MAGIC: Final = b"rx.archv"
_HEAD: Final = struct.Struct("<8sQ")  # magic, version
_CHUNK: Final = struct.Struct("<II")  # length, CRC of the bytes

logger = logging.getLogger(__name__)

LogEntry = tuple[bytes, int, int]
"""Command, index, term: as the journal gives them."""


class ArchiveDamaged(ValueError):
    """Entries are missing, or contradict each other; the message says which."""


class Chunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A run of entries from index `first`, each its term and its command."""

    cluster: str
    first: int
    entries: list[tuple[int, bytes]]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Chunk)


class Archive:
    """One member's archive, for writing. Its failures cost space, never entries.

    Args:
        directory: of this member alone.
        cluster: told in every file.
    """

    def __init__(self, directory: Directory, *, cluster: str) -> None:
        self.failures = 0
        self.archived_index = 0
        self._directory = directory
        self._cluster = cluster
        self._file: int | None = None
        self._size_bytes = 0
        self._retry_at_s = float("-inf")

    def put(self, entries: list[LogEntry], *, now_s: float) -> bool:
        """Make a run of entries durable; return whether the log may forget them."""
        if now_s < self._retry_at_s:
            return False
        try:
            self._append(entries)
        except OSError as error:
            self.failures += 1
            self._retry_at_s = now_s + RETRY_S
            self.close()
            logger.error("the archive cannot be written: %s; the log keeps its entries", error)
            return False
        self.archived_index = entries[-1][1]
        return True

    def _append(self, entries: list[LogEntry]) -> None:
        first = entries[0][1]
        chunk = Chunk(self._cluster, first, [(term, command) for command, _, term in entries])
        if self._file is None or self._size_bytes >= FILE_BYTES:
            self._begin_file(first)
        assert self._file is not None
        data = _framed(chunk)
        self._directory.write(self._file, data, self._size_bytes)
        self._directory.sync_data(self._file)
        self._size_bytes += len(data)

    def _begin_file(self, first: int) -> None:
        self.close()
        name = f"{first:020d}{SUFFIX}"
        if name in self._directory.names():
            # It was begun before; the log forgot nothing that is only in there, or would not ask.
            self._directory.unlink(name)
        self._file = self._directory.create(name, 0)
        head = _HEAD.pack(_MAGIC, FORMAT_VERSION) + _framed(Chunk(self._cluster, first, []))
        self._directory.write(self._file, head, 0)
        self._directory.sync_data(self._file)
        self._directory.sync()
        self._size_bytes = len(head)

    def close(self) -> None:
        """Give the file back; the next piece begins another."""
        if self._file is not None:
            self._directory.close_file(self._file)
            self._file = None


def _framed(chunk: Chunk) -> bytes:
    data = _encoder.encode(chunk)
    assert len(data) <= CHUNK_BYTES_MAX, len(data)
    return _CHUNK.pack(len(data), crc32(data)) + data


# Reading -----------------------------------------------------------------------------------------


def read_archives(folders: Iterable[Path]) -> Iterator[LogEntry]:
    """Yield all entries in order, those that one folder lacks from another.

    Raises:
        ArchiveDamaged: an entry is in no folder, or a file is of another cluster; nothing
            behind it is yielded.
        OSError: the disk failed to read.
    """
    paths = [path for folder in folders for path in folder.rglob(f"*{SUFFIX}")]
    last, cluster = 0, None
    for path in sorted(paths, key=lambda path: path.name):
        for chunk in _chunks(path):
            cluster = chunk.cluster if cluster is None else cluster
            if chunk.cluster != cluster:
                raise ArchiveDamaged(f"{path}: of cluster {chunk.cluster!r}, not {cluster!r}")
            if chunk.first > last + 1:
                raise ArchiveDamaged(f"entries {last + 1} to {chunk.first - 1} are missing")
            for index, (term, command) in enumerate(chunk.entries, start=chunk.first):
                if index == last + 1:
                    yield command, index, term
                    last = index


def _chunks(path: Path) -> Iterator[Chunk]:
    """Yield the chunks of a file as far as it is whole."""
    raw = path.read_bytes()
    if len(raw) < _HEAD.size:
        return
    magic, version = _HEAD.unpack_from(raw)
    if magic != _MAGIC or version != FORMAT_VERSION:
        raise ArchiveDamaged(f"{path}: not an archive of format {FORMAT_VERSION}")
    offset = _HEAD.size
    while offset + _CHUNK.size <= len(raw):
        length, crc = _CHUNK.unpack_from(raw, offset)
        data = raw[offset + _CHUNK.size : offset + _CHUNK.size + length]
        if len(data) != length or length > CHUNK_BYTES_MAX or crc32(data) != crc:
            return
        try:
            yield _decoder.decode(data)
        except (msgspec.DecodeError, ValueError) as error:
            raise ArchiveDamaged(f"{path}, byte {offset}: {error}") from error
        offset += _CHUNK.size + length
