"""How much of the disk is kept free: below it, this node takes no new orders.

Theory of operation. A full disk ends the process (exit 4), and with a majority of them the
cluster. The reserve is what is left to people and to compaction to prevent that: while it is
touched, orders and amends are refused before the log, a leader makes way for a member with room,
and everything else goes on: cancels, administration, what the others sequence.

The free space is asked for every `CHECK_S` (it costs a microsecond; a tick would be too often).
Orders are taken again only at a quarter above the reserve, so that a segment that comes or goes
does not switch the node to and fro.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from raft_exchange.raft.journal import SEGMENT_BYTES

MIB: Final = 1024 * 1024
RESERVE_MIB_MIN: Final = 128
RESERVE_MIB_MAX: Final = 1024 * 1024
RESERVE_MIB_DEFAULT: Final = 256
CHECK_S: Final = 0.25

assert RESERVE_MIB_MIN * MIB >= 2 * SEGMENT_BYTES, "the log goes on for a segment and its successor"

logger = logging.getLogger(__name__)


class DiskReserve:
    """Whether the disk has room for new orders.

    Args:
        reserve_bytes: what is kept free.
        free_bytes: asks the disk; what it raises passes through `observe`.
    """

    def __init__(self, reserve_bytes: int, free_bytes: Callable[[], int]) -> None:
        self.reserve_bytes = reserve_bytes
        self.free_bytes = 0
        self.has_room = True
        self._ask = free_bytes
        self._next_check_s = float("-inf")

    @property
    def resume_bytes(self) -> int:
        """Return how much must be free before orders are taken again."""
        return self.reserve_bytes + self.reserve_bytes // 4

    def observe(self, now_s: float) -> None:
        """Look at the disk if a look is due; `now_s` is the owner's monotonic clock."""
        if now_s < self._next_check_s:
            return
        self._next_check_s = now_s + CHECK_S
        self.free_bytes = self._ask()
        had_room = self.has_room
        self.has_room = self.free_bytes >= (self.reserve_bytes if had_room else self.resume_bytes)
        if had_room and not self.has_room:
            logger.warning(
                "read-only: %d MiB of disk are free, the reserve is %d MiB; orders are taken again "
                "at %d MiB",
                self.free_bytes // MIB,
                self.reserve_bytes // MIB,
                self.resume_bytes // MIB,
            )
        elif self.has_room and not had_room:
            logger.warning(
                "%d MiB of disk are free: orders are taken again", self.free_bytes // MIB
            )
