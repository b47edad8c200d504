"""The same log gives the same bytes, whatever process reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIGEST = """
import hashlib, msgspec
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.snapshot import state_hash
from tests.support.workload import commands, new_exchange

exchange, digest = new_exchange(), hashlib.sha256()
for command in commands(20, 5_000):
    digest.update(msgspec.msgpack.encode(exchange.apply(command)))
print(digest.hexdigest(), state_hash(exchange), set(map(str, range(20))))
"""


def digest(hash_seed: str) -> tuple[list[str], str]:
    """Return the digests that a process with this hash seed prints, and how it orders a set."""
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    events, state, unordered = done.stdout.split(maxsplit=2)
    return [events, state], unordered


def test_the_hash_seed_of_the_process_does_not_show() -> None:
    """Processes whose sets have different orders give the same events and the same state."""
    answers = [digest(hash_seed) for hash_seed in ("0", "1", "2")]
    assert len({unordered for _, unordered in answers}) > 1, "the seeds do make a difference"
    assert answers[0][0] == answers[1][0] == answers[2][0]
