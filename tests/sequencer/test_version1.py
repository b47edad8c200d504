"""What the release of version 1 wrote is read by this one and gives the state it gave there.

`tests/data/version1` is the folder of a node of that release after 404 entries: orders of
every kind of four accounts in two markets, over HTTP. `expected.json` is what that release said of
it.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Final

import pytest

from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching import snapshot
from raft_exchange.raft.library import REGULAR
from raft_exchange.raft.recovery import Recovery, recover
from raft_exchange.raft.snapshot_file import Image, decode
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState

RECORDED: Final = Path(__file__).parents[1] / "data" / "version1"
EXPECTED: Final[dict[str, Any]] = json.loads((RECORDED / "expected.json").read_text())


def unpacked(folder: Path) -> Path:
    """The journal as it stood on the disk, its preallocated zeros included."""
    path = folder / "00000000000000000001.journal"
    path.write_bytes(gzip.decompress((RECORDED / "journal.gz").read_bytes()))
    with path.open("r+b") as file:
        file.truncate(EXPECTED["journal_bytes"])
    return folder


def replay(replica: Replica, found: Recovery, *, after: int) -> None:
    at = after
    while at < found.commit_index:
        count = min(1_024, found.commit_index - at)
        for command, index, term in found.entries.run(at + 1, bytes_max=1 << 20, count_max=count):
            if command[:1] == REGULAR:
                replica.apply(index, term, command[1:])
            at = index


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_log_of_version_1_gives_the_state_it_gave_there(
    tmp_path: Path, from_snapshot: bool
) -> None:
    """From the first entry, or from the snapshot on: the hash that the old release printed."""
    replica = Replica(ReplicatedState(), MarketData(), on_applied=lambda applied: None)
    after = 0
    if from_snapshot:
        header, sections = decode(gzip.decompress((RECORDED / "snapshot.gz").read_bytes()))
        image = Image(header.sequence, header.time_us, header.state_hash, sections)
        replica.prepare(image)()
        after = header.index
        assert after == EXPECTED["snapshot_index"]
    directory = Directory(unpacked(tmp_path))
    directory.lock()
    try:
        replay(replica, recover(directory), after=after)
    finally:
        directory.close()
    exchange = replica.state.exchange
    exchange.check()
    replica.marketdata.check()
    assert exchange.sequence == EXPECTED["sequence"]
    assert len(exchange.live.by_id) == EXPECTED["orders_live"]
    assert snapshot.state_hash(exchange) == EXPECTED["exchange_hash"]
