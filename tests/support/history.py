"""What clients of a simulated cluster saw, and whether it was true.

Every operation is one order with a label of its own, so that it can be found again in what the
replicas applied. The checkers assume nothing of the implementation: they compare the clients'
answers with the one sequence of entries that every replica must share.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from raft_exchange.matching.messages import (
    CreateMarket,
    MarketRules,
    OrderAccepted,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Request
from raft_exchange.sequencer.outcome import Committed, Outcome, Refused
from tests.support.sim_node import SimNode
from tests.support.world import World

MARKET = MarketRules(
    "BTC-USD", "BTC", "USD", 10**16, 10**10, 1, 10**9, 1, 10**12, 0, SelfTradePrevention.NONE
)


class Operation:
    """One order and what its client was told, in virtual seconds; `outcome` None: nothing."""

    def __init__(self, label: str, invoked_s: float) -> None:
        self.label = label
        self.invoked_s = invoked_s
        self.completed_s: float | None = None
        self.outcome: Outcome | None = None


class Clients:
    """Random orders at random nodes, at a rate, until told to stop."""

    def __init__(self, world: World, *, rate_per_s: float, seed: int) -> None:
        self.operations: list[Operation] = []
        self._world = world
        self._rate_per_s = rate_per_s
        self._random = random.Random(seed)
        self._is_stopped = False

    def start(self) -> None:
        """Open the market through the first node, then begin."""
        node = self._world.nodes[self._world.ids[0]]
        node.submit([Request(CreateMarket(MARKET), "founding")], lambda outcomes: None)
        self._again()

    def stop(self) -> None:
        self._is_stopped = True

    def place(self, node: SimNode) -> Operation:
        """Send one random order to `node`."""
        operation = Operation(f"op{len(self.operations)}", self._world.now_s)
        self.operations.append(operation)
        order = PlaceOrder(
            "anonymous",
            "BTC-USD",
            self._random.choice(list(Side)),
            OrderType.LIMIT,
            TimeInForce.GTC,
            self._random.randrange(95, 105),
            self._random.randrange(1, 10),
            0,
            False,
            None,
            operation.label,
        )

        def resolve(outcomes: list[Outcome]) -> None:
            assert operation.outcome is None, "one outcome, once"
            (operation.outcome,) = outcomes
            operation.completed_s = self._world.now_s

        node.submit([Request(order, operation.label)], resolve)
        return operation

    def _again(self) -> None:
        if self._is_stopped:
            return
        node = self._world.nodes[self._random.choice(self._world.ids)]
        if node.is_running and not node.is_stopped:
            self.place(node)
        pause_s = self._random.expovariate(self._rate_per_s)
        self._world.at(self._world.now_s + pause_s, self._again)


def check_history(world: World, operations: list[Operation]) -> None:
    """Assert that every answer is true: durable, applied once, in real-time order."""
    accepted = _accepted(world.truth)
    for operation in operations:
        sequences = accepted.get(operation.label, [])
        assert len(sequences) <= 1, f"{operation.label} was applied at {sequences}"
        if isinstance(operation.outcome, Refused):
            assert not sequences, f"{operation.label} was refused and yet applied"
        elif isinstance(operation.outcome, Committed):
            _check_committed(operation, operation.outcome, sequences)
    _check_real_time(operations)


def _check_committed(operation: Operation, outcome: Committed, sequences: list[int]) -> None:
    if isinstance(outcome.events[0], OrderAccepted):
        assert sequences == [outcome.sequence], f"{operation.label} was acknowledged and is lost"
    else:
        assert not sequences, f"{operation.label} was answered as refused and yet applied"


def _accepted(truth: dict[int, Applied]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for applied in truth.values():
        for result in applied.results:
            for event in result.events:
                if isinstance(event, OrderAccepted) and not result.replayed_sequence:
                    found.setdefault(event.order.client_order_id, []).append(result.sequence)
    return found


def _check_real_time(operations: list[Operation]) -> None:
    """An operation begun after another had completed stands after it (linearizability)."""
    done = [
        (operation.invoked_s, operation.completed_s, operation.outcome.sequence)
        for operation in operations
        if isinstance(operation.outcome, Committed) and operation.completed_s is not None
    ]
    by_completion = sorted(done, key=lambda item: item[1])
    position, greatest = 0, 0
    for invoked_s, _, sequence in sorted(done):
        while by_completion[position][1] < invoked_s:
            greatest = max(greatest, by_completion[position][2])
            position += 1
        assert sequence > greatest, "an operation stands before one that had completed"


def check_agreement(world: World, ids: Collection[str] | None = None) -> None:
    """Assert that these nodes, or all, hold the same state, and that it is sound."""
    states = {id_: world.nodes[id_].state for id_ in ids or world.ids}
    for state in states.values():
        state.check()
    hashes = {node_id: state.state_hash() for node_id, state in states.items()}
    assert len(set(hashes.values())) == 1, f"replicas differ: {hashes}"
