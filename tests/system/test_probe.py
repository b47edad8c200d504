"""`raft-exchange probe` says that a cluster trades, and fails where it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = pytest.mark.system


def probe(*urls: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raft_exchange", "probe", "--timeout", "3", *urls]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@in_loop
async def test_it_trades_through_two_nodes_and_sees_it_at_all(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        async with Client(cluster) as client:
            await client.ready()
        for urls in (cluster.urls, [",".join(cluster.urls)]):  # the market is there the second time
            done = probe(*urls)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("seen at") == 3
        cluster.kill(cluster.nodes[2])
        done = probe(*cluster.urls)
        assert done.returncode == 1
        assert "raft-exchange: " in done.stderr
