"""Going through a log again, from a stopped node's folder or from archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.ed25519 import verify
from raft_exchange.marketdata.view import MarketData
from raft_exchange.raft.archive import LogEntry
from raft_exchange.raft.identity import FILE_NAME, Identity, read_identity
from raft_exchange.raft.library import REGULAR
from raft_exchange.raft.recovery import Recovery, recover
from raft_exchange.raft.snapshot_file import Header, Image, SnapshotDamaged, decode
from raft_exchange.raft.snapshot_store import SUFFIX
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.notices import Digest
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.signed import Signatures
from raft_exchange.sequencer.state import ReplicatedState

RUN_BYTES: Final = 1 << 20
RUN_ENTRIES: Final = 1_024

Snapshots = list[tuple[Header, list[bytes]]]


class NotThere(Exception):
    """The index asked for cannot be reached from what is there; the message says what is."""


class Folder(msgspec.Struct, frozen=True):
    """What a stopped node's folder holds; every sum in it was checked. Snapshots oldest first."""

    identity: Identity | None
    log: Recovery
    snapshots: Snapshots

    @property
    def committed(self) -> int:
        """The greatest index that is known to be committed."""
        newest = self.snapshots[-1][0].index if self.snapshots else 0
        return max(self.log.commit_index, newest)


def read_folder(folder: Path, journal: Directory) -> Folder:
    """Return what a folder holds.

    Args:
        folder: of a stopped node.
        journal: its journal, locked by the caller.

    Raises:
        IdentityError, JournalCorrupt, SnapshotDamaged: something is damaged; the message says what.
        OSError: the disk failed to read.
    """
    path = folder / FILE_NAME
    identity = read_identity(path) if path.exists() else None
    return Folder(identity, recover(journal), read_snapshots(folder / "snapshots"))


def read_snapshots(folder: Path) -> Snapshots:
    """Return every snapshot, oldest first.

    Raises:
        SnapshotDamaged: one is not whole; the message names it.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append(decode(path.read_bytes()))
        except SnapshotDamaged as error:
            raise SnapshotDamaged(f"{path.name}: {error}") from error
    return found


class Replay:
    """A replica that goes through a log, and holds it against what the members agreed on.

    Signed requests are of the cluster of the id that it is given: without one it stops at them.

    Attributes:
        began_at: the entry of the snapshot that it began from, 0 for none.
        index: of the last entry gone through, and `term` its term.
        compared: how many of the members' agreements it was held against.
        differences: where it came to something else than a majority of the members.
    """

    def __init__(self, cluster_id: str = "") -> None:
        signatures = Signatures(cluster_id, verify) if cluster_id else None
        state = ReplicatedState(signatures=signatures)
        self.replica = Replica(state, MarketData(), on_applied=self._compare)
        self.began_at = 0
        self.index = 0
        self.term = 0
        self.compared = 0
        self.differences: list[str] = []
        self._own: dict[tuple[Digest, int], bytes] = {}

    @property
    def state(self) -> ReplicatedState:
        """The state after the last entry."""
        return self.replica.state

    def begin_from(self, header: Header, sections: list[bytes]) -> None:
        """Put a snapshot in place.

        Raises:
            ValueError: it does not hold what it says.
        """
        image = Image(header.sequence, header.time_us, header.state_hash, sections)
        self.replica.prepare(image)()
        self.began_at = self.index = header.index
        self.term = header.term
        self._own.clear()

    def go_through(self, entries: Iterable[LogEntry]) -> None:
        """Apply the entries that follow the last one; earlier ones are passed over."""
        for command, index, term in entries:
            if index > self.index:
                assert index == self.index + 1, (index, self.index)
                if command[:1] == REGULAR:
                    self.replica.apply(index, term, command[1:])
                self.index, self.term = index, term

    def go_through_folder(self, folder: Folder, last: int) -> None:
        """Go on to entry `last` by what a folder holds, from a snapshot of it where need be.

        Raises:
            NotThere: it cannot be reached.
            ValueError: a snapshot does not hold what it says.
        """
        log = folder.log.entries
        goes_on = self.index > 0 and log.base.index <= self.index  # every entry can be seen
        for header, sections in folder.snapshots:
            if not goes_on and max(log.base.index, self.index + 1) <= header.index <= last:
                self.begin_from(header, sections)
        if self.index < log.base.index or last > max(self.index, log.last_index):
            first = self.index or log.base.index
            raise NotThere(f"{last}; allowed: {first}-{log.last_index}")
        self.go_through(_entries(folder, self.index + 1, last))

    def _compare(self, applied: Applied) -> None:
        check = self.state.selfcheck
        if check.marked[Digest.EVENTS] == applied.index:
            self._own[Digest.EVENTS, applied.index] = check.chain
        if check.marked[Digest.STATE] == applied.index:
            self._own[Digest.STATE, applied.index] = bytes.fromhex(self.state.state_hash())
        if applied.node or not self._own:
            return
        for digest, index in list(self._own):
            ballot = check.ballot(digest, index)
            if ballot is not None and ballot.is_open:
                continue
            own = self._own.pop((digest, index))
            if ballot is not None and ballot.value:
                self.compared += 1
                if own != ballot.value:
                    self.differences.append(
                        f"{digest.name.lower()} at entry {index}: {own.hex()}, "
                        f"of a majority {ballot.value.hex()}"
                    )


def _entries(folder: Folder, first: int, last: int) -> Iterator[LogEntry]:
    while first <= last:
        count = min(RUN_ENTRIES, last - first + 1)
        run = folder.log.entries.run(first, bytes_max=RUN_BYTES, count_max=count)
        yield from run
        first = run[-1][1] + 1
