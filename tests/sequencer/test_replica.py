"""The replica's pump and the leader's clock."""

from __future__ import annotations

import pytest

from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.messages import CreateAccount
from raft_exchange.matching.versions import VERSIONS, NewerVersion
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Batch, Request, encode_batch, time_of
from raft_exchange.sequencer.replica import STEP_OUT_US, LeaderClock, Replica
from raft_exchange.sequencer.state import ReplicatedState

NOON_US = 1_700_049_600_000_000


def test_an_entry_is_applied_and_handed_on() -> None:
    seen: list[Applied] = []
    replica = Replica(ReplicatedState(), MarketData(), on_applied=seen.append)
    entry = encode_batch(Batch("n1", 1, 1, [Request(CreateAccount("a"))]), time_us=5, version=1)
    replica.apply(7, 3, entry)
    (applied,) = seen
    assert (applied.index, applied.term, applied.time_us, applied.number) == (7, 3, 5, 1)
    assert len(applied.results) == 2


def test_an_entry_of_a_later_release_stops_the_replica() -> None:
    replica = Replica(ReplicatedState(), MarketData(), on_applied=lambda applied: None)
    later = bytes([VERSIONS.newest + 1])
    with pytest.raises(NewerVersion, match="run the later release"):
        replica.apply(1, 1, later + encode_batch(Batch("n1", 1, 1, []))[1:])


class Clocks:
    """A leader's clock at noon, whose wall clock is off by `wrong_s`."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.wrong_s = 0.0
        self.leader = LeaderClock(
            lambda: NOON_US + int((self.passed_s + self.wrong_s) * 1e6),
            lambda: int(self.passed_s * 1e6),
            ReplicatedState(),
        )

    def stamp_s(self, *, after_s: float, wrong_s: float = 0.0) -> float:
        """Let time pass; return the seconds since noon of the next stamp."""
        self.passed_s += after_s
        self.wrong_s = wrong_s
        stamped = self.leader.admit(encode_batch(Batch("n1", 1, 1, []), version=1))
        assert stamped is not None
        return (time_of(stamped) - NOON_US) / 1e6


def test_stamps_never_go_back_whatever_the_clock_does() -> None:
    clocks = Clocks()
    wrong_s = (0, -50, 0, -9, 3_600, 0, -1)
    stamps = [clocks.stamp_s(after_s=1, wrong_s=wrong) for wrong in wrong_s]
    assert stamps == sorted(stamps)


def test_a_wall_clock_that_is_right_is_followed_however_rare_entries_are() -> None:
    clocks = Clocks()
    for after_s in (0, 0.001, 3_600, 0, 0.25, 86_400):
        assert clocks.stamp_s(after_s=after_s) == clocks.passed_s


def test_an_hour_ahead_for_one_entry_moves_the_logged_clock_by_no_hour() -> None:
    clocks = Clocks()
    assert clocks.stamp_s(after_s=0) == 0
    assert clocks.stamp_s(after_s=0.5, wrong_s=3_600) == 1
    assert clocks.stamp_s(after_s=0.5) == 1
    assert clocks.stamp_s(after_s=0.5) == 1.5


@pytest.mark.parametrize("gap_s", [0.01, 1, 20])
def test_while_it_is_ahead_stamps_go_on_with_time_at_most_twice_as_fast(gap_s: float) -> None:
    clocks = Clocks()
    clocks.stamp_s(after_s=100)
    while clocks.passed_s < 100 + STEP_OUT_US / 1e6 - gap_s:
        stamp_s = clocks.stamp_s(after_s=gap_s, wrong_s=3_600)
        assert stamp_s <= 100 + 2 * (clocks.passed_s - 100) + 1e-3


@pytest.mark.parametrize("wrong_s", [-86_400, -90])
def test_a_clock_that_was_behind_and_is_put_right_is_followed_within_a_minute(
    wrong_s: float,
) -> None:
    clocks = Clocks()
    clocks.stamp_s(after_s=0, wrong_s=wrong_s)
    for _ in range(1 + STEP_OUT_US // 1_000_000):
        assert clocks.stamp_s(after_s=1) <= clocks.passed_s
    assert clocks.stamp_s(after_s=1) == clocks.passed_s
    assert clocks.stamp_s(after_s=0.1) == clocks.passed_s


def test_two_slips_far_apart_are_no_step() -> None:
    clocks = Clocks()
    clocks.stamp_s(after_s=0)
    for _ in range(3):
        clocks.stamp_s(after_s=0.5, wrong_s=3_600)
        clocks.stamp_s(after_s=100)
    assert clocks.stamp_s(after_s=1) == clocks.passed_s


@pytest.mark.parametrize("garbage", [b"", b"\x01", b"\x02" * 20, b"\x01" + b"\xff" * 30])
def test_what_no_replica_could_apply_is_not_admitted(garbage: bytes) -> None:
    """It would stop every replica that applies it."""
    assert LeaderClock(lambda: 1, lambda: 1, ReplicatedState()).admit(garbage) is None


def test_what_its_proposer_wrote_as_time_does_not_count() -> None:
    entry = encode_batch(Batch("n1", 1, 1, []), time_us=10**15, version=1)
    stamped = LeaderClock(lambda: 7, lambda: 1, ReplicatedState()).admit(entry)
    assert stamped is not None
    assert time_of(stamped) == 7
