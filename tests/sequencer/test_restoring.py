"""A replica's image, and what becomes of a process's own batches when one is put in place."""

from __future__ import annotations

import gc

import msgspec
import pytest

from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.raft.snapshot_file import Image
from raft_exchange.sequencer.codec import Batch, Request, decode_batch, encode_batch
from raft_exchange.sequencer.outcome import Committed, Outcome, Unknown
from raft_exchange.sequencer.pipeline import Pipeline
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.workload import commands

ENTRIES = 200


def newest_state() -> ReplicatedState:
    """A state that takes every command there is."""
    state = ReplicatedState()
    state.exchange.version = VERSIONS.newest
    return state


class Log:
    """Entries of random commands, some under an idempotency key, and replicas that apply them."""

    def __init__(self, seed: int = 1) -> None:
        self.entries = [
            encode_batch(
                Batch("n1", 1, number, [Request(command, f"key {number}" if number % 3 else "")]),
                time_us=1_000 + number,
            )
            for number, command in enumerate(commands(seed, ENTRIES), start=1)
        ]

    def replica(self, entries: int) -> Replica:
        made = Replica(newest_state(), MarketData(), on_applied=lambda applied: None)
        self.play(made, 0, entries)
        return made

    def play(self, replica: Replica, first: int, last: int) -> None:
        for index in range(first, last):
            replica.apply(index + 1, 1, self.entries[index])


def test_a_restored_replica_is_the_one_that_was_captured() -> None:
    log = Log()
    source, target = log.replica(150), log.replica(20)
    target.prepare(source.capture())()
    assert target.capture() == source.capture()
    target.state.check()
    target.marketdata.check()
    log.play(target, 150, ENTRIES)
    assert target.capture() == log.replica(ENTRIES).capture(), "it goes on like the others"


def test_sessions_and_idempotency_keys_survive() -> None:
    """Otherwise a batch that is sent again would be applied again."""
    log = Log()
    target = Replica(newest_state(), MarketData(), on_applied=lambda applied: None)
    target.prepare(log.replica(100).capture())()
    before = target.state.exchange.order_id
    log.play(target, 50, 100)
    assert target.state.exchange.order_id == before
    assert target.state.session_of("n1") == (1, 100)


def test_nothing_changes_before_the_image_is_put_in_place() -> None:
    log = Log()
    target = log.replica(20)
    before = target.capture()
    target.prepare(log.replica(150).capture())
    assert target.capture() == before


def test_whoever_holds_the_state_or_the_projection_sees_the_change() -> None:
    log = Log()
    target = log.replica(20)
    state, marketdata = target.state, target.marketdata
    target.prepare(log.replica(150).capture())()
    assert target.state is state
    assert target.marketdata is marketdata


def test_the_replaced_state_leaves_no_cycles_behind() -> None:
    """The collector does not look at what is old, so a ring of old orders would stay for ever."""
    log = Log()
    target = log.replica(150)
    assert any(order.behind for order in target.state.exchange.live.by_id.values())
    adopt = target.prepare(log.replica(20).capture())
    gc.collect()
    gc.disable()
    try:
        adopt()
        del adopt
        assert gc.collect() == 0
    finally:
        gc.enable()


def changed(image: Image, **changes: object) -> Image:
    return msgspec.structs.replace(image, **changes)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda image: changed(image, sections=image.sections[:1]),
        lambda image: changed(image, sections=(*image.sections, b"")),
        lambda image: changed(image, sections=(image.sections[1], image.sections[0])),
        lambda image: changed(image, state_hash="0" * 64),
        lambda image: changed(image, sequence=image.sequence + 1),
        lambda image: changed(image, time_us=image.time_us + 1),
        lambda image: changed(image, sections=(image.sections[0], b"")),
    ],
)
def test_an_image_that_contradicts_itself_is_refused(break_it: object) -> None:
    log = Log()
    target = log.replica(20)
    before = target.capture()
    with pytest.raises(ValueError, match=r"."):
        target.prepare(break_it(log.replica(150).capture()))  # type: ignore[operator]
    assert target.capture() == before


# The pipeline --------------------------------------------------------------------------------


class Proposals:
    """A log that takes everything and commits nothing by itself."""

    is_leader = False

    def __init__(self, boot: int = 1) -> None:
        self.takes_proposals = True
        self.payloads: list[bytes] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.pipeline = Pipeline(node="n1", boot=boot, log=self, wake=lambda: None)
        self.pipeline.leader_changed("n2", now_s=0.0)

    def propose(self, payload: bytes) -> bool:
        if self.takes_proposals:
            self.payloads.append(payload)
        return self.takes_proposals

    def submit(self, name: str, requests: int = 1) -> None:
        command = next(commands(1, 1))
        self.pipeline.submit(
            [Request(command)] * requests,
            lambda outcomes: self.outcomes.setdefault(name, outcomes),
            now_s=0.0,
        )
        self.pipeline.tick(now_s=0.0, now_us=0, next_due_us=None)


def test_a_batch_inside_the_snapshot_is_unknown_and_a_later_one_goes_on() -> None:
    """It was applied, but what it did was told elsewhere; the key tells the client."""
    log = Proposals()
    log.submit("a", 2)
    log.submit("b")
    log.submit("c")
    log.pipeline.restored(1, 2, now_s=1.0)
    assert log.outcomes == {"a": [Unknown(), Unknown()], "b": [Unknown()]}
    before = len(log.payloads)
    log.pipeline.tick(now_s=1.0, now_us=0, next_due_us=None)
    assert log.payloads[before:] == [log.payloads[2]], "the other one is proposed again at once"


def test_a_snapshot_of_before_this_process_answers_nothing() -> None:
    log = Proposals(boot=2)
    log.submit("a")
    log.pipeline.restored(1, 7, now_s=1.0)
    assert log.outcomes == {}
    log.pipeline.tick(now_s=1.0, now_us=0, next_due_us=None)
    assert log.payloads[1:] == log.payloads[:1]


def test_a_later_session_in_the_snapshot_leaves_all_that_left_unknown() -> None:
    """Ours may have been applied before it began; under new numbers they could be twice."""
    log = Proposals()
    log.submit("a")
    log.takes_proposals = False
    log.submit("b")
    log.pipeline.restored(2, 1, now_s=1.0)
    assert log.outcomes == {"a": [Unknown()]}
    log.takes_proposals = True
    log.pipeline.tick(now_s=1.0, now_us=0, next_due_us=None)
    _, batch = decode_batch(log.payloads[-1])
    assert (batch.boot, batch.number) == (3, 1)


def test_after_a_snapshot_the_session_goes_on_with_its_next_number() -> None:
    log = Proposals()
    log.submit("a")
    source = Replica(newest_state(), MarketData(), on_applied=lambda applied: None)
    source.apply(1, 1, log.payloads[0])
    target = Replica(
        newest_state(),
        MarketData(),
        on_applied=lambda applied: log.pipeline.applied(applied, now_s=1.0),
    )
    target.prepare(source.capture())()
    log.pipeline.restored(*target.state.session_of("n1"), now_s=1.0)
    log.submit("b")
    target.apply(2, 1, log.payloads[-1])
    assert isinstance(log.outcomes["b"][0], Committed)
    assert log.pipeline.is_idle
