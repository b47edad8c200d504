"""One transfer as the receiver sees it: an unfinished file that only grows at its end.

A lost connection leaves the file as it is, and the transfer goes on behind its last byte, with
whichever leader offers the same bytes. A restart begins anew.
"""

from __future__ import annotations

from typing import Final

from raft_exchange.raft.snapshot_file import Header, SnapshotDamaged
from raft_exchange.raft.snapshot_store import UNFINISHED_SUFFIX, SnapshotStore
from raft_exchange.raft.wire import SnapshotChunk

RECEIVED: Final = "received"
SYNC_BYTES: Final = 4 * 1024 * 1024
"""Written out as it comes, so that the end does not wait for all of it at once."""
RESERVE_BYTES: Final = 256 * 1024 * 1024
"""What a transfer leaves free for the log."""


class SnapshotReceiving:
    """Collects the chunks of one snapshot; raises `OSError` when the disk fails."""

    def __init__(self, store: SnapshotStore, offer: SnapshotChunk) -> None:
        self.have_bytes = 0
        self._offer = offer
        self._store = store
        self._synced_bytes = 0
        self._file = store.create(RECEIVED)

    @staticmethod
    def has_room(store: SnapshotStore, offer: SnapshotChunk) -> bool:
        """Say whether the disk takes that snapshot and still leaves some."""
        return store.directory.free_bytes() >= offer.size_bytes + RESERVE_BYTES

    def is_of(self, chunk: SnapshotChunk) -> bool:
        """Say whether the chunk belongs to the same bytes."""
        return (chunk.index, chunk.snapshot_term, chunk.size_bytes, chunk.sha256) == (
            self._offer.index,
            self._offer.snapshot_term,
            self._offer.size_bytes,
            self._offer.sha256,
        )

    def take(self, chunk: SnapshotChunk) -> None:
        """Append the chunk if it is the next; another one is ignored, and so are none."""
        if not chunk.data or chunk.offset != self.have_bytes:
            return
        self._store.directory.write(self._file, chunk.data, self.have_bytes)
        self.have_bytes += len(chunk.data)
        if self.have_bytes - self._synced_bytes >= SYNC_BYTES or self.is_complete:
            self._store.directory.sync_data(self._file)
            self._synced_bytes = self.have_bytes

    @property
    def is_complete(self) -> bool:
        """Whether every byte is here."""
        return self.have_bytes == self._offer.size_bytes

    def read(self) -> tuple[Header, list[bytes]]:
        """Return what was received, every sum checked, as announced.

        Raises:
            SnapshotDamaged: it is not what was announced, or not a snapshot at all.
        """
        header, sections = self._store.read_unfinished(RECEIVED + UNFINISHED_SUFFIX)
        found = (header.index, header.term)
        if found != (self._offer.index, self._offer.snapshot_term):
            raise SnapshotDamaged(f"it ends at {found}")
        return header, sections

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        self._store.directory.close_file(self._file)
