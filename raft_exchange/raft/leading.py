"""What a leader has and does in its term: followers' progress, proposals, a hand-over.

Made when the term is won, dropped when it is lost, so that nothing of an earlier leadership can
count in a later one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from pysyncobj.node import Node

from raft_exchange.raft.library import NO_OP, REGULAR
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.progress import Progress
from raft_exchange.raft.seat import Seat
from raft_exchange.raft.snapshot_sending import SnapshotSending
from raft_exchange.raft.snapshot_store import Snapshot, SnapshotStore
from raft_exchange.raft.wire import (
    AppendEntries,
    AppendReply,
    Entry,
    SnapshotChunk,
    SnapshotReply,
    SnapshotStatus,
    TimeoutNow,
)

PROPOSALS_MAX: Final = 1_024
APPEND_BYTES_MAX: Final = 1024 * 1024
APPEND_ENTRIES_MAX: Final = 2_048
MAKE_WAY_AFTER_S: Final = 0.5
"""How long a leader whose disk got full waits to hear whether the others' did as well."""
MAKE_WAY_S: Final = 10.0
"""Between two attempts: each keeps proposals waiting while it lasts."""


class Leadership:
    """One member's lead in one term; `now_s` is the owner's monotonic clock."""

    def __init__(
        self,
        seat: Seat,
        outbox: Outbox,
        *,
        configuration: Configuration,
        heartbeat_s: float,
        now_s: float,
    ) -> None:
        self._seat = seat
        self._term = seat.term
        self._log = seat.log
        self._sending: dict[Node, tuple[Snapshot, SnapshotSending]] = {}
        self._asked: set[Node] = set()  # who wants a snapshot, though the log reaches back
        self._outbox = outbox
        self._heartbeat_s = heartbeat_s
        self._proposals: deque[bytes] = deque()
        self._transfer: tuple[Node, float] | None = None
        self._make_way_at_s = now_s + MAKE_WAY_AFTER_S
        self.progress: dict[Node, Progress] = {}
        self.reconfigure(configuration, now_s=now_s)
        # An entry of the new term, without which nothing older may commit (Raft section 8).
        self.first_index = self._log.last_index + 1
        self.synced_index = 0  # of this member's own log, once a sync has said so
        self._log.add(NO_OP, self.first_index, self._term)

    def reconfigure(self, configuration: Configuration, *, now_s: float) -> None:
        """Replicate to the members of this configuration, and count its voters, from now on."""
        self._configuration = configuration
        last_index = self._log.last_index
        others = [Node(id_) for id_ in configuration.members if id_ != self._seat.id]
        self.progress = {
            node: self.progress.get(node) or Progress(last_index=last_index, now_s=now_s)
            for node in others
        }
        self._sending = {node: self._sending[node] for node in others if node in self._sending}
        self._asked &= set(others)
        if self._transfer is not None and not self._is_voter(self._transfer[0]):
            self._transfer = None

    def _is_voter(self, node: Node) -> bool:
        return node.id in self._configuration.voters

    def _of_majority(self, of_voter: Callable[[Progress], float], own: float) -> float:
        """Return what a majority of the voters has reached; this member's is `own`.

        While a leader removes itself it is no voter, and not counted.
        """
        reached = [of_voter(self.progress[node]) for node in self.progress if self._is_voter(node)]
        if self._seat.id in self._configuration.voters:
            reached.append(own)
        reached.sort(reverse=True)
        return reached[self._configuration.quorum - 1]

    def committed_index(self) -> int:
        """Return the greatest index that a majority has synced, this member included."""
        return int(self._of_majority(lambda one: one.match_index, self.synced_index))

    def quorum_heard_at_s(self, now_s: float) -> float:
        """Return the latest time at which a majority, this member included, had been heard."""
        return self._of_majority(lambda one: one.heard_at_s, now_s)

    def quorum_said_at_s(self, now_s: float) -> float:
        """Return the same of what they said: earlier, where it was long unread."""
        return self._of_majority(lambda one: one.said_at_s, now_s)

    # Proposals ----------------------------------------------------------------------------------

    @property
    def is_handing_over(self) -> bool:
        """Return whether a hand-over is under way; no proposal is taken meanwhile."""
        return self._transfer is not None

    @property
    def proposals_queued(self) -> int:
        """Return how many payloads wait to be appended."""
        return len(self._proposals)

    @property
    def bytes_in_flight(self) -> int:
        """Return the most that one member has been sent and has not acknowledged."""
        return max((one.bytes_in_flight for one in self.progress.values()), default=0)

    def propose(self, payload: bytes) -> bool:
        """Queue a payload for the log; False when the queue is full."""
        if len(self._proposals) >= PROPOSALS_MAX:
            return False
        self._proposals.append(payload)
        return True

    def append_proposals(self, admit: Callable[[bytes], bytes | None]) -> None:
        """Append what was proposed and is admitted."""
        while self._proposals and self._transfer is None:
            payload = admit(self._proposals.popleft())
            if payload is not None:
                self._log.add(REGULAR + payload, self._log.last_index + 1, self._term)

    def hand_over(
        self, connected: Collection[Node], *, deadline_s: float, to: str | None = None
    ) -> None:
        """Choose a connected voter and make it the leader once level; nothing where none is.

        Without `to` it is the most advanced one, and one whose disk has room before one that would
        have to make way itself.
        """
        candidates = [
            (progress.has_room, progress.match_index, node.id, node)
            for node, progress in self.progress.items()
            if node in connected and self._is_voter(node) and to in (None, node.id)
        ]
        if candidates and self._transfer is None:
            self._transfer = (max(candidates)[3], deadline_s)

    def make_way(
        self, connected: Collection[Node], *, has_room: bool, now_s: float, deadline_s: float
    ) -> None:
        """Hand over if this member's disk has no room; nothing while no other has any."""
        if has_room:
            self._make_way_at_s = now_s + MAKE_WAY_AFTER_S
        elif now_s < self._make_way_at_s:
            return
        elif any(
            progress.has_room and node in connected and self._is_voter(node)
            for node, progress in self.progress.items()
        ):
            self._make_way_at_s = now_s + MAKE_WAY_S
            self.hand_over(connected, deadline_s=deadline_s)

    def pursue_hand_over(self, now_s: float) -> None:
        """Tell the chosen member to stand for election once it has everything; or give up."""
        if self._transfer is None:
            return
        target, deadline_s = self._transfer
        if now_s > deadline_s:
            self._transfer = None
        elif self.progress[target].match_index == self._log.last_index:
            self._outbox.send(target, TimeoutNow(self._term))

    def abdicate(self, connected: Collection[Node]) -> None:
        """Have a voter that has everything stand at once, if there is one; for the last tick."""
        for node, progress in self.progress.items():
            is_level = progress.match_index == self._log.last_index
            if node in connected and self._is_voter(node) and is_level:
                self._outbox.send(node, TimeoutNow(self._term))
                return

    # Replication --------------------------------------------------------------------------------

    def replicate(
        self,
        connected: Collection[Node],
        *,
        commit_index: int,
        now_s: float,
        store: SnapshotStore | None = None,
    ) -> None:
        """Send every connected follower what it lacks, the commit index, or a heartbeat.

        Args:
            connected: nothing is sent to others.
            commit_index: this member's.
            now_s: the owner's monotonic clock.
            store: where the snapshots are that stand for what the log has forgotten.
        """
        for node, progress in self.progress.items():
            if node not in connected:
                continue
            lacks_some = progress.next_index <= self._log.base.index
            if store is not None and (lacks_some or node in self._asked):
                self._send_snapshot(node, progress, store, now_s)
                if lacks_some:
                    continue
            is_due = now_s - progress.sent_at_s >= self._heartbeat_s
            if is_due:
                progress.retry_probe()
            while progress.may_send_entries() and progress.next_index <= self._log.last_index:
                is_due = False
                if not self._send(
                    node, progress, commit_index, now_s, count_max=APPEND_ENTRIES_MAX
                ):
                    break
            if is_due or (progress.commit_index_sent < commit_index and not progress.is_probing):
                self._send(node, progress, commit_index, now_s, 0)

    def _send(
        self, node: Node, progress: Progress, commit_index: int, now_s: float, count_max: int
    ) -> bool:
        previous = progress.next_index - 1
        previous_term = self._log.term_at(previous)
        assert previous_term is not None, f"log begins at {self._log.first_index}, not {previous}"
        found = (
            self._log.entries_from(
                progress.next_index, bytes_max=APPEND_BYTES_MAX, count_max=count_max
            )
            if count_max
            else []
        )
        entries = [Entry(command, index, term) for command, index, term in found]
        message = AppendEntries(self._term, commit_index, previous, previous_term, entries)
        if not self._outbox.send(node, message):
            return False
        progress.sent(
            last_index=previous + len(found),
            size_bytes=sum(len(command) for command, _, _ in found),
            now_s=now_s,
        )
        progress.commit_index_sent = commit_index
        return True

    def _send_snapshot(
        self, node: Node, progress: Progress, store: SnapshotStore, now_s: float
    ) -> None:
        """Send what may leave of the snapshot that stands for what the follower lacks."""
        snapshot, sending = self._sending.get(node, (None, None))
        if snapshot not in store.snapshots or sending is None or snapshot is None:
            snapshot = store.newest
            if snapshot is None:
                assert node in self._asked, "the log was compacted on account of a snapshot"
                return
            assert snapshot.index >= self._log.base.index
            sending = SnapshotSending(snapshot.index, snapshot.size_bytes, now_s=now_s)
            self._sending[node] = snapshot, sending
        while (span := sending.next_span(now_s)) is not None:
            data = store.read(snapshot, *span)
            if not self._send_chunk(node, snapshot, span[0], data):
                return
            sending.sent(len(data))
            progress.sent_at_s = now_s
        is_to_be_asked = sending.may_ask(now_s, every_s=self._heartbeat_s)
        if is_to_be_asked or now_s - progress.sent_at_s >= self._heartbeat_s:
            self._send_chunk(node, snapshot, sending.sent_bytes, b"")
            progress.sent_at_s = now_s

    def _send_chunk(self, node: Node, snapshot: Snapshot, offset: int, data: bytes) -> bool:
        header = snapshot.header
        chunk = SnapshotChunk(
            self._term,
            header.index,
            header.term,
            snapshot.size_bytes,
            snapshot.sha256,
            offset,
            data,
        )
        return self._outbox.send(node, chunk)

    def is_sending_snapshot(self, now_s: float) -> bool:
        """Return whether a snapshot is on its way and the follower takes it."""
        return any(sending.is_moving(now_s) for _, sending in self._sending.values())

    def snapshot_answered(self, node: Node, reply: SnapshotReply, *, now_s: float) -> None:
        """Note a follower's answer to a chunk of this term, or its wish for one (index 0)."""
        progress = self.progress.get(node)
        if progress is None or reply.term != self._term:
            return
        self._hear(progress, now_s)
        if reply.index == 0 and reply.status is SnapshotStatus.WANTED:
            self._asked.add(node)
        _, sending = self._sending.get(node, (None, None))
        if sending is None or reply.index != sending.index:
            return
        if reply.status is SnapshotStatus.INSTALLED:
            progress.accepted(reply.index)
            self._asked.discard(node)
            del self._sending[node]
        else:
            sending.answered(reply, now_s=now_s)

    def answered(self, node: Node, reply: AppendReply, *, now_s: float) -> None:
        """Note a follower's answer of this term."""
        progress = self.progress.get(node)
        if progress is None or reply.term != self._term:
            return
        self._hear(progress, now_s)
        progress.has_room = reply.has_room
        if reply.success:
            assert reply.match_index <= self._log.last_index, "acknowledged what was never sent"
            progress.accepted(reply.match_index)
        else:
            progress.rejected(previous_index=reply.previous_index, hint_index=reply.match_index)

    def _hear(self, progress: Progress, now_s: float) -> None:
        progress.heard_at_s, progress.said_at_s = now_s, self._seat.attention.said_at_s(now_s)

    def connection_changed(self, node: Node, *, now_s: float) -> None:
        """Start over with a follower whose connection was lost or is new."""
        if (progress := self.progress.get(node)) is not None:
            progress.probe()
        if node in self._sending:
            self._sending[node][1].ask(now_s)
