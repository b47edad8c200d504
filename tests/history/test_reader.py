"""Questions to the history file that take too long: they end, and no other with them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from raft_exchange.history import reader as reading
from raft_exchange.history.reader import HistoryBusy, Reader
from raft_exchange.history.store import Store
from tests.support.coroutines import in_loop
from tests.support.past import CLUSTER_ID

COUNT = """
WITH RECURSIVE numbers(n) AS (SELECT hold() UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
SELECT count(*) FROM numbers
"""


class Held:
    """A question that begins and then holds up the thread until it is let go."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def ask(self, store: Store) -> int:
        store._db.create_function("hold", 0, self._hold)
        (count,) = store._db.execute(COUNT).fetchone()
        return int(count)

    def _hold(self) -> int:
        self.began.set()
        assert self.go_on.wait(30)
        return 1


def reader_at(path: Path) -> Reader:
    Store.open(path, CLUSTER_ID).close()
    return Reader(path, CLUSTER_ID)


@in_loop
async def test_a_question_that_waited_in_vain_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those asked later would wait for an answer that nobody waits for."""
    reader = reader_at(tmp_path / "history")
    monkeypatch.setattr(reading, "ANSWER_S_MAX", 0.05)
    running, waiting = Held(), Held()
    asked = [reader._ask(running.ask), reader._ask(waiting.ask)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [HistoryBusy] * 2
    assert reader.waiting == 2  # they have their places until the thread gets to them
    monkeypatch.setattr(reading, "ANSWER_S_MAX", 30)
    running.go_on.set()
    waiting.go_on.set()
    assert await reader.trades("BTC-USD", before=None, limit=1) == []
    assert not waiting.began.is_set()
    reader.close()


@in_loop
async def test_an_answer_that_comes_too_late_does_not_end_the_next_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_at(tmp_path / "history")
    late, other = Held(), Held()
    monkeypatch.setattr(reading, "ANSWER_S_MAX", 0.05)
    asking = asyncio.create_task(reader._ask(late.ask))
    await asyncio.sleep(0)
    monkeypatch.setattr(reading, "ANSWER_S_MAX", 30)
    asking_other = asyncio.create_task(reader._ask(other.ask))
    await asyncio.sleep(0)
    late.go_on.set()
    # The loop stands still, as it may under load, until one is answered and its time is over.
    assert other.began.wait(30)
    assert not other.go_on.wait(0.1)
    with pytest.raises(HistoryBusy):
        await asking
    other.go_on.set()
    assert await asking_other == 1_000
    reader.close()
