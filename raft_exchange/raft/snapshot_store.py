"""The snapshots of one member on disk: the last two, each whole or not there.

Rules.

* A snapshot is written under an unfinished name, synced, renamed, and the rename synced. Only then
  is it `newest`, and only then may the log forget anything on its account. An unfinished file
  holds nothing that counts and is removed at the next opening.
* The log is compacted to the *previous* snapshot, so that the newest may turn out to be damaged:
  the previous one and the longer log give the same state.
* Where neither fits the log, the member does not start. It never starts empty.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from raft_exchange.raft.snapshot_file import Header, SnapshotDamaged, decode, decode_header
from raft_exchange.raft.storage import Directory
from raft_exchange.raft.wire import SHA256_BYTES

SUFFIX: Final = ".snapshot"
UNFINISHED_SUFFIX: Final = ".unfinished"
KEPT: Final = 2
HEADER_BYTES_MAX: Final = 64 * 1024

logger = logging.getLogger(__name__)


class SnapshotsUnusable(RuntimeError):
    """No snapshot on disk fits the log; the message names each file and what is wrong with it."""


class Snapshot(msgspec.Struct, frozen=True):
    """One snapshot on disk."""

    name: str
    header: Header
    size_bytes: int
    sha256: bytes

    @property
    def index(self) -> int:
        """The last log entry whose effects it holds."""
        return self.header.index


class OpenSnapshot:
    """A snapshot that can be read to its end, though newer ones take its place meanwhile."""

    def __init__(self, directory: Directory, snapshot: Snapshot) -> None:
        self.header = snapshot.header
        self.size_bytes = snapshot.size_bytes
        self._directory = directory
        self._file = directory.open(snapshot.name)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return a part of the file."""
        return self._directory.read_at(self._file, offset, size_bytes)

    def close(self) -> None:
        """Give the file back."""
        self._directory.close_file(self._file)


class SnapshotStore:
    """The snapshots in one directory, oldest first in `snapshots`.

    Every method raises `OSError` when the disk fails.

    Args:
        directory: used by nobody else, which the journal's lock sees to.
        cluster: snapshots of another one are refused.
    """

    def __init__(self, directory: Directory, *, cluster: str) -> None:
        self.directory = directory
        self.cluster = cluster
        self.snapshots: list[Snapshot] = []

    @property
    def newest(self) -> Snapshot | None:
        """The snapshot with the greatest index, if there is any."""
        return self.snapshots[-1] if self.snapshots else None

    @property
    def previous(self) -> Snapshot | None:
        """The one before the newest."""
        return self.snapshots[-2] if len(self.snapshots) > 1 else None

    def load(self, *, base_index: int) -> tuple[Header, list[bytes]] | None:
        """Return the newest snapshot that is whole; None where the log alone is enough.

        Called once, before anything is adopted. Unfinished files go.

        Args:
            base_index: where the log begins; an older snapshot leaves a gap.

        Raises:
            SnapshotsUnusable: the log needs a snapshot, and none that is whole is new enough.
        """
        for name in self.directory.names():
            if name.endswith(UNFINISHED_SUFFIX):
                self.directory.unlink(name)
        names = sorted((n for n in self.directory.names() if n.endswith(SUFFIX)), reverse=True)
        complaints = []
        for name in names:
            try:
                found = self._read_whole(name)
            except SnapshotDamaged as error:
                complaints.append(f"{name}: {error}")
                continue
            header = found[0]
            if header.index < base_index:
                complaints.append(f"{name}: ends at {header.index}")
                break
            for complaint in complaints:
                logger.error("a snapshot is passed over for an older one: %s", complaint)
            self._note_all(names[names.index(name) :])
            return found
        if base_index > 0:
            reasons = "; ".join(complaints) or "there is no snapshot"
            raise SnapshotsUnusable(f"the log begins after entry {base_index}, but {reasons}")
        for complaint in complaints:
            logger.error("a snapshot is passed over for the whole log: %s", complaint)
        return None

    def read_unfinished(self, name: str) -> tuple[Header, list[bytes]]:
        """Return the content of an unfinished file that may become a snapshot.

        Raises:
            SnapshotDamaged: it may not.
        """
        return self._checked(self.directory.read(name))

    def create(self, name: str) -> int:
        """Return a new, empty, unfinished file; one left under that name is replaced."""
        name += UNFINISHED_SUFFIX
        if name in self.directory.names():
            self.directory.unlink(name)
        return self.directory.create(name, 0)

    def discard(self, name: str) -> None:
        """Remove an unfinished file."""
        self.directory.unlink(name + UNFINISHED_SUFFIX)

    def adopt(self, name: str) -> Snapshot:
        """Make an unfinished file, which is whole and synced, the newest snapshot; keep two."""
        found = self._describe(name + UNFINISHED_SUFFIX)
        final = f"{found.index:020d}{SUFFIX}"
        self.directory.rename(name + UNFINISHED_SUFFIX, final)
        self.directory.sync()
        kept = [old for old in self.snapshots if old.index < found.index]
        self.snapshots = [*kept, msgspec.structs.replace(found, name=final)][-KEPT:]
        names = {snapshot.name for snapshot in self.snapshots}
        for old in self.directory.names():
            if old.endswith(SUFFIX) and old not in names:
                self.directory.unlink(old)
        return self.snapshots[-1]

    def open_newest(self) -> OpenSnapshot | None:
        """Return the newest snapshot, to be read and closed; None while there is none."""
        newest = self.newest
        return None if newest is None else OpenSnapshot(self.directory, newest)

    def read(self, snapshot: Snapshot, offset: int, size_bytes: int) -> bytes:
        """Return a part of a snapshot's file."""
        file = self.directory.open(snapshot.name)
        try:
            return self.directory.read_at(file, offset, size_bytes)
        finally:
            self.directory.close_file(file)

    def _note_all(self, names: list[str]) -> None:
        for name in reversed(names[:KEPT]):
            try:
                self.snapshots.append(self._describe(name))
            except SnapshotDamaged as error:
                logger.error("%s: %s", name, error)

    def _describe(self, name: str) -> Snapshot:
        file = self.directory.open(name)
        try:
            size_bytes = self.directory.size_of(file)
            header, _ = decode_header(self.directory.read_at(file, 0, HEADER_BYTES_MAX))
            tail = self.directory.read_at(file, size_bytes - SHA256_BYTES, SHA256_BYTES)
        finally:
            self.directory.close_file(file)
        return Snapshot(name, header, size_bytes, tail)

    def _read_whole(self, name: str) -> tuple[Header, list[bytes]]:
        header, sections = self._checked(self.directory.read(name))
        if name != f"{header.index:020d}{SUFFIX}":
            raise SnapshotDamaged(f"by its header it ends at {header.index}")
        return header, sections

    def _checked(self, raw: bytes) -> tuple[Header, list[bytes]]:
        header, sections = decode(raw)
        if header.cluster != self.cluster:
            raise SnapshotDamaged(f"it belongs to cluster {header.cluster!r}")
        return header, sections
