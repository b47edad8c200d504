"""The checker of the real rounds: was every answer true?

It takes the clients' history and the journals of the stopped nodes, whose segments hold the whole
log although the nodes have forgotten most of it, and assumes nothing else. The one sequence of
committed entries that all journals share is replayed through a state machine of its own:

* agreement: no index means two things, and the replay ends in the state every node reported;
* loss: each order answered with `OK` is there, with exactly that answer;
* duplicates: no label was accepted twice;
* refusals: what a node said had not happened did not happen;
* order: an operation stands after every operation that had completed before it was invoked;
* reads: what a linearizable read saw of an order is what had been traded by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from raft_exchange.gateway.orders import order_result
from raft_exchange.matching.messages import OrderAccepted, TradeExecuted
from raft_exchange.raft.library import REGULAR
from raft_exchange.raft.records import ENTRY, RESET, STATE, TRUNCATE
from raft_exchange.raft.segments import Block, read
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.applied import Applied, Result
from raft_exchange.sequencer.codec import decode_batch
from raft_exchange.sequencer.outcome import Committed
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.processes import NodeProcess
from tests.support.trading import Operation, Outcome

Log = dict[int, tuple[int, bytes]]


def committed_log(nodes: Sequence[NodeProcess]) -> Log:
    """Return the committed entries by index; assert that the journals agree on each."""
    merged: Log = {}
    for node in nodes:
        for index, entry in _whole_log(node).items():
            known = merged.setdefault(index, entry)
            assert known == entry, f"{node.name} committed another entry at {index}"
    assert sorted(merged) == list(range(1, len(merged) + 1)), "the log has a hole"
    return merged


def _whole_log(node: NodeProcess) -> Log:
    directory = Directory(node.folder / "journal")
    log: Log = {}
    commit_index = 0
    try:
        for block in read(directory):
            for kind, index, term, data in block.records() if isinstance(block, Block) else ():
                if kind == ENTRY:
                    log[index] = term, data
                elif kind == STATE:
                    commit_index = index
                elif kind in (TRUNCATE, RESET):
                    first = index if kind == TRUNCATE else commit_index + 1
                    log = {i: entry for i, entry in log.items() if i < first}
    finally:
        directory.close()
    return {index: entry for index, entry in log.items() if index <= commit_index}


class Verdict:
    """The replay of one log; `judge` holds a history to it."""

    def __init__(self, log: Mapping[int, tuple[int, bytes]], *, sequence: int) -> None:
        self.state_hash = ""
        self._state = ReplicatedState()
        self._accepted: Counter[str] = Counter()
        self._answers: dict[str, Committed] = {}
        self._filled: dict[str, list[tuple[int, int]]] = {}
        for index in sorted(log):
            term, command = log[index]
            if command[:1] == REGULAR:
                self._note(self._state.apply(index, term, *decode_batch(command[1:])))
            if not self.state_hash and self._state.exchange.sequence >= sequence:
                self.state_hash = self._state.state_hash()

    def _note(self, applied: Applied) -> None:
        for result in applied.results:
            if result.replayed_sequence:
                continue
            for event in result.events:
                if isinstance(event, OrderAccepted):
                    label = event.order.client_order_id
                    self._accepted[label] += 1
                    self._answers[label] = Committed(
                        result.sequence, applied.time_us, result.events, replayed=False
                    )
                elif isinstance(event, TradeExecuted):
                    self._note_trade(result, event)

    def _note_trade(self, result: Result, trade: TradeExecuted) -> None:
        for order_id in (trade.maker_order_id, trade.taker_order_id):
            fills = self._filled.setdefault(str(order_id), [(0, 0)])
            fills.append((result.sequence, fills[-1][1] + trade.quantity_lots))

    def judge(self, history: Sequence[Operation]) -> None:
        """Assert that every answer in the history is true."""
        doubled = [label for label, count in self._accepted.items() if count > 1]
        assert not doubled, f"applied twice: {doubled}"
        for operation in history:
            if operation.order is None:
                self._judge_read(operation)
            elif operation.outcome is Outcome.OK:
                self._judge_order(operation)
            elif operation.outcome is Outcome.FAILED:
                assert operation.label not in self._accepted, f"{operation.label}: refused, yet in"
        judge_order_in_time(history)

    def _judge_order(self, operation: Operation) -> None:
        result = self._answers.get(operation.label)
        assert result is not None, f"{operation.label} was acknowledged and is lost"
        rules = self._state.exchange.markets["BTC-USD"].rules
        expected = order_result(result, rules, sent={})
        assert operation.answer == msgspec.json.decode(msgspec.json.encode(expected))

    def _judge_read(self, operation: Operation) -> None:
        if operation.outcome is Outcome.OK:
            seen = operation.answer["order"]
            fills = self._filled.get(seen["order_id"], [(0, 0)])
            lots = max(filled for at, filled in fills if at <= operation.sequence)
            assert seen["filled_quantity"] == str(lots // LOTS_IN_ONE), (seen, fills)


LOTS_IN_ONE = 10**8
"""The market of the tests has a lot of 0.00000001, and its orders are for whole numbers."""


def judge_order_in_time(history: Sequence[Operation]) -> None:
    """Assert real-time order: nothing stands before what had completed when it was invoked."""
    done = [o for o in history if o.outcome is Outcome.OK]
    by_completion = sorted(done, key=_completed_s)
    position = greatest = 0
    for operation in sorted(done, key=lambda o: o.invoked_s):
        while _completed_s(by_completion[position]) < operation.invoked_s:
            greatest = max(greatest, by_completion[position].sequence)
            position += 1
        is_read = operation.order is None
        lowest = greatest if is_read else greatest + 1
        assert operation.sequence >= lowest, f"{operation.label or 'a read'} went back in time"


def _completed_s(operation: Operation) -> float:
    assert operation.completed_s is not None
    return operation.completed_s


def judge(nodes: Sequence[NodeProcess], history: Sequence[Operation], view: Any) -> None:
    """Assert that a history is true of stopped nodes; `view` is what they reported at the end."""
    verdict = Verdict(committed_log(nodes), sequence=view["sequence"])
    assert verdict.state_hash == view["state_hash"], "the replay ends elsewhere"
    verdict.judge(history)
