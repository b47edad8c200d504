"""Writes the dashboards from the table in `boards/`, and the chart's copies, also of the rules.

Run `python grafana/build.py` after a change; the same table gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import VizOrientation
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from grafana.boards import BOARDS  # noqa: E402  # run as a script
from grafana.panels import SELECTOR, Board, Panel  # noqa: E402

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
CHART_FILES: Final = ROOT / "helm" / "raft-exchange" / "files"
COLUMNS: Final = 24
SCHEMA_VERSION: Final = 41
_VARIABLES: Final = (
    ("cluster", "label_values(raft_exchange_raft_term, cluster)"),
    ("job", 'label_values(raft_exchange_raft_term{cluster=~"$cluster"}, job)'),
    (
        "instance",
        'label_values(raft_exchange_raft_term{cluster=~"$cluster",job=~"$job"}, instance)',
    ),
)
_MARKET: Final = (
    "market",
    f"label_values(raft_exchange_market_levels{{{SELECTOR}}}, market)",
)
_POD: Final = ("pod", f"label_values(raft_exchange_raft_term{{{SELECTOR}}}, pod)")


def _size(panel: Panel) -> tuple[int, int]:
    return (4, 4) if panel.kind == "stat" else (12, 8)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if panel.warn_at is not None:
        steps.append(Threshold(value=panel.warn_at, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _panel(panel: Panel, number: int, *, x: int, y: int) -> object:
    width, height = _size(panel)
    made = {"stat": stat.Panel, "heatmap": heatmap.Panel, "timeseries": timeseries.Panel}[
        panel.kind
    ]()
    made.id(number).title(panel.title).description(panel.description).unit(panel.unit)
    made.datasource(SOURCE).thresholds(_thresholds(panel))
    made.grid_pos(GridPos(h=height, w=width, x=x, y=y))
    if panel.kind == "stat":
        made.orientation(VizOrientation.AUTO)
    elif panel.kind == "timeseries" and panel.warn_at is not None:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode("dashed"))
    for index, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr.replace("$S", SELECTOR))
        target.legend_format(query.legend).ref_id(chr(ord("A") + index)).datasource(SOURCE)
        if panel.kind == "stat":
            target.instant()
        elif panel.kind == "heatmap":
            target.format("heatmap")
        made.with_target(target)
    return made


def _variables(board: Board) -> list[object]:
    named = list(_VARIABLES)
    named += [_MARKET] if board.has_market else []
    named += [_POD] if any("$pod" in q.expr for p in board.panels for q in p.queries) else []
    made: list[object] = [
        dashboard.DatasourceVariable("datasource").type("prometheus").label("Data source")
    ]
    for name, query in named:
        variable = dashboard.QueryVariable(name).label(name.title()).query(query)
        variable.datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        made.append(variable.multi(True).include_all(True).all_value(".*"))
    return made


def _board(board: Board) -> str:
    made = dashboard.Dashboard(board.title).uid(board.uid).description(board.description)
    made.tags(["raft-exchange"]).readonly().refresh("30s").time("now-1h", "now")
    made.tooltip(DashboardCursorSync.CROSSHAIR)
    changes = dashboard.AnnotationQuery().name("Leader changes").datasource(SOURCE)
    changes.enable(True).icon_color("orange")
    changes.expr(f"max(increase(raft_exchange_raft_leader_changes_total{{{SELECTOR}}}[1m])) > 0")
    made.annotation(changes)
    link = dashboard.DashboardLink("Raft Exchange").type("dashboards").tags(["raft-exchange"])
    made.link(link.as_dropdown(True).include_vars(True).keep_time(True))
    for variable in _variables(board):
        made.with_variable(variable)
    x = y = height = 0
    for number, panel in enumerate(board.panels, 1):
        width, own = _size(panel)
        if x + width > COLUMNS or own != height:
            x, y = 0, y + height
        made.with_panel(_panel(panel, number, x=x, y=y))
        x, height = x + width, own
    encoded = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    for variable in encoded["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min"):  # the model has them for all, Grafana not
            variable.pop(key, None)
    encoded["id"], encoded["schemaVersion"] = None, SCHEMA_VERSION
    return json.dumps(encoded, indent=1, sort_keys=True) + "\n"


def files() -> dict[Path, str]:
    """Return the text of every file that is built, by its path from the root."""
    boards = {f"{board.uid.removeprefix('raft-exchange-')}.json": _board(board) for board in BOARDS}
    folders = (Path("grafana/dashboards"), CHART_FILES.relative_to(ROOT) / "dashboards")
    made = {folder / name: text for folder in folders for name, text in boards.items()}
    rules = (ROOT / "grafana" / "rules.yaml").read_text()
    return made | {CHART_FILES.relative_to(ROOT) / "rules.yaml": rules}


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
