"""The node's core: what it refuses before the log."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from raft_exchange.matching.messages import ANONYMOUS, CancelAll, CreateAccount
from raft_exchange.matching.versions import Versions
from raft_exchange.raft.hooks import Standing
from raft_exchange.sequencer.codec import Batch, Request, SignedRequest
from raft_exchange.sequencer.core import NodeCore
from raft_exchange.sequencer.notices import Reads, Roster
from raft_exchange.sequencer.outcome import Refusal, Refused
from raft_exchange.sequencer.state import ReplicatedState

RELEASE_2 = Versions(2, {CancelAll: 2})
OLD = Request(CreateAccount("a"))
NEW = Request(CancelAll(ANONYMOUS, None, None))


class Taking:
    """A pipeline that takes everything and answers nothing useful."""

    def __init__(self) -> None:
        self.taken: list[Request] = []

    def submit(self, requests: Any, resolve: Any, *, now_s: float) -> None:
        self.taken.extend(requests)
        resolve(list(requests))


def make_core(
    state: ReplicatedState, pipeline: Any, standing: Standing = Standing.FULL
) -> NodeCore:
    unused: Any = None
    return NodeCore(
        membership=unused,
        pipeline=pipeline,
        group=unused,
        driver=unused,
        reserve=unused,
        witness=SimpleNamespace(state=state, standing=standing),  # type: ignore[arg-type]
    )


def test_a_command_of_a_version_that_is_not_active_is_refused_with_the_reason() -> None:
    async def trial() -> None:
        state, pipeline = ReplicatedState(RELEASE_2), Taking()
        core = make_core(state, pipeline)
        refused = await core.submit([OLD, NEW])
        assert [type(outcome) for outcome in refused] == [Refused, Refused]
        assert isinstance(refused[0], Refused)
        assert refused[0].code is Refusal.UPGRADE_PENDING
        assert "needs version 2 of the exchange; version 1 is active" in refused[0].detail
        assert not pipeline.taken, "a group shares one fate, and nothing reached the log"
        await core.submit([OLD])
        assert pipeline.taken == [OLD]

    asyncio.run(trial())


def test_a_signed_request_waits_for_version_3() -> None:
    async def trial() -> None:
        signed = SignedRequest("k", "t", "n", bytes(64), "POST", "/v1/orders", b"{}")
        state, pipeline = ReplicatedState(), Taking()
        state.exchange.version = 2
        (refused,) = await make_core(state, pipeline).submit([Request(signed)])
        assert isinstance(refused, Refused)
        assert refused.code is Refusal.UPGRADE_PENDING
        assert "needs version 3 of the exchange; version 2 is active" in refused.detail
        assert not pipeline.taken

    asyncio.run(trial())


def test_it_is_taken_from_the_entry_on_by_which_all_members_read_it() -> None:
    async def trial() -> None:
        state, pipeline = ReplicatedState(RELEASE_2), Taking()
        core = make_core(state, pipeline)
        state.apply(1, 1, 1_000, Batch("", 0, 0, [], (Roster(("n1",)), Reads("n1", 2))))
        await core.submit([NEW])
        assert pipeline.taken == [NEW]

    asyncio.run(trial())


@pytest.mark.parametrize("standing", [Standing.FENCED, Standing.ASIDE])
def test_a_node_whose_state_may_differ_takes_nothing(standing: Standing) -> None:
    async def trial() -> None:
        pipeline = Taking()
        core = make_core(ReplicatedState(), pipeline, standing)
        for requests in ([OLD], []):
            (refused,) = await core.submit(requests)
            assert isinstance(refused, Refused)
            assert refused.code is Refusal.STATE_DIVERGENCE
        assert not pipeline.taken
        assert not core.serves_state

    asyncio.run(trial())
