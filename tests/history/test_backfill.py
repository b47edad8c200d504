"""Mending holes, driven by hand: the moments that no server can be made to hit."""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import Future
from pathlib import Path

import pytest

from raft_exchange.history.backfill import Backfill
from raft_exchange.history.recorder import Recorder
from raft_exchange.history.rows import Page
from raft_exchange.history.store import Interval
from tests.support.coroutines import eventually, in_loop
from tests.support.past import CLUSTER_ID


@in_loop
async def test_stopping_in_the_moment_a_page_was_written_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is done and the cancellation comes before anybody looked: both must be seen."""
    recorder = Recorder(tmp_path / "history", CLUSTER_ID, keep_us=0, now_us=lambda: 0)
    writing: list[Future[None]] = []

    def fill(page: Page) -> Future[None]:
        writing.append(Future())
        return writing[-1]

    async def ask(*_: object) -> Page:
        return Page(CLUSTER_ID, 1, 5, [])

    def hole() -> Interval | None:
        return None if writing else (1, 10)

    monkeypatch.setattr(recorder, "fill", fill)
    monkeypatch.setattr(recorder, "hole", hole)
    backfill = Backfill(
        recorder,
        CLUSTER_ID,
        peers=lambda: ["a"],
        prove=lambda *_: b"",
        tls=ssl.create_default_context(),
    )
    monkeypatch.setattr(backfill, "_ask", ask)
    mending = asyncio.create_task(backfill.run())
    await eventually(lambda: bool(writing))
    await asyncio.sleep(0)
    writing[0].set_result(None)
    await asyncio.sleep(0)  # the loop has the result now, the task not yet
    mending.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([mending])
    assert mending.cancelled()
