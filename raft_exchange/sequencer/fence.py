"""The mark in a data folder that says: the state of this node differs from the others'.

Put up once, synced, and taken down by nobody but an operator who rebuilds the node: a restart
alone might bring back what was wrong, from a snapshot.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

FILE_NAME: Final = "state_divergence"

logger = logging.getLogger(__name__)


class FenceFile:
    """The mark of one folder, and how often this node has seen a member differ."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self.divergences = 0
        self.is_up = self._path.exists()
        if self.is_up:
            logger.critical(
                "state_divergence: this node was fenced: %s; rebuild it (raft-exchange rebuild)",
                self._path.read_text().strip(),
            )

    def put_up(self, reason: str) -> None:
        """Fence this node for good.

        Raises:
            OSError: the mark is not on stable storage.
        """
        self.is_up = True
        self.divergences += 1
        logger.critical(
            "state_divergence: this node differs and serves nobody from now on: %s", reason
        )
        with self._path.open("w") as file:
            file.write(reason + "\n")
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def note(self, member: str, index: int) -> None:
        """Take note that the log calls a member fenced since the checkpoint at `index`."""
        self.divergences += 1
        logger.critical("state_divergence: member %s differs at entry %d: fenced", member, index)
