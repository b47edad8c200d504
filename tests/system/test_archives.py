"""A real cluster that archives: its whole life can be replayed, and comes to the same digests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ORDERS = 600


def verify(*arguments: Path | str) -> Any:
    command = [sys.executable, "-m", "raft_exchange", "verify", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@in_loop
async def test_the_archive_and_the_log_replay_to_what_the_members_agreed_on(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "archive"
    settings = {"snapshot_entries": 50, "archive_dir": archive}
    (tmp_path / "cluster").mkdir()
    with RealCluster(tmp_path / "cluster", settings=settings) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            for number in range(ORDERS):
                side = ("buy", "sell")[number % 2]
                status, _ = await client.place(cluster.nodes[number % 3], side, 100, 1)
                assert status == 201
            views = await client.settled()
        sequence = max(view["sequence"] for view in views)
        for node in cluster.nodes:
            cluster.terminate(node)
        whole = [verify(node.folder, "--archive", archive / node.id) for node in cluster.nodes]
        short = [verify(node.folder) for node in cluster.nodes]
        for from_founding, from_snapshot in zip(whole, short, strict=True):
            assert from_founding["snapshot_index"] == 0
            assert from_snapshot["snapshot_index"] > 0
            assert from_founding["archived_index"] > ORDERS // 4
            assert from_founding["agreements"] > 0
            for name in ("sequence", "state_hash", "event_digest"):
                assert from_founding[name] == from_snapshot[name]
        assert whole[0]["sequence"] >= sequence
        together = verify("--archive", archive)
        assert together["archived_index"] == max(found["archived_index"] for found in whole)
