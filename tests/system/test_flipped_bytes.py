"""A byte of any file of a data folder rots: `verify` names the file, or nothing was lost.

Not one byte may change what a folder says in silence. `RAFT_EXCHANGE_TEST_FLIPS` bytes are tried.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from raft_exchange.__main__ import main
from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster
from tests.system.conftest import size

pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(3_600)]

ORDERS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a node that traded, wrote snapshots and was stopped."""
    made = tmp_path_factory.mktemp("flipped")
    live(made)
    return made / "n1"


@in_loop
async def live(folder: Path) -> None:
    with RealCluster(folder, nodes=1, settings={"snapshot_entries": 80}) as cluster:
        async with Client(cluster) as client:
            await client.ready()
            for number in range(ORDERS):
                side = "sell" if number % 3 else "buy"
                assert (await client.place(cluster.nodes[0], side, 100, 1))[0] == 201
        assert cluster.terminate(cluster.nodes[0]) == 0


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Return the exit code of `verify`, what it found, and what it complains of."""
    code = main(["verify", str(folder), "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out) if code == 0 else {}, told.err


def place_of(path: Path, draw: random.Random) -> int:
    """A random byte of a file, seldom one of the zeros that nobody wrote."""
    with path.open("rb") as file:
        written = len(file.read(4 * 1024 * 1024).rstrip(b"\0"))
    return draw.randrange(path.stat().st_size if draw.random() < 0.1 else written)


def test_a_flipped_byte_is_named_or_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sound, _ = verified(folder, capsys)
    assert code == 0
    assert sound["snapshot_index"] > 0
    # The history of trades is derived, and SQLite's to keep.
    kept = (p for p in folder.rglob("*") if not p.name.startswith("history."))
    files = sorted(p for p in kept if p.is_file() and p.suffix != ".log")
    assert {path.parent.name for path in files} == {"n1", "journal", "snapshots"}
    draw, named = random.Random(1), 0
    for path in itertools.islice(itertools.cycle(files), size("FLIPS", 60)):
        offset, change = place_of(path, draw), draw.randrange(1, 256)
        flip(path, offset, change)
        code, found, complaint = verified(folder, capsys)
        flip(path, offset, change)
        if code == 0:
            assert found | {"torn_bytes": 0} == sound, f"{path}, byte {offset} ^ {change}"
        else:
            assert code == 1, complaint
            assert path.name in complaint, complaint
            assert "byte" in complaint or path.suffix == ".json", complaint
            named += 1
    assert named > size("FLIPS", 60) // 2
    assert verified(folder, capsys)[1] == sound, "every byte was put back"


def flip(path: Path, offset: int, change: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ change]))
