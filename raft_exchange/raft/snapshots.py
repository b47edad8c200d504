"""When a snapshot is written, sent for, installed, and what of the log it makes needless.

Theory of operation.

* Written: every so many entries or bytes of the log, from what is applied, by a `Writer` beside
  the trading. The bounds are counted along the log, shifted by the member's place in the group, so
  that members write at different indexes and seldom at the same time.
* Compacted: once a snapshot is durable, the log forgets what the *previous* one covers. So it
  always holds between one and two intervals, and brief laggards need no transfer. Where there is
  an archive, what is forgotten is put there first; while it fails, nothing is forgotten.
* Received: chunks are appended to an unfinished file; nothing else changes. Only when the file is
  whole, every sum holds and the state in it was decoded, it replaces what this member has: first
  durably on disk, then in the log, then in memory. A crash in between is repaired by `recover`.
* A snapshot holds committed entries only, so installing one never makes anything of this member's
  own tail committed; a tail that does not contain the snapshot's last entry goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec

from raft_exchange.metrics.durations import SNAPSHOT_BUCKETS_S, Durations
from raft_exchange.raft.archive import PIECE_BYTES, PIECE_ENTRIES, Archive
from raft_exchange.raft.entries import Position
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.snapshot_file import Header, Image, SnapshotDamaged, encode, header_of
from raft_exchange.raft.snapshot_receiving import RECEIVED, SnapshotReceiving
from raft_exchange.raft.snapshot_store import SnapshotStore, SnapshotsUnusable
from raft_exchange.raft.storage import Directory
from raft_exchange.raft.wire import SnapshotChunk, SnapshotStatus

WRITE_S_MAX: Final = 300.0
RETRY_S: Final = 30.0
OVERDUE: Final = 4
"""So many intervals a snapshot may be put off while another one is being sent to a member, and so
many the log of a member that writes none may be long before it asks for one."""
COMPACT_ENTRIES: Final = 4_096
COMPACT_BYTES: Final = 16 * 1024 * 1024
"""How much of the log one tick forgets: freeing it, and the segments it was in, takes time."""
WRITTEN: Final = "written"

logger = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True):
    """How often: after `entries` or `bytes` of the log, at the member's own place in them.

    `place` counts from 0 among `members`.
    """

    entries: int = 50_000
    bytes: int = 128 * 1024 * 1024
    place: int = 0
    members: int = 1

    def is_due(self, before: tuple[int, int], now: tuple[int, int], *, intervals: int = 1) -> bool:
        """Say whether a bound lies between two points of the log, each (index, bytes)."""
        return any(
            self._slot(now[i], interval) - self._slot(before[i], interval) >= intervals
            for i, interval in enumerate((self.entries, self.bytes))
        )

    def _slot(self, amount: int, interval: int) -> int:
        return (amount + interval * self.place // self.members) // interval


class Machine(Protocol):
    """The state machine as snapshots see it."""

    def capture(self) -> Image:
        """Return everything as of the last applied entry."""
        ...

    def prepare(self, image: Image) -> Callable[[], None]:
        """Decode an image; what is returned puts it in place. Raises ValueError."""
        ...


class Writer(Protocol):
    """Who writes a file beside the trading."""

    def start(self, pieces: Callable[[], Iterator[bytes]], directory: Directory, file: int) -> None:
        """Begin to write and sync what `pieces`, called now, yields. Raises OSError."""
        ...

    def poll(self) -> bool | None:
        """Return None while it is written, then once whether it is whole and synced."""
        ...

    def stop(self) -> None:
        """Give up."""
        ...


class Snapshots:
    """One member's snapshots, and the log they allow to forget.

    Methods raise `OSError` or `StorageFailed` when the disk fails; the owner stops then.
    """

    def __init__(
        self, store: SnapshotStore, *, log: Journal, machine: Machine, writer: Writer, pace: Pace
    ) -> None:
        self.store = store
        self.failures = 0
        self.written = 0
        self.installed = 0
        self.durations = Durations(SNAPSHOT_BUCKETS_S)
        self._log = log
        self._machine = machine
        self._writer = writer
        self._pace = pace
        self._file: int | None = None  # of the snapshot being written
        self._began_s = self._deadline_s = 0.0
        self._retry_at_s = float("-inf")
        self._is_requested = False
        self._receiving: SnapshotReceiving | None = None
        self._archive: Archive | None = None
        self._last = (0, 0)  # index and bytes of the log at the newest snapshot

    # At the start ---------------------------------------------------------------------------------

    def recover(self) -> Header | None:
        """Put the newest whole snapshot in place and make the log follow it; None without one.

        Raises:
            SnapshotsUnusable: none reaches the beginning of the log, or fits it.
        """
        found = self.store.load(base_index=self._log.base.index)
        if found is None:
            return None
        header, sections = found
        try:
            put_in_place = self._prepare(header, sections)
        except SnapshotDamaged as error:
            raise SnapshotsUnusable(f"the snapshot at entry {header.index}: {error}") from error
        term = self._log.term_at(header.index)
        if term not in (None, header.term) and header.index <= self._log.getRaftCommitIndex():
            raise SnapshotsUnusable(f"the snapshot at entry {header.index} is not of this log")
        put_in_place()
        self._follow(header)
        return header

    def _prepare(self, header: Header, sections: list[bytes]) -> Callable[[], None]:
        image = Image(header.sequence, header.time_us, header.state_hash, sections)
        try:
            return self._machine.prepare(image)
        except ValueError as error:
            raise SnapshotDamaged(str(error)) from error

    def _follow(self, header: Header) -> None:
        """Make the log one that goes on after the snapshot (Raft section 7)."""
        if self._log.term_at(header.index) != header.term:
            self._log.reset_to(header.index, header.term)
        self._last = (header.index, header.log_bytes)

    # Writing --------------------------------------------------------------------------------------

    @property
    def is_writing(self) -> bool:
        """Return whether a snapshot is being written."""
        return self._file is not None

    def set_place(self, place: int, members: int) -> None:
        """Note this member's place among the members: they write at different indexes."""
        self._pace = msgspec.structs.replace(self._pace, place=place, members=members)

    def request(self) -> None:
        """Write a snapshot soon, due or not."""
        self._is_requested = True

    def tick(
        self,
        *,
        index: int,
        log_bytes: int,
        configuration: Configuration,
        is_sending: bool,
        now_s: float,
    ) -> None:
        """Do what is due: adopt or give up the one being written, begin the next.

        Args:
            index: of the last applied entry, which is durable here.
            log_bytes: the sum of the commands up to it.
            configuration: who the members are there.
            is_sending: whether the newest snapshot is on its way to a member.
            now_s: the owner's monotonic clock.
        """
        if self._file is not None:
            self._pursue_writing(now_s)
        elif index > self._last[0] and self._is_due((index, log_bytes), is_sending, now_s):
            self._begin_writing(index, log_bytes, configuration, now_s)
        self._compact(now_s)

    def _is_due(self, now: tuple[int, int], is_sending: bool, now_s: float) -> bool:
        if self._is_requested:
            return True
        intervals = OVERDUE if is_sending else 1
        return now_s >= self._retry_at_s and self._pace.is_due(self._last, now, intervals=intervals)

    def _begin_writing(
        self, index: int, log_bytes: int, configuration: Configuration, now_s: float
    ) -> None:
        term = self._log.term_at(index)
        assert term is not None, f"entry {index} is applied and held"
        self._is_requested = False
        self._began_s, self._deadline_s = now_s, now_s + WRITE_S_MAX
        self._file = self.store.create(WRITTEN)

        def pieces() -> Iterator[bytes]:
            image = self._machine.capture()
            header = header_of(
                image,
                cluster=self.store.cluster,
                at=Position(index, term),
                log_bytes=log_bytes,
                configuration=configuration,
            )
            return encode(header, image.sections)

        try:
            self._writer.start(pieces, self.store.directory, self._file)
        except OSError as error:
            self._give_up(f"no process for it: {error}", now_s)

    def _pursue_writing(self, now_s: float) -> None:
        is_whole = self._writer.poll()
        if is_whole is not None:
            self.durations.observe(now_s - self._began_s)
        if is_whole is None and now_s > self._deadline_s:
            self._writer.stop()
            self._give_up(f"not done after {WRITE_S_MAX:.0f} s", now_s)
        elif is_whole is False:
            self._give_up("its process failed", now_s)
        elif is_whole:
            self._close_file()
            header = self.store.adopt(WRITTEN).header
            self._last = (header.index, header.log_bytes)
            self.written += 1
            self._tell("snapshot at entry %(index)d, sequence %(sequence)d", header)

    def archive_into(self, archive: Archive) -> None:
        """Put entries there from now on before the log forgets them."""
        self._archive = archive

    def _compact(self, now_s: float) -> None:
        """Forget some of what the previous snapshot covers: the rest at the next ticks."""
        previous, base_index = self.store.previous, self._log.base.index
        if previous is None or base_index >= previous.index:
            return
        is_archived = self._archive is not None
        forgotten = self._log.entries_from(
            base_index + 1,
            bytes_max=PIECE_BYTES if is_archived else COMPACT_BYTES,
            count_max=min(
                PIECE_ENTRIES if is_archived else COMPACT_ENTRIES, previous.index - base_index
            ),
        )
        if self._archive is None or self._archive.put(forgotten, now_s=now_s):
            self._log.compact_to(forgotten[-1][1])

    def _give_up(self, why: str, now_s: float) -> None:
        logger.error("a snapshot could not be written: %s; trying again later", why)
        self._close_file()
        self.store.discard(WRITTEN)
        self._retry_at_s = now_s + RETRY_S
        self.failures += 1

    def _close_file(self) -> None:
        assert self._file is not None
        self.store.directory.close_file(self._file)
        self._file = None

    def stop(self) -> None:
        """End what is being written; it is left to the next start to remove."""
        self._writer.stop()

    # Receiving ------------------------------------------------------------------------------------

    def is_overdue(self, now: tuple[int, int]) -> bool:
        """Say whether the log at `now`, index and bytes, has grown far beyond the newest."""
        return self._pace.is_due(self._last, now, intervals=OVERDUE)

    def receive(
        self, chunk: SnapshotChunk, *, have_index: int
    ) -> tuple[SnapshotStatus, int, Header | None]:
        """Take one chunk from the leader, unless it is of no more than the owner has.

        Returns:
            What to answer (status, and how many bytes of this snapshot are here); and the header,
            if it was the last chunk and the snapshot is in place now.
        """
        if chunk.index <= have_index:
            self._drop_receiving()
            return SnapshotStatus.INSTALLED, chunk.size_bytes, None
        if self._receiving is None or not self._receiving.is_of(chunk):
            self._drop_receiving()
            if not SnapshotReceiving.has_room(self.store, chunk):
                logger.error("no room for a snapshot of %d bytes", chunk.size_bytes)
                return SnapshotStatus.REFUSED, 0, None
            self._receiving = SnapshotReceiving(self.store, chunk)
        received = self._receiving
        received.take(chunk)
        if not received.is_complete:
            return SnapshotStatus.WANTED, received.have_bytes, None
        try:
            header = self._install(received)
        except SnapshotDamaged as error:
            logger.error("the leader's snapshot at entry %d is refused: %s", chunk.index, error)
            self.failures += 1
            self._drop_receiving()
            return SnapshotStatus.REFUSED, 0, None
        return SnapshotStatus.INSTALLED, chunk.size_bytes, header

    def _install(self, received: SnapshotReceiving) -> Header:
        """Verify first; then replace the snapshot, the log, the state, in this order.

        Raises:
            SnapshotDamaged: nothing was replaced.
        """
        header, sections = received.read()
        put_in_place = self._prepare(header, sections)
        if self._file is not None:  # what was being written is older
            self._writer.stop()
            self._close_file()
            self.store.discard(WRITTEN)
        received.close()
        self._receiving = None
        self.store.adopt(RECEIVED)
        self._follow(header)
        self._log.compact_to(header.index)
        put_in_place()
        self.installed += 1
        self._tell("installed a snapshot at entry %(index)d, sequence %(sequence)d", header)
        return header

    def _tell(self, text: str, header: Header) -> None:
        told = {"index": header.index, "sequence": header.sequence}
        logger.info(text, told, extra=told)

    def _drop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.close()
            self.store.discard(RECEIVED)
            self._receiving = None
