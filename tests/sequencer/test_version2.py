"""What the release of version 2 wrote is read by this one and gives the state it gave there.

`tests/data/version2` was recorded with that release: 120 entries of the workload of the oracle
(accounts, balances, keys, stops, icebergs, OCO, fees, dead-man switches), some asked again under
their keys; its snapshot after half of them; and what it said of the whole.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.raft.snapshot_file import Image
from raft_exchange.sequencer.codec import Batch
from raft_exchange.sequencer.notices import Reads
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState

RECORDED: Final = Path(__file__).parents[1] / "data" / "version2"
EXPECTED: Final[dict[str, Any]] = json.loads((RECORDED / "expected.json").read_text())


def recorded(name: str) -> Any:
    return msgspec.msgpack.decode(gzip.decompress((RECORDED / name).read_bytes()))


def replayed(*, from_snapshot: bool) -> Replica:
    replica = Replica(ReplicatedState(), MarketData(), on_applied=lambda applied: None)
    entries, begin = recorded("entries.gz"), 0
    assert len(entries) == EXPECTED["entries"]
    if from_snapshot:
        replica.prepare(Image(*recorded("snapshot.gz")))()
        begin = EXPECTED["snapshot_entries"]
    for index, entry in enumerate(entries[begin:], begin + 1):
        replica.apply(index, 1, entry)
    return replica


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_log_of_version_2_gives_the_state_it_gave_there(from_snapshot: bool) -> None:
    """Every byte of the state and of all events, from the first entry on or from the snapshot."""
    replica = replayed(from_snapshot=from_snapshot)
    replica.state.check()
    replica.marketdata.check()
    assert replica.state.version == 2
    assert replica.state.exchange.sequence == EXPECTED["sequence"]
    assert len(replica.state.exchange.live.by_id) == EXPECTED["orders_live"]
    assert replica.state.state_hash() == EXPECTED["state_hash"]
    assert replica.state.selfcheck.chain.hex() == EXPECTED["event_digest"]


def test_it_goes_on_in_the_newest_version_once_all_members_read_it() -> None:
    state = replayed(from_snapshot=True).state
    notice = Reads("n1", VERSIONS.newest)
    state.apply(EXPECTED["entries"] + 1, 1, 0, Batch("", 0, 0, [], (notice,)))
    state.check()
    assert state.version == VERSIONS.newest > 2
    assert ReplicatedState.decode(state.encode()).state_hash() == state.state_hash()
