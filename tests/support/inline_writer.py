"""A snapshot writer without a process: encodes at once, then writes a piece at each poll.

What `fork` gives, a state that stands still while it is written, is had by encoding it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raft_exchange.raft.storage import Directory


class InlineWriter:
    """Implements `snapshots.Writer`; `fails` makes the next attempts fail at their end."""

    def __init__(self) -> None:
        self.fails = False
        self._pieces: list[bytes] | None = None
        self._offset = 0

    def start(self, pieces: Callable[[], Iterator[bytes]], directory: Directory, file: int) -> None:
        assert self._pieces is None, "one at a time"
        self._pieces = list(pieces())
        self._directory, self._file, self._offset = directory, file, 0

    def poll(self) -> bool | None:
        assert self._pieces is not None
        if self._pieces:
            piece = self._pieces.pop(0)
            self._directory.write(self._file, piece, self._offset)
            self._offset += len(piece)
            return None
        self._pieces = None
        self._directory.sync_data(self._file)
        return not self.fails

    def stop(self) -> None:
        self._pieces = None
