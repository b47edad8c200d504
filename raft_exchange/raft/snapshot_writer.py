"""Writing a snapshot beside the trading: a forked child encodes and writes, the parent goes on.

The child does nothing but encode, write its one file and sync it; the name is the parent's to give.
It syncs as it goes, so that the disk is never given so much at once that the parent's own sync, on
which orders wait, has to queue behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

from raft_exchange.raft.child import Child
from raft_exchange.raft.storage import Directory

SYNC_BYTES: Final = 4 * 1024 * 1024
"""Written between two syncs: a few milliseconds of a disk."""

Pieces = Callable[[], Iterator[bytes]]


class ForkedWriter:
    """Writes one file at a time, each in a child of its own."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def start(self, pieces: Pieces, directory: Directory, file: int) -> None:
        """Begin to write what `pieces` yields to `file`, and to sync it.

        Raises:
            OSError: no child could be made.
        """
        assert self._child is None, "one at a time"
        parent = os.getpid()
        self._child = Child(lambda: _write(pieces, directory, file, parent), keep=file)

    def poll(self) -> bool | None:
        """Return None while the child writes, then once whether the file is whole and synced."""
        assert self._child is not None
        is_whole = self._child.poll()
        if is_whole is not None:
            self._child = None
        return is_whole

    def stop(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child = None


def _write(pieces: Pieces, directory: Directory, file: int, parent: int) -> None:
    offset = synced = 0
    for piece in pieces():
        directory.write(file, piece, offset)
        offset += len(piece)
        if offset - synced >= SYNC_BYTES:
            directory.sync_data(file)
            synced = offset
        if os.getppid() != parent:
            raise _Orphaned
    directory.sync_data(file)


class _Orphaned(Exception):
    """Nobody will ever adopt the file."""
