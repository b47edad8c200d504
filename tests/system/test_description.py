"""A stranger reads `/openapi.json` and asks a live cluster what it allows, and much it does not.

The stranger is schemathesis: it makes requests from the description, right and wrong, and holds
the answers against it. Left out are what never ends (streams) and what would change the group.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster
from tests.system.conftest import size

CASES = size("DESCRIBED_CASES", 100)
pytestmark = [pytest.mark.system, pytest.mark.chaos, pytest.mark.timeout(300 + CASES)]

OPERATIONS = 40  # a little fewer than there are: each is asked as often as makes CASES at least
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)
LEFT_OUT = (
    *("/v1/stream", "/events", "/v1/ws", "/v1/cluster/members", "/v1/cluster/drain"),
    "/v1/cluster/backup",  # its file of bytes is no text to hold against anything
)
CONFIGURATION = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""


@in_loop
async def ready(cluster: RealCluster) -> None:
    async with Client(cluster) as client:
        await client.ready()


def test_every_answer_of_a_live_cluster_is_one_that_is_described(
    cluster: RealCluster, tmp_path: Path
) -> None:
    ready(cluster)
    (tmp_path / "stranger.toml").write_text(CONFIGURATION)
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", "stranger.toml"]
    command = [
        *(*program, "run", cluster.nodes[1].url + "/openapi.json", "--phases", "fuzzing"),
        *("--max-examples", str(-(-CASES // OPERATIONS)), "--checks", ",".join(CHECKS)),
        *("--seed", "1", "--generation-database", "none", "--no-shrink", "--no-color"),
        *("--continue-on-failure", "--warnings", "off"),
    ]
    for path in LEFT_OUT:
        command += ["--exclude-path", path]
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    print(asked.stdout)  # how many, and in what time: pytest -rP shows it
    assert asked.returncode == 0, asked.stdout + asked.stderr
    generated = re.search(r"(\d+) generated", asked.stdout)
    assert generated is not None, asked.stdout
    assert int(generated[1]) >= CASES
    ready(cluster)
