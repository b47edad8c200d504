"""What an operator may have one node do by itself: hand over, be backed up, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from raft_exchange.raft.group import Group
from raft_exchange.raft.snapshots import WRITE_S_MAX, Snapshots

BACKUP_S_MAX: Final = 2 * WRITE_S_MAX
"""One snapshot may be under way already."""
HAND_OVER_S_MAX: Final = 5.0
"""The group gives up sooner."""
SUCCESSOR_S_MAX: Final = 0.8
"""How long a leader that was replaced waits to learn by whom."""
POLL_S: Final = 0.02


class HandOver(Enum):
    """What came of handing over leadership."""

    DONE = "done"
    NOT_LEADER = "this node does not lead"
    NOT_A_VOTER = "no voter has this id"
    OUT_OF_REACH = "this node is not connected to whom it should hand over to"
    UNFINISHED = "nobody has taken over in time; it may still happen"


class BackupFailed(Exception):
    """There is no snapshot to be had; the message says why."""


class Backup(Protocol):
    """A snapshot's file, whole and synced; to be closed."""

    size_bytes: int

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return a part of the file."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class Operations(Protocol):
    """The operator's hands, as the gateway sees them."""

    async def hand_over(self, to: str | None) -> HandOver:
        """Have this node, which leads, make another voter the leader; `to` or the best one.

        Bounded in time.
        """
        ...

    async def back_up(self) -> Backup:
        """Return a snapshot of what is applied now or later, written beside the trading.

        Raises:
            BackupFailed: there is none to be had.
        """
        ...

    def stop(self) -> None:
        """Have the node drain and end, as on SIGTERM."""
        ...


class NodeOperations:
    """Implements `Operations` on one node.

    Args:
        node: this node's id.
        group: its place in the cluster.
        snapshots: its own.
        serves_state: whether its state may be shown, and kept.
        stop: has the process drain and end.
    """

    def __init__(
        self,
        node: str,
        group: Group,
        snapshots: Snapshots,
        *,
        serves_state: Callable[[], bool],
        stop: Callable[[], None],
    ) -> None:
        self._node = node
        self._group = group
        self._snapshots = snapshots
        self._serves_state = serves_state
        self.stop = stop

    async def hand_over(self, to: str | None) -> HandOver:
        """See `Operations.hand_over`."""
        group = self._group
        if not group.is_leader:
            return HandOver.NOT_LEADER
        if to == self._node:
            return HandOver.DONE
        if to is not None and to not in group.member_ids:
            return HandOver.NOT_A_VOTER
        group.hand_over(to)
        if not group.is_handing_over:
            return HandOver.OUT_OF_REACH
        await _until(lambda: not group.is_handing_over, within_s=HAND_OVER_S_MAX)
        await _until(lambda: group.leader_id is not None, within_s=SUCCESSOR_S_MAX)
        leader = group.leader_id
        is_done = leader not in (None, self._node) and to in (None, leader)
        return HandOver.DONE if is_done else HandOver.UNFINISHED

    async def back_up(self) -> Backup:
        """See `Operations.back_up`."""
        group, snapshots = self._group, self._snapshots
        index, failures = group.last_applied, snapshots.failures

        def is_settled() -> bool:
            is_there = group.snapshot_index >= index
            return is_there or snapshots.failures > failures or not self._serves_state()

        group.request_snapshot()
        await _until(is_settled, within_s=BACKUP_S_MAX)
        found = snapshots.store.open_newest()
        if not self._serves_state():
            raise BackupFailed("the state of this node differs, or is being checked")
        if found is None or group.snapshot_index < index:
            raise BackupFailed("the snapshot could not be written; the node's log says why")
        return found


async def _until(claim: Callable[[], bool], *, within_s: float) -> None:
    """Wait for what ticks decide and nobody announces."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while not claim() and loop.time() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
