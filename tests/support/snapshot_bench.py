"""Snapshots of a small machine on a simulated disk: one member without its group.

The machine is a list of payloads. `apply` does what the group does: an entry into the log, synced,
applied; then one tick of the snapshots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.snapshot_file import Header, Image
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.raft.wire import SnapshotChunk
from tests.support.disk import Disk
from tests.support.inline_writer import InlineWriter

SEGMENT_BYTES = 8 * 1024
TERM = 2


class ListMachine:
    """Implements `snapshots.Machine`."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def capture(self) -> Image:
        content = msgspec.msgpack.encode(self.payloads)
        digest = hashlib.sha256(content).hexdigest()
        return Image(len(self.payloads), 0, digest, (content,))

    def prepare(self, image: Image) -> Callable[[], None]:
        (content,) = image.sections
        if hashlib.sha256(content).hexdigest() != image.state_hash:
            raise ValueError("another state")
        payloads = msgspec.msgpack.decode(content, type=list[bytes])

        def adopt() -> None:
            self.payloads = payloads

        return adopt


class Bench:
    """One member; made again on the same disk it is the next process."""

    def __init__(self, disk: Disk, *, entries: int = 10, cluster: str = "c") -> None:
        self.disk = disk
        self.now_s = 100.0
        self.is_sending = False
        self.machine = ListMachine()
        self.writer = InlineWriter()
        self.journal = Journal(disk.directory("journal/"), segment_bytes=SEGMENT_BYTES)
        self.store = SnapshotStore(disk.directory("snapshots/"), cluster=cluster)
        self.snapshots = Snapshots(
            self.store,
            log=self.journal,
            machine=self.machine,
            writer=self.writer,
            pace=Pace(entries, 1 << 20),
        )
        self.header = self.snapshots.recover()
        self.applied = 0 if self.header is None else self.header.index
        self.log_bytes = 0 if self.header is None else self.header.log_bytes
        self.journal.sync()
        self.replay()

    def replay(self) -> None:
        """Apply what the log holds beyond the snapshot."""
        while self.applied < self.journal.last_index:
            ((command, index, _),) = self.journal.entries_from(
                self.applied + 1, bytes_max=1, count_max=1
            )
            self._note(command, index)

    def append(self, payload: bytes, *, term: int = TERM) -> None:
        """Append an entry of which nobody knows whether it is committed."""
        self.journal.setCurrentTerm(max(term, self.journal.getCurrentTerm()), None)
        self.journal.add(payload, self.journal.last_index + 1, term)
        self.journal.sync()

    def apply(self, payload: bytes, *, term: int = TERM) -> None:
        self.append(payload, term=term)
        self.journal.setRaftCommitIndex(self.journal.last_index)
        self._note(payload, self.journal.last_index)
        self.tick()

    def apply_many(self, count: int) -> None:
        for _ in range(count):
            self.apply(payload_at(self.journal.last_index + 1))

    def tick(self, *, seconds: float = 0.01) -> None:
        self.now_s += seconds
        self.snapshots.tick(
            index=self.applied,
            log_bytes=self.log_bytes,
            configuration=Configuration(("A", "B", "C")),
            is_sending=self.is_sending,
            now_s=self.now_s,
        )
        self.journal.sync()

    def finish_writing(self) -> None:
        while self.snapshots.is_writing:
            self.tick()

    def _note(self, command: bytes, index: int) -> None:
        self.machine.payloads.append(command)
        self.applied = index
        self.log_bytes += len(command)


def payload_at(index: int) -> bytes:
    """The payload that stands at an index in every test."""
    return f"payload {index} ".encode() * 8


def expected(index: int) -> list[bytes]:
    """What a machine holds after `index` entries."""
    return [payload_at(number) for number in range(1, index + 1)]


def chunks(source: Bench, *, size: int = 64, term: int = TERM) -> list[SnapshotChunk]:
    """The newest snapshot of `source`, cut into messages."""
    snapshot = source.store.newest
    assert snapshot is not None
    header: Header = snapshot.header
    raw = source.store.read(snapshot, 0, snapshot.size_bytes)
    return [
        SnapshotChunk(
            term,
            header.index,
            header.term,
            snapshot.size_bytes,
            snapshot.sha256,
            offset,
            raw[offset : offset + size],
        )
        for offset in range(0, len(raw), size)
    ]
