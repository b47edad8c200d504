"""Real processes: sizes of the races, small by default, large for the nightly run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import RealCluster


def size(name: str, default: int) -> int:
    """Return how often to do something: `RAFT_EXCHANGE_TEST_<NAME>` or the default."""
    return int(os.environ.get(f"RAFT_EXCHANGE_TEST_{name}", default))


@pytest.fixture
def races() -> int:
    return size("RACES", 200)


@pytest.fixture
def bursts() -> int:
    return size("BURSTS", 10)


@pytest.fixture
def random_orders() -> int:
    return size("ORDERS", 3_000)


@pytest.fixture
def kills() -> int:
    return size("KILLS", 2)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with RealCluster(tmp_path) as running:
        yield running
