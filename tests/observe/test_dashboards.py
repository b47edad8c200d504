"""The dashboards are what the table says, and keep the rules of a good dashboard.

Most rules are those of Grafana's dashboard-linter.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.dashboards import (
    FILES,
    ROOT,
    Object,
    allowed,
    boards,
    parsed,
    queries,
    selectors,
    tool,
    variables,
)

pytestmark = pytest.mark.interop
each_board = pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
NOT_OURS: Final = ("ALERTS", "container_", "kubelet_", "kube_")
AS_JSON: Final = """
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Plain<U>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;
"""  # in JSON the member of an enum is its text
COUNTER_FUNCTIONS: Final = {"rate", "increase", "irate"}


def _built() -> dict[Path, str]:
    tool("grafana_foundation_sdk")
    spec = importlib.util.spec_from_file_location("build", ROOT / "grafana" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    found: dict[Path, str] = build.files()
    return found


def test_building_again_gives_the_same_bytes() -> None:
    """In `grafana/`, and in the chart's copies of dashboards and rules."""
    built = _built()
    for path, text in built.items():
        assert (ROOT / path).read_text() == text, f"{path}: run grafana/build.py"
    folders = (ROOT / "grafana" / "dashboards", ROOT / "helm" / "raft-exchange" / "files")
    there = {path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.*")}
    assert there == set(built), "a file that nothing builds"


def test_no_two_dashboards_have_one_uid() -> None:
    assert len({board["uid"] for board in boards()}) == len(FILES) == 6


@each_board
def test_a_dashboard_may_be_kept_by_a_machine(board: Object) -> None:
    assert board["id"] is None
    assert board["editable"] is False
    assert board["graphTooltip"] == 1, "one crosshair for all panels"
    assert board["title"].startswith("Raft Exchange / ")
    assert board["description"]


@each_board
def test_the_variables_choose_data_source_and_nodes(board: Object) -> None:
    listed = board["templating"]["list"]
    names = [one["name"] for one in listed]
    assert names[:4] == ["datasource", "cluster", "job", "instance"]
    assert listed[0]["type"] == "datasource"
    for one in variables(board):
        assert one["refresh"] == 2, "when the time range changes"
        assert one["datasource"]["uid"] == "${datasource}"


@each_board
def test_panels_are_named_explained_and_apart(board: Object) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"], panel["id"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for what in ("id", "title"):
        found = [panel[what] for panel in board["panels"]]
        assert len(found) == len(set(found)), f"each {what} once"


def test_no_query_is_shown_twice() -> None:
    twice = [expr for expr, count in Counter(expr for _, expr in queries()).items() if count > 1]
    assert twice == []


@pytest.mark.parametrize(("title", "expr"), list(queries()))
def test_a_query_follows_the_rules(title: str, expr: str) -> None:
    tree = parsed(expr)
    for one in selectors(tree):
        if one.name.startswith(NOT_OURS):
            continue
        matched = {matcher.name for matcher in one.matchers.matchers}
        assert {"cluster", "job", "instance"} <= matched, f"{one.name} of any node"
        if one.name.endswith(("_total", "_bucket")):
            assert _is_within_a_rate(expr, one.name), f"{one.name} is a counter"
    for window in re.findall(r"\brate\([^\[]+\[([^\]]+)\]", expr):
        assert window == "$__rate_interval", f"{title}: {window}"


def _is_within_a_rate(expr: str, name: str) -> bool:
    found = re.findall(rf"(\w+)\(\s*{name}\b", expr)
    return bool(found) and set(found) <= COUNTER_FUNCTIONS


def test_thresholds_are_those_of_the_alerts() -> None:
    """A panel that turns red says what an alert says."""
    rules = (ROOT / "grafana" / "rules.yaml").read_text()
    for board in boards():
        for panel in board["panels"]:
            for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
                if step.get("value") not in (None, 1):
                    assert re.search(rf"[>=] {step['value']:g}\b", rules), panel["title"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_is_one_that_grafana_knows(path: Path) -> None:
    """What the typed models do not know is lost on the way through them."""
    models = tool("grafana_foundation_sdk.models.dashboard")
    encoder = tool("grafana_foundation_sdk.cog.encoder").JSONEncoder
    written = json.loads(path.read_text())
    again = json.loads(encoder().encode(models.Dashboard.from_json(written)))
    assert _lost(written, again) == []
    planted = written | {"titel": "x"}
    assert _lost(planted, json.loads(encoder().encode(models.Dashboard.from_json(planted))))


def _lost(before: Any, after: Any, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [f"{at}.{key}" for key in before if key not in after and before[key] is not None]
        kept = [key for key in before if key in after]
        return gone + [one for key in kept for one in _lost(before[key], after[key], f"{at}.{key}")]
    if isinstance(before, list) and isinstance(after, list):
        return [
            one
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            for one in _lost(a, b, f"{at}[{i}]")
        ]
    return [] if before == after else [f"{at}: {before!r} became {after!r}"]


def test_grafanas_own_types_take_the_dashboards(tmp_path: Path) -> None:
    """And refuse the one with a word that Grafana does not know."""
    modules = ROOT / "tests" / "deploy" / "node_modules"
    if not (modules / "@grafana" / "schema").exists() or shutil.which("node") is None:
        pytest.skip("@grafana/schema is not installed: npm ci --prefix tests/deploy")
    (tmp_path / "node_modules").symlink_to(modules)
    texts = {path.stem: json.loads(path.read_text()) for path in FILES}
    texts["planted"] = texts["http"] | {"titel": "x"}
    for name, text in texts.items():
        for annotation in text["annotations"]["list"]:
            annotation.pop("expr", None)  # the Prometheus data source's own: no common type
        (tmp_path / f"{name}.ts").write_text(
            'import type { Dashboard } from "@grafana/schema";\n'
            f"{AS_JSON}export const board: Plain<Dashboard> = {json.dumps(text)};\n"
        )
    options = {"noEmit": True, "strict": True, "skipLibCheck": True, "types": []}
    options |= {"module": "esnext", "moduleResolution": "bundler", "target": "es2020"}
    project = {"compilerOptions": options, "files": [f"{name}.ts" for name in texts]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(project))
    done = subprocess.run(
        [modules / ".bin" / "tsc", "--project", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    complained_of = set(re.findall(r"(\w+)\.ts\(\d+,\d+\): error", done.stdout))
    assert complained_of == {"planted"}, done.stdout
    assert "titel" in done.stdout


def test_exceptions_are_few_and_have_reasons() -> None:
    for listed in allowed().values():
        assert all(reason.strip() for reason in listed.values())
