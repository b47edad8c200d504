"""Strangers who only hold connections open cost a node nothing it needs."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from raft_exchange.descriptors import CONNECTIONS_MIN, RESERVED
from raft_exchange.raft.snapshot_store import SUFFIX
from tests.support.coroutines import in_loop
from tests.support.processes import READY_S_MAX, Client, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

OPEN_FILES_MAX = RESERVED + 44
SILENT = OPEN_FILES_MAX + 60
SNAPSHOTS = 2
ENTRIES = 20
ORDER = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "1", "quantity": "1"}


@in_loop
async def test_silent_connections_do_not_take_the_journals_descriptors(tmp_path: Path) -> None:
    """A node that trades on opens snapshots and segments all the time."""
    with ExitStack() as stack:
        cluster = stack.enter_context(
            RealCluster(
                tmp_path,
                nodes=1,
                settings={"snapshot_entries": ENTRIES},
                open_files_max=OPEN_FILES_MAX,
            )
        )
        async with Client(cluster) as client:
            (node,) = cluster.nodes
            await client.ready()
            for port in (node.http_port, node.grape_http_port):
                for _ in range(SILENT):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            snapshots = set[Path]()
            deadline_s = time.monotonic() + READY_S_MAX
            while len(snapshots) < SNAPSHOTS:
                status, _ = await client.call(node, "POST", "/v1/orders/batch", {"orders": [ORDER]})
                assert status == 200
                snapshots |= set((node.folder / "snapshots").glob(f"*{SUFFIX}"))
                assert time.monotonic() < deadline_s, snapshots


def test_a_limit_that_leaves_room_for_nobody_is_exit_2(tmp_path: Path) -> None:
    with RealCluster(tmp_path, nodes=1, open_files_max=RESERVED + CONNECTIONS_MIN - 1) as cluster:
        (node,) = cluster.nodes
        assert node.process is not None
        assert node.process.wait(30) == 2
        assert "open files: the limit is 271; allowed: 272 or more" in node.log
