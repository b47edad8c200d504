"""A start waits as long as it makes sense, and not longer."""

from __future__ import annotations

import asyncio

import pytest

from raft_exchange.cli.readiness import STALL_S_MAX, Readiness, Seen, look
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway


def applied(index: int, *, of: int = 1_000, is_ready: bool = False) -> Seen:
    return Seen(is_ready, index, of, "" if is_ready else "leader: none")


def test_a_node_that_replays_is_waited_for_however_long_it_takes() -> None:
    """One entry in each `STALL_S_MAX` is enough; the node that is idle meanwhile does not count."""
    readiness = Readiness(["n1", "n2"], now_s=0)
    now_s = 0.0
    for index in range(100):
        readiness.observe("n1", applied(index), now_s=now_s)
        readiness.observe("n2", applied(7, of=7), now_s=now_s)
        assert not readiness.is_stalled(now_s=now_s)
        now_s += STALL_S_MAX
    assert readiness.progress("n1") == "n1 has applied 99 of 1,000 entries"
    assert readiness.progress("n2") == "n2 is not ready: leader: none"


def test_a_node_that_reads_its_folder_is_waited_for_though_the_others_stand_still() -> None:
    readiness = Readiness(["n1", "n2"], now_s=0)
    for now_s in range(1_000):
        readiness.observe("n1", None, now_s=now_s)
        readiness.observe("n2", applied(0, of=0), now_s=now_s)
        assert not readiness.is_stalled(now_s=now_s)
    assert readiness.progress("n1") == "n1 reads its folder"


@pytest.mark.parametrize("then", [applied(5), None])
def test_nodes_that_answer_and_do_not_move_are_given_up(then: Seen | None) -> None:
    """To fall silent after a first answer is no progress either."""
    readiness = Readiness(["n1"], now_s=0)
    readiness.observe("n1", applied(5), now_s=10)
    readiness.observe("n1", then, now_s=10 + STALL_S_MAX)
    assert not readiness.is_stalled(now_s=10 + STALL_S_MAX)
    assert readiness.is_stalled(now_s=10 + STALL_S_MAX + 1)


def test_who_was_ready_once_is_not_waited_for() -> None:
    readiness = Readiness(["n1", "n2"], now_s=0)
    readiness.observe("n1", applied(5, is_ready=True), now_s=1)
    assert readiness.waiting == ["n2"]
    readiness.observe("n2", applied(5, is_ready=True), now_s=1)
    assert not readiness.waiting


@in_loop
async def test_a_real_answer_is_understood() -> None:
    async with gateway() as g:
        url = f"http://127.0.0.1:{g.port}"
        seen = await asyncio.to_thread(look, url)
        index = g.core.exchange.sequence
        assert seen == Seen(is_ready=True, applied_index=index, commit_index=index)
        g.core.leader = ""
        seen = await asyncio.to_thread(look, url)
        assert seen is not None
        assert not seen.is_ready
    assert look(url) is None
