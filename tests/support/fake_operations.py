"""An operator's hands that note what they were told, and do it to the fake core."""

from __future__ import annotations

import io

from raft_exchange.sequencer.operations import Backup, BackupFailed, HandOver
from tests.support.fake_core import FakeCore


class FakeBackup:
    """Implements `operations.Backup` over bytes."""

    def __init__(self, content: bytes) -> None:
        self.size_bytes = len(content)
        self._file = io.BytesIO(content)

    def read(self, offset: int, size_bytes: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size_bytes)

    def close(self) -> None:
        self._file.close()

    @property
    def is_closed(self) -> bool:
        return self._file.closed


class FakeOperations:
    """Implements `operations.Operations`.

    Attributes:
        asked: what it was told, in order.
        handing_over: what comes of handing over.
        backup: what is given; without one, there is none to be had.
    """

    def __init__(self, core: FakeCore) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.handing_over = HandOver.DONE
        self.backup: FakeBackup | None = None
        self._core = core

    async def hand_over(self, to: str | None) -> HandOver:
        self.asked.append(("hand over",) if to is None else ("hand over", to))
        if self.handing_over is HandOver.DONE:
            self._core.leader = to or "n2"
        return self.handing_over

    async def back_up(self) -> Backup:
        self.asked.append(("back up",))
        if self.backup is None:
            raise BackupFailed("no snapshot could be written")
        return self.backup

    def stop(self) -> None:
        self.asked.append(("stop",))
