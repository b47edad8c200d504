"""Asking the history file without holding up the event loop: one thread, a bounded queue.

A question that takes longer than `ANSWER_S_MAX` is ended, one too many is refused at once: both
are `HistoryBusy`, and nothing has happened.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from raft_exchange.history.rows import Page, Row
from raft_exchange.history.store import Interval, Store
from raft_exchange.matching.messages import OrderEnded

QUESTIONS_WAITING_MAX: Final = 32
ANSWER_S_MAX: Final = 2.0

T = TypeVar("T")


class HistoryBusy(Exception):
    """The history file could not answer now; the message says why."""


class Reader:
    """Reads the history of one cluster from one file."""

    def __init__(self, path: Path, cluster_id: str) -> None:
        self._path = path
        self._cluster_id = cluster_id
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history-reader")
        self._waiting = 0
        self._store: Store | None = None
        self._file = 0

    @property
    def waiting(self) -> int:
        """How many questions have no answer yet."""
        return self._waiting

    def close(self) -> None:
        """End what runs and close the file."""
        if self._store is not None:
            self._store.interrupt()
        self._thread.submit(self._close)
        self._thread.shutdown()

    async def trades(self, market: str, *, before: int | None, limit: int) -> list[Row]:
        """See `Store.trades`."""
        return await self._ask(lambda store: store.trades(market, before=before, limit=limit))

    async def trades_of(
        self, account: str, *, market: str | None, before: Interval | None, limit: int
    ) -> list[Row]:
        """See `Store.trades_of`."""
        return await self._ask(
            lambda store: store.trades_of(account, market=market, before=before, limit=limit)
        )

    async def orders(
        self, account: str, *, before: int | None, down_to: int, limit: int
    ) -> list[OrderEnded]:
        """See `Store.orders`."""
        return await self._ask(
            lambda store: store.orders(account, before=before, down_to=down_to, limit=limit)
        )

    async def page(self, first: int, *, limit: int) -> Page:
        """See `Store.page`."""
        return await self._ask(lambda store: store.page(first, limit=limit))

    async def _ask(self, question: Callable[[Store], T]) -> T:
        if self._waiting >= QUESTIONS_WAITING_MAX:
            raise HistoryBusy(f"{QUESTIONS_WAITING_MAX} questions wait already")
        self._waiting += 1
        until_s = time.monotonic() + ANSWER_S_MAX
        asked = self._thread.submit(self._answer, question, until_s)
        answer = asyncio.wrap_future(asked)
        answer.add_done_callback(self._done)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await asyncio.shield(answer)
        except TimeoutError:
            # What runs was asked no later, unless ours is done: then its own time is not over.
            if self._store is not None and not asked.done():
                self._store.interrupt()
            raise HistoryBusy(f"no answer within {ANSWER_S_MAX:g} s") from None
        except (sqlite3.Error, OSError) as error:
            raise HistoryBusy(f"the history file does not answer: {error}") from error

    def _done(self, answer: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not answer.cancelled():
            answer.exception()  # whoever asked may be gone

    def _answer(self, question: Callable[[Store], T], until_s: float) -> T:
        if time.monotonic() >= until_s:
            raise TimeoutError  # nobody waits for it any more, but others do behind it
        file = self._path.stat().st_ino
        if self._store is not None and file != self._file:
            self._close()  # a damaged file was set aside, and another one begun
        if self._store is None:
            self._store = Store.open_to_read(self._path, self._cluster_id)
            self._file = file
        try:
            return question(self._store)
        except sqlite3.OperationalError:
            raise  # ended, or busy: the file is as good as before
        except sqlite3.Error:
            self._close()
            raise

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
