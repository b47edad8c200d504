"""Backup, restore, and the survivor of a lost majority: the same state in a new cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raft_exchange.cli.replay import Replay, read_snapshots
from raft_exchange.raft.snapshot_file import encode
from raft_exchange.raft.snapshot_store import SUFFIX
from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ORDERS = 40


def run(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raft_exchange", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def traded(folder: Path) -> tuple[RealCluster, list[Any]]:
    """Return a cluster that traded and was stopped, and its last book."""
    folder.mkdir()
    with RealCluster(folder, settings={"snapshot_entries": 20}) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            for number in range(ORDERS):
                node = cluster.nodes[number % 3]
                assert (await client.place(node, "buy", 100 + number % 5, 1))[0] == 201
            await client.settled()
            _, book = await client.call(cluster.nodes[0], "GET", "/v1/markets/BTC-USD/book")
        for node in cluster.nodes:
            cluster.terminate(node)
    return cluster, book["bids"]


async def bids_and_more(cluster: RealCluster) -> tuple[list[Any], dict[str, Any]]:
    """Return the book and the view of a cluster of one, which takes orders."""
    with cluster:
        async with Client(cluster) as client:
            await client.ready()
            (node,) = cluster.nodes
            _, book = await client.call(node, "GET", "/v1/markets/BTC-USD/book")
            assert (await client.place(node, "sell", 200, 1))[0] == 201
            _, view = await client.call(node, "GET", "/v1/cluster")
            return book["bids"], view


def spoil_newest_snapshot(folder: Path) -> int:
    """Put another state into it, as a node that differs would have; return its entry."""
    header, sections = read_snapshots(folder / "snapshots")[-1]
    replay = Replay()
    replay.begin_from(header, sections)
    next(iter(replay.state.exchange.live.by_id.values())).created_at_us += 1
    image = replay.replica.capture()
    spoilt = msgspec.structs.replace(header, state_hash=image.state_hash)
    path = max((folder / "snapshots").glob(f"*{SUFFIX}"))
    path.write_bytes(b"".join(encode(spoilt, image.sections)))
    return header.index


def empty_cluster(folder: Path) -> RealCluster:
    folder.mkdir()
    cluster = RealCluster(folder, nodes=1)
    cluster.nodes[0].folder.rmdir()
    return cluster


@in_loop
async def test_a_backup_is_restored_as_another_cluster_with_the_same_book(tmp_path: Path) -> None:
    old, bids = await traded(tmp_path / "old")
    source, backup = old.nodes[1].folder, tmp_path / "backup"
    assert run("backup", source, backup).returncode == 0
    assert run("backup", source, backup).returncode == 2, "it never writes over anything"
    new = empty_cluster(tmp_path / "new")
    done = run("restore", backup, new.nodes[0].folder, "--name", "n1")
    assert done.returncode == 0, done.stderr
    found, view = await bids_and_more(new)
    assert found == bids
    assert view["node"] != old.nodes[0].id
    assert [member["id"] for member in view["members"]] == [view["node"]]
    victim = max((backup / "journal").iterdir(), key=lambda path: path.stat().st_size)
    raw = bytearray(victim.read_bytes())
    raw[700] ^= 1
    victim.write_bytes(raw)
    refused = run("restore", backup, tmp_path / "never", "--name", "n1")
    assert refused.returncode == 1
    assert "SHA-256" in refused.stderr
    assert not (tmp_path / "never").exists()


@in_loop
async def test_the_survivor_of_a_lost_majority_goes_on_as_a_new_cluster(tmp_path: Path) -> None:
    old, bids = await traded(tmp_path / "old")
    survivor = old.nodes[2].folder
    new = empty_cluster(tmp_path / "new")
    target = new.nodes[0].folder
    assert run("recover", survivor, target, "--name", "n1").returncode == 2, "not by accident"
    done = run("recover", survivor, target, "--name", "n1", "--i-accept-data-loss")
    assert done.returncode == 0, done.stderr
    assert "LOST" in done.stdout
    found, _ = await bids_and_more(new)
    assert found == bids
    assert run("verify", survivor).returncode == 0, "the survivor's folder is as it was"
    entry = spoil_newest_snapshot(survivor)
    again = tmp_path / "again"
    done = run("recover", survivor, again, "--name", "n1", "--i-accept-data-loss")
    assert done.returncode == 0, done.stderr
    assert f"passing over the snapshot at entry {entry}: " in done.stderr
    (first,), (second,) = (read_snapshots(one / "snapshots") for one in (target, again))
    assert second[0].state_hash == first[0].state_hash
