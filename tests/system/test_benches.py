"""The benches behind the figures run, and what they compare stands even for a moment's run."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer.state import ReplicatedState
from tests.bench import pace, restart
from tests.system.soak import write_resting

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(300)]


def test_we_are_faster_with_syncs_than_the_stock_library_without() -> None:
    assert pace.main(["--runs", "1", "--seconds", "1"]) > 1


def test_everybody_killed_comes_back_with_its_log() -> None:
    assert restart.main(["--entries", "2000", "--trials", "1"]) < 30


def test_the_soak_begins_with_as_many_resting_orders_as_told(tmp_path: Path) -> None:
    write_resting(tmp_path, 300)
    found = SnapshotStore(Directory(tmp_path), cluster="exchange").load(base_index=0)
    assert found is not None
    state, _ = found[1]
    assert len(ReplicatedState.decode(state).exchange.live.by_id) == 300
