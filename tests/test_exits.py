"""How a node's process ends: each kind of failure has its exit code and its sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from raft_exchange.exits import fail
from raft_exchange.matching.versions import NewerVersion, refuse_newer
from raft_exchange.raft.storage import StorageFailed
try:
    {failure}
except BaseException as error:
    fail(error)
"""


@pytest.mark.parametrize(
    ("failure", "code", "sentence"),
    [
        ("refuse_newer('an entry of the log', 2, 1)", 1, "of version 2; this release reads"),
        ("assert False, 'a bug'", 3, "a bug"),
        ("raise StorageFailed('no space')", 4, "no space"),
    ],
)
def test_a_failure_ends_the_process_with_its_code_and_says_why(
    failure: str, code: int, sentence: str
) -> None:
    program = PROGRAM.format(failure=failure)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert sentence in done.stderr
