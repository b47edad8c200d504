"""Every query of every dashboard answers over a real Prometheus and a real cluster under load."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.dashboards import (
    RULES,
    allowed,
    boards,
    filled,
    parsed,
    plain,
    queries,
    recorded_names,
    rule_expressions,
    selectors,
    tool,
    variables,
)
from tests.support.processes import RealCluster
from tests.support.prometheus import Prometheus, await_nodes, running_prometheus

pytestmark = [pytest.mark.interop, pytest.mark.system]
ANSWERS_S_MAX: Final = 90.0
PAUSE_S: Final = 0.02
LABELS: Final = {"cluster": "exchange", "pod": "exchange-0"}
MARKET: Final = "BTC-USD"


def _post(url: str, body: object) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10):
            pass
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise


def _trade(cluster: RealCluster, stop: threading.Event) -> None:
    """Place orders on every node by turns, trades and refusals among them, until told to stop."""
    turn = 0
    while not stop.wait(PAUSE_S):
        side, price = (("buy", 100 - turn % 7), ("sell", 100 + turn % 5))[turn % 2]
        order = {"market": MARKET, "side": side, "type": "limit", "quantity": "0.5"}
        order["price"] = f"{price}.00" if turn % 11 else "0.001"
        _post(f"{cluster.urls[turn % 3]}/v1/orders", order)
        if turn == 50:
            for url in cluster.urls:
                _post(f"{url}/v1/cluster/snapshot", {})
        turn += 1


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes three trading nodes."""
    tool("promql_parser")
    folder: Path = tmp_path_factory.mktemp("watched")
    stop = threading.Event()
    settings = {"founding_markets": f"{MARKET}:0.01:0.0001"}
    with RealCluster(folder, settings=settings) as cluster:
        await_nodes(cluster.urls)
        targets = [url.removeprefix("http://") for url in cluster.urls]
        trading = threading.Thread(target=_trade, args=(cluster, stop))
        with running_prometheus(folder, RULES, targets, labels=LABELS) as server:
            trading.start()
            try:
                yield server
            finally:
                stop.set()
                trading.join()


def test_every_query_of_every_panel_has_data(watched: Prometheus) -> None:
    exceptions = allowed()["empty_panels"]
    assert len(exceptions) <= 5, "so few that each is looked at"
    waiting = [(title, expr) for title, expr in queries() if title not in exceptions]
    deadline_s = time.monotonic() + ANSWERS_S_MAX
    while waiting and time.monotonic() < deadline_s:
        waiting = [(title, expr) for title, expr in waiting if not watched.query(filled(expr))]
        time.sleep(0.5)
    assert waiting == []
    for title, expr in queries():
        if title in exceptions:
            assert watched.query(filled(expr)) == [], f"{title} has data: no exception any more"


def test_every_variable_has_values(watched: Prometheus) -> None:
    for board in boards():
        for variable in variables(board):
            text = variable["query"]
            selector, _, label = filled(text)[len("label_values(") : -1].rpartition(", ")
            found = watched.get(f"/api/v1/label/{label}/values", **{"match[]": selector})
            assert found, f"{board['title']}: {variable['name']}"


def test_names_on_dashboards_and_alerts_exist_and_all_that_is_exported_is_shown(
    watched: Prometheus,
) -> None:
    """A rule may also name what another rule records."""
    exprs = [expr for title, expr in queries() if title not in allowed()["empty_panels"]]
    on_boards = {one.name for expr in exprs for one in selectors(parsed(expr))}
    in_rules = {one.name for expr in rule_expressions() for one in selectors(parsed(expr))}
    exported = {name for name in watched.get("/api/v1/label/__name__/values") if ":" not in name}
    scraped = {one for one in exported if not one.startswith(("scrape_", "ALERTS"))}
    assert on_boards - exported - {"ALERTS"} == set()
    assert in_rules - set(recorded_names()) - exported == set()
    unused = {plain(name) for name in scraped} - {plain(name) for name in on_boards}
    assert unused == set(allowed()["unused_metrics"])


def test_promtool_has_no_complaint_about_what_a_node_exports(
    watched: Prometheus,
) -> None:
    """Names, units, help texts."""
    program = shutil.which("promtool")
    assert program is not None, "it comes with prometheus"
    target = watched.get("/api/v1/targets")["activeTargets"][0]["scrapeUrl"]
    with urllib.request.urlopen(target, timeout=10) as answer:
        text = answer.read()
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_healthy_cluster_raises_no_alert(watched: Prometheus) -> None:
    assert watched.query('ALERTS{alertstate="firing"}') == []
    groups = watched.get("/api/v1/rules")["groups"]
    broken = [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]
    assert broken == []
