"""What is committed takes effect: entry by entry, or in one jump by a snapshot.

The state machine sees every ordinary entry once and in order; a snapshot replaces what it would
have come to. A failure that is nobody's fault stops the member: half applied is not applied.
"""

from __future__ import annotations

from typing import Final

from pysyncobj.node import Node

from raft_exchange.raft.elections import Elections
from raft_exchange.raft.following import decode_configuration
from raft_exchange.raft.hooks import Hooks, Standing
from raft_exchange.raft.leading import APPEND_BYTES_MAX
from raft_exchange.raft.library import CONFIGURATION, REGULAR
from raft_exchange.raft.membership import History
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.seat import Seat, monotonic_s
from raft_exchange.raft.snapshot_file import Header
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshots import Snapshots
from raft_exchange.raft.wire import SnapshotChunk, SnapshotReply, SnapshotStatus

APPLY_ENTRIES_MAX: Final = 256
APPLY_SLICE_S: Final = 0.02
"""How long one tick applies entries before it lets the loop and the heartbeats run."""
ASK_AGAIN_S: Final = 5.0
"""Between two requests for the leader's snapshot."""


class Applying:
    """One member's way from committed entries to its state."""

    def __init__(
        self, seat: Seat, history: History, elections: Elections, outbox: Outbox, hooks: Hooks
    ) -> None:
        self._seat = seat
        self._history = history
        self._elections = elections
        self._outbox = outbox
        self._hooks = hooks
        self._snapshots: Snapshots | None = None
        self._log_bytes = 0  # of all commands applied since the log began
        self._passed = (0, 0)  # index and bytes of what is committed, and not applied: it is fenced
        self._ask_at_s = float("-inf")

    @property
    def _is_fenced(self) -> bool:
        return self._hooks.standing() is Standing.FENCED

    # Entries --------------------------------------------------------------------------------------

    def advance(self, now_s: float) -> None:
        """Apply what is committed, for `APPLY_SLICE_S` at most."""
        seat = self._seat
        if self._is_fenced:
            self._pass_over()
            return
        while seat.last_applied < seat.commit_index:
            entries = seat.log.entries_from(
                seat.last_applied + 1, bytes_max=APPEND_BYTES_MAX, count_max=APPLY_ENTRIES_MAX
            )
            assert entries, "committed entries are in the log"
            for command, index, term in entries:
                if index > seat.commit_index or self._is_fenced:
                    return
                assert index == seat.last_applied + 1, (index, seat.last_applied)
                self._apply(command, index, term)
                seat.last_applied = index
                self._log_bytes += len(command)
                if monotonic_s() - now_s > APPLY_SLICE_S:
                    self._hooks.wake()
                    return

    def _pass_over(self) -> None:
        """Count some of what is committed and would be applied, were this member not fenced."""
        seat = self._seat
        index, log_bytes = max(self._passed, (seat.last_applied, self._log_bytes))
        count = min(APPLY_ENTRIES_MAX, seat.commit_index - index)
        if count > 0:
            entries = seat.log.entries_from(index + 1, bytes_max=APPEND_BYTES_MAX, count_max=count)
            index, log_bytes = entries[-1][1], log_bytes + sum(len(c) for c, _, _ in entries)
        self._passed = (index, log_bytes)

    def _apply(self, command: bytes, index: int, term: int) -> None:
        try:
            if command[:1] == REGULAR:
                self._hooks.apply(index, term, command[1:])
            elif command[:1] == CONFIGURATION:
                self._hooks.configured(decode_configuration(command))
        except BaseException as error:
            # A half-applied state must neither serve nor vote.
            self._hooks.fail(error)

    # Snapshots ------------------------------------------------------------------------------------

    @property
    def store(self) -> SnapshotStore | None:
        """The snapshots on disk; None where none are kept."""
        return None if self._snapshots is None else self._snapshots.store

    @property
    def snapshot_index(self) -> int:
        """Up to which entry the newest snapshot reaches; 0 while there is none."""
        newest = self._snapshots.store.newest if self._snapshots is not None else None
        return 0 if newest is None else newest.index

    def keep(self, snapshots: Snapshots) -> None:
        """Put the newest snapshot in place, and keep the log short from now on.

        Raises:
            SnapshotsUnusable: the log needs a snapshot that is not there.
        """
        self._snapshots = snapshots
        restored = snapshots.recover()
        if restored is not None:
            self._jump_to(restored)
        self._seat.log.sync()

    def request_snapshot(self) -> None:
        """Write a snapshot soon, though none is due; nothing where the newest says it all."""
        if self._snapshots is not None and self._seat.last_applied > self.snapshot_index:
            self._snapshots.request()

    def pursue_snapshots(self, now_s: float) -> None:
        """Write one that is due, and forget of the log what is needless."""
        if self._snapshots is None:
            return
        if self._is_fenced:
            self._ask_for_snapshot(self._snapshots, now_s)
            return
        lead = self._elections.leadership
        index = self._seat.last_applied
        self._snapshots.tick(
            index=index,
            log_bytes=self._log_bytes,
            configuration=self._history.at(index),
            is_sending=lead is not None and lead.is_sending_snapshot(now_s),
            now_s=now_s,
        )
        self._history.forget_before(self._seat.log.base.index)

    def _ask_for_snapshot(self, snapshots: Snapshots, now_s: float) -> None:
        """Have the leader send its snapshot when it covers much: this member writes none.

        So its log stays bounded, and what it forgets it has in a snapshot, as any member.
        """
        leader = self._seat.leader
        if leader is not None and now_s >= self._ask_at_s and snapshots.is_overdue(self._passed):
            self._ask_at_s = now_s + ASK_AGAIN_S
            request = SnapshotReply(self._seat.term, 0, 0, SnapshotStatus.WANTED)
            self._outbox.send(leader, request)

    def receive(self, node: Node, message: SnapshotChunk) -> None:
        """Take a part of the leader's snapshot; put it in place if it was the last.

        A fenced member needs what it has not applied, though it has it in its log.
        """
        status, offset = SnapshotStatus.REFUSED, 0
        if message.term >= self._seat.term:
            self._elections.hear_leader(node, message.term)
            if self._snapshots is not None:
                seat = self._seat
                status, offset, restored = self._snapshots.receive(
                    message,
                    have_index=seat.last_applied if self._is_fenced else seat.commit_index,
                )
                if restored is not None:
                    self._jump_to(restored)
                    self._hooks.configured(self._history.at(restored.index))
                    self._hooks.restored()
                    self._elections.hear_leader(node, message.term)  # decoding took its time
        reply = SnapshotReply(self._seat.term, message.index, offset, status)
        self._outbox.send_after_sync(node, reply)

    def _jump_to(self, restored: Header) -> None:
        """Go on after a snapshot that is in place: what it holds was committed and applied."""
        seat, history = self._seat, self._history
        if restored.term > seat.term:
            seat.enter(restored.term, None)
        seat.last_applied = restored.index
        self._log_bytes = restored.log_bytes
        # One from before members were in the log says nothing of them: nothing had changed.
        configuration = restored.configuration or history.at(restored.index)
        history.restore(restored.index, configuration, last_index=seat.log.last_index)
        seat.commit(max(seat.commit_index, restored.index))
