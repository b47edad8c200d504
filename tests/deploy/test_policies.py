"""What checkov's security policies say of the chart: nothing that has no reason here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.chart import CASES, ROOT, only, rendered, tool, values_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
INSTALL: Final = (
    "python3 -m venv .venv-checkov && "
    ".venv-checkov/bin/pip install -r .ci/requirements-policies.txt"
)
ANY: Final = ""
EXPLAINED: Final = {
    (
        "CKV_K8S_11",
        "StatefulSet",
        ANY,
    ): "a CPU limit throttles, and a throttled node starts elections",
    (
        "CKV_K8S_15",
        ANY,
        ANY,
    ): "a tag is one release for good; who gives a digest needs no pull at all",
    ("CKV_K8S_43", ANY, ANY): "which digest is the installer's to say (image.digest)",
    ("CKV_K8S_8", "Pod", ANY): "the trading test runs to its end: there is nothing to keep alive",
    ("CKV_K8S_9", "Pod", ANY): "the trading test is no server",
    (
        "CKV_K8S_35",
        "StatefulSet",
        "everything-on-values",
    ): "history_url is a setting like the others, "
    "and those that differ by pod or come from a Secret are in the environment",
    ("CKV2_K8S_6", "Pod", "everything-off-values"): "networkPolicy.enabled is false in this case",
}
"""Why a check may fail: by its id, the kind of the object, and the case of `ci/`."""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str, str]]:
    """What fails: check, kind, case. Each case alone: the policies of one would do for another."""
    found: set[tuple[str, str, str]] = set()
    for case in CASES:
        folder = tmp_path_factory.mktemp("rendered")
        objects = rendered(values_of(case), upgrade=True)
        (folder / f"{case.stem}.yaml").write_text(tool("yaml").safe_dump_all(objects))
        said = checkov(folder)
        assert said["summary"]["parsing_errors"] == 0, said["summary"]
        assert said["summary"]["skipped"] == 0, "a skip in the templates would need no reason here"
        assert said["summary"]["passed"] > 100, said["summary"]
        found |= failures(said)
    return found


def failures(said: Any) -> set[tuple[str, str, str]]:
    return {
        (one["check_id"], one["resource"].split(".")[0], Path(one["file_path"]).stem)
        for one in said["results"]["failed_checks"]
    }


def checkov(folder: Path) -> Any:
    """Return what checkov says of the objects in a folder; skip the test where it is missing."""
    own = ROOT / ".venv-checkov" / "bin" / "checkov"
    program = own if own.exists() else shutil.which("checkov")
    if program is None:
        pytest.skip(f"checkov is not installed: {INSTALL}")
    options = ("--framework", "kubernetes", "--compact", "--quiet", "--skip-download")
    done = subprocess.run(
        [program, "-d", folder, *options, "-o", "json"],
        capture_output=True,
        env=os.environ | {"BC_SKIP_MAPPING": "TRUE"},
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    return json.loads(done.stdout)


def _explains(explained: tuple[str, str, str], failure: tuple[str, str, str]) -> bool:
    return all(want in (ANY, have) for want, have in zip(explained, failure, strict=True))


def test_nothing_fails_without_a_reason(failed: set[tuple[str, str, str]]) -> None:
    unexplained = {
        failure for failure in failed if not any(_explains(one, failure) for one in EXPLAINED)
    }
    assert unexplained == set()


def test_no_reason_is_left_over(failed: set[tuple[str, str, str]]) -> None:
    unused = {one for one in EXPLAINED if not any(_explains(one, failure) for failure in failed)}
    assert unused == set()


def test_a_pod_with_privileges_is_noticed(tmp_path: Path) -> None:
    """The checks above would be worth nothing if checkov passed everything."""
    pod = only(rendered({}), "Pod")
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    (tmp_path / "broken.yaml").write_text(tool("yaml").safe_dump(pod))
    assert {"CKV_K8S_16", "CKV_K8S_20"} <= {check for check, _, _ in failures(checkov(tmp_path))}
