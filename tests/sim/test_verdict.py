"""The checker of the real rounds is tested: it takes the truth, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from raft_exchange.gateway.orders import order_result
from raft_exchange.matching.messages import (
    Command,
    CreateAccount,
    CreateMarket,
    MarketRules,
    OrderAccepted,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.raft.library import REGULAR
from raft_exchange.sequencer.codec import Batch, Request, decode_batch, encode_batch
from raft_exchange.sequencer.outcome import Committed
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.trading import Operation, Outcome
from tests.support.verdict import LOTS_IN_ONE, Verdict

MARKET = MarketRules(
    *("BTC-USD", "BTC", "USD", 10**16, 10**10, 1, 10**15, 1, 10**18, 0),
    SelfTradePrevention.NONE,
)
Log = dict[int, tuple[int, bytes]]


def place(side: Side, label: str) -> PlaceOrder:
    terms = (side, OrderType.LIMIT, TimeInForce.GTC, 100, 2 * LOTS_IN_ONE, 0, False, None, label)
    return PlaceOrder("a", "BTC-USD", *terms)


def history_of(log: Log) -> list[Operation]:
    """What clients saw who asked one after the other: every order, and a read after each."""
    history: list[Operation] = []
    state = ReplicatedState()
    for index, (term, command) in log.items():
        applied = state.apply(index, term, *decode_batch(command[1:]))
        for result in applied.results:
            first = result.events[0]
            if not isinstance(first, OrderAccepted):
                continue
            committed = Committed(result.sequence, applied.time_us, result.events, replayed=False)
            answer = msgspec.json.decode(
                msgspec.json.encode(order_result(committed, MARKET, sent={}))
            )
            for label in (first.order.client_order_id, ""):
                made = Operation(label, {} if label else None, float(len(history)))
                made.succeeded(answer, result.sequence, len(history) + 0.5)
                history.append(made)
    return history


@pytest.fixture
def log() -> Log:
    commands: list[list[Command]] = [
        [CreateMarket(MARKET), CreateAccount("a")],
        [place(Side.SELL, "one")],
        [place(Side.BUY, "two")],
    ]
    return {
        index: (1, REGULAR + encode_batch(_batch(index, requests), time_us=10**15))
        for index, requests in enumerate(commands, 1)
    }


def _batch(number: int, commands: list[Command]) -> Batch:
    return Batch("n1", 1, number, [Request(command) for command in commands])


def judge(log: Log, history: list[Operation]) -> None:
    Verdict(log, sequence=1).judge(history)


def test_the_truth_passes(log: Log) -> None:
    judge(log, history_of(log))


def test_a_lost_order_is_noticed(log: Log) -> None:
    history = history_of(log)
    del log[3]
    with pytest.raises(AssertionError, match="two was acknowledged and is lost"):
        judge(log, history)


def test_an_order_that_was_applied_twice_is_noticed(log: Log) -> None:
    history = history_of(log)
    log[4] = (1, REGULAR + encode_batch(_batch(4, [place(Side.SELL, "one")]), time_us=10**15))
    with pytest.raises(AssertionError, match=r"applied twice: \['one'\]"):
        judge(log, history)


def test_a_refusal_that_was_none_is_noticed(log: Log) -> None:
    history = history_of(log)
    history[0].outcome = Outcome.FAILED
    with pytest.raises(AssertionError, match="one: refused, yet in"):
        judge(log, history)


def test_an_unknown_outcome_may_be_either(log: Log) -> None:
    history = history_of(log)
    history[0].outcome = Outcome.UNKNOWN
    history.append(Operation("never arrived", {}, 9.0))
    judge(log, history)


@pytest.mark.parametrize("field", ["status", "filled_quantity", "created_at", "order_id"])
def test_an_answer_that_differs_in_anything_is_noticed(log: Log, field: str) -> None:
    history = history_of(log)
    order: dict[str, Any] = history[2].answer["order"]
    order[field] += "0"
    with pytest.raises(AssertionError):
        judge(log, history)


def test_a_read_that_went_back_in_time_is_noticed(log: Log) -> None:
    history = history_of(log)
    history[-1].sequence = history[0].sequence - 1
    with pytest.raises(AssertionError, match=r"a read went back in time|filled"):
        judge(log, history)


def test_a_read_that_saw_too_little_is_noticed(log: Log) -> None:
    history = history_of(log)
    history[-1].answer["order"]["filled_quantity"] = "1"
    with pytest.raises(AssertionError):
        judge(log, history)
