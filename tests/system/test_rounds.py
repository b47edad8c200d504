"""Whatever befalls real nodes under load: nothing lost, nothing twice, no answer untrue.

One round of each nemesis by default; `RAFT_EXCHANGE_TEST_ROUNDS` of each where set, and
`python -m tests.nightly` for hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.nemeses import DISKS, NETWORK, PROCESSES, Nemesis
from tests.support.rounds import run_rounds
from tests.support.trading import Operation, Outcome
from tests.support.verdict import judge_order_in_time
from tests.system.conftest import size

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(3_600)]


@pytest.mark.parametrize(
    "nemeses", [PROCESSES, NETWORK, DISKS], ids=["processes", "network", "disks"]
)
def test_every_answer_is_true(nemeses: Sequence[Nemesis]) -> None:
    rounds = size("ROUNDS", 1) * len(nemeses)
    tally = run_rounds(nemeses, rounds, per_cluster=2 * len(nemeses), tell=print)
    assert tally.rounds.total() == rounds
    assert tally.outcomes["ok"] > 30 * rounds, tally


def operation(label: str, sequence: int, invoked_s: float, completed_s: float) -> Operation:
    made = Operation(label, {}, invoked_s)
    made.outcome, made.sequence, made.completed_s = Outcome.OK, sequence, completed_s
    return made


def test_the_checker_notices_an_order_that_stands_before_one_that_had_completed() -> None:
    overlapping = [operation("a", 2, 0.0, 2.0), operation("b", 1, 1.0, 3.0)]
    judge_order_in_time(overlapping)
    with pytest.raises(AssertionError, match="b went back in time"):
        judge_order_in_time([operation("a", 2, 0.0, 1.0), operation("b", 1, 1.5, 2.0)])
