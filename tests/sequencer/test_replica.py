"""The replica's pump and the leader's clock."""

from __future__ import annotations

import pytest

from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.messages import CreateAccount
from raft_exchange.matching.versions import VERSIONS, NewerVersion
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Batch, Request, encode_batch, time_of
from raft_exchange.sequencer.replica import LeaderClock, Replica
from raft_exchange.sequencer.state import ReplicatedState


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


def test_stamps_never_go_back_whatever_the_clock_does() -> None:
    clock = iter([100, 50, 200])
    leader = LeaderClock(lambda: next(clock), ReplicatedState())
    entry = encode_batch(Batch("n1", 1, 1, []), version=1)
    stamped = [leader.admit(entry) for _ in range(3)]
    assert [time_of(data) for data in stamped if data is not None] == [100, 100, 200]


@pytest.mark.parametrize("garbage", [b"", b"\x01", b"\x02" * 20, b"\x01" + b"\xff" * 30])
def test_what_no_replica_could_apply_is_not_admitted(garbage: bytes) -> None:
    """It would stop every replica that applies it."""
    assert LeaderClock(lambda: 1, ReplicatedState()).admit(garbage) is None
