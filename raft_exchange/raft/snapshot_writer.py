"""Writing a snapshot beside the trading: a forked child encodes and writes, the parent goes on.

`fork` gives the child the state as it stood between two ticks, for the price of copying the page
tables; what the parent changes afterwards, the child does not see. The child does nothing but
encode, write its one file, sync it and exit: it has no event loop, logs nothing, and has closed
every other descriptor, so that a parent killed meanwhile leaves neither a port nor a lock taken.
The file's name is the parent's to give.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Final

from raft_exchange.raft.storage import Directory

NICENESS: Final = 15
Pieces = Callable[[], Iterator[bytes]]


class ForkedWriter:
    """Writes one file at a time, each in a child of its own."""

    def __init__(self) -> None:
        self._child: int | None = None

    def start(self, pieces: Pieces, directory: Directory, file: int) -> None:
        """Begin to write what `pieces` yields to `file`, and to sync it.

        Raises:
            OSError: no child could be made.
        """
        assert self._child is None, "one at a time"
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            _write_and_exit(pieces, directory, file, parent)
        self._child = child

    def poll(self) -> bool | None:
        """Return None while the child writes, then once whether the file is whole and synced."""
        assert self._child is not None
        child, status = os.waitpid(self._child, os.WNOHANG)
        if child == 0:
            return None
        self._child = None
        return os.waitstatus_to_exitcode(status) == 0

    def stop(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = None


def _write_and_exit(pieces: Pieces, directory: Directory, file: int, parent: int) -> None:
    code = 1
    try:
        gc.disable()  # it would touch, and so copy, every page
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, file)
        os.closerange(file + 1, os.sysconf("SC_OPEN_MAX"))
        os.nice(NICENESS)
        offset = 0
        for piece in pieces():
            directory.write(file, piece, offset)
            offset += len(piece)
            if os.getppid() != parent:
                return  # nobody will ever adopt the file
        directory.sync_data(file)
        code = 0
    finally:
        os._exit(code)
