"""Going through a log again that holds signed requests: whose cluster it is must be known."""

from __future__ import annotations

import pytest

from raft_exchange.cli.replay import Replay
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.raft.archive import LogEntry
from raft_exchange.raft.library import REGULAR
from raft_exchange.sequencer.codec import Batch, encode_batch
from raft_exchange.sequencer.notices import Reads, Roster
from raft_exchange.sequencer.state import CannotOpen
from tests.sequencer.test_signed import CLUSTER_ID, START_US, Log, place


def recorded() -> list[LogEntry]:
    """A log in which ann signed two orders."""
    log = Log()
    members = Batch("", 0, 0, [], (Roster(("n1",)), Reads("n1", VERSIONS.newest)))
    batches = [members, *log.batches, Batch("n1", 1, log.index + 1, [place(), place()])]
    entries: list[LogEntry] = []
    for index, batch in enumerate(batches, 1):
        version = 1 if batch is members else VERSIONS.newest
        data = encode_batch(batch, time_us=START_US, version=version)
        entries.append((REGULAR + data, index, 1))
    return entries


def test_a_replay_verifies_what_was_signed_for_the_cluster_that_it_is_told() -> None:
    entries = recorded()
    replay = Replay(CLUSTER_ID)
    replay.go_through(entries)
    assert len(replay.state.exchange.live.by_id) == 2
    other = Replay("beef")
    other.go_through(entries)
    assert not other.state.exchange.live.by_id, "as it would have been there"


def test_without_the_id_of_the_cluster_it_stops_and_says_why() -> None:
    entries = recorded()
    replay = Replay()
    with pytest.raises(CannotOpen, match="of which cluster"):
        replay.go_through(entries)
