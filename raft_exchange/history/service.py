"""A node's history as one thing: recorded, read, mended from peers, shipped to PostgreSQL."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.history.backfill import Backfill, Prove
from raft_exchange.history.reader import QUESTIONS_WAITING_MAX, Reader
from raft_exchange.history.recorder import BACKLOG_ROWS_MAX, Recorder
from raft_exchange.history.shipping import Shipping, Sizes
from raft_exchange.metrics import HistoryFigures
from raft_exchange.sequencer.applied import Applied

US_PER_DAY = 86_400_000_000
FILE_NAME: Final = "history.sqlite3"


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where history is kept: `days` 0 keeps it for ever; `url` "" ships nothing."""

    path: Path
    cluster_id: str
    days: int
    url: str


class HistoryHooks(msgspec.Struct, frozen=True, kw_only=True):
    """What history asks of its node; `sizes` and `is_leader` are called from other threads.

    `peers` gives the base URLs of the other members, `tls` is how they are asked.
    """

    now_us: Callable[[], int]
    peers: Callable[[], Sequence[str]]
    prove: Prove
    tls: ssl.SSLContext
    sizes: Sizes
    is_leader: Callable[[], bool]


class History:
    """The history of one cluster at one node. `reader` answers questions."""

    def __init__(self, settings: HistorySettings, hooks: HistoryHooks) -> None:
        path, cluster_id = settings.path, settings.cluster_id
        self.cluster_id = cluster_id
        self.prove = hooks.prove
        self.reader = Reader(path, cluster_id)
        self._recorder = Recorder(
            path, cluster_id, keep_us=settings.days * US_PER_DAY, now_us=hooks.now_us
        )
        self._backfill = Backfill(
            self._recorder, cluster_id, peers=hooks.peers, prove=hooks.prove, tls=hooks.tls
        )
        self._shipping = None
        if settings.url:
            self._shipping = Shipping(
                settings.url, path, cluster_id, sizes=hooks.sizes, is_leader=hooks.is_leader
            )
        self._mending: asyncio.Task[None] | None = None

    def start(self, sequence: int) -> None:
        """Begin to record what is applied after `sequence`, on the running loop."""
        self._recorder.start(sequence)
        self._mending = asyncio.create_task(self._backfill.run(), name="history backfill")
        if self._shipping is not None:
            self._shipping.start()

    async def stop(self) -> None:
        """Write what waits and close everything; bounded by seconds."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])
        if self._shipping is not None:
            self._shipping.stop()
        self._recorder.stop()
        self.reader.close()

    def applied(self, applied: Applied) -> None:
        """See `Recorder.applied`."""
        self._recorder.applied(applied)

    def restored(self, sequence: int) -> None:
        """See `Recorder.restored`."""
        self._recorder.restored(sequence)

    def bounds_used(self) -> Mapping[str, float]:
        """Return how much of the bounds is used."""
        return {
            "history_rows": self._recorder.figures().rows_waiting / BACKLOG_ROWS_MAX,
            "history_questions": self.reader.waiting / QUESTIONS_WAITING_MAX,
        }

    def figures(self) -> HistoryFigures:
        """Return the figures of this moment."""
        figures = self._recorder.figures()
        shipping = self._shipping
        return figures._replace(
            pages_from_peers=self._backfill.pages,
            shipped_to=shipping.complete_to if shipping is not None else 0,
            shipping_failures=shipping.failures if shipping is not None else 0,
        )
