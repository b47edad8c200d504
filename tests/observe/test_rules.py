"""Every alert fires when it should, and only then: promtool evaluates them over made series."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "grafana" / "rules.yaml"
pytestmark = pytest.mark.interop

Series = dict[str, str]

E: Final = "raft_exchange_"
ALERTS: Final = re.findall(r"- alert: RaftExchange(\w+)", RULES.read_text())


def promtool() -> str:
    """Return the program; the test is skipped where it is not installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


def up(*values: int) -> Series:
    """Return the nodes of one cluster, each up (1) or down (0) all the time."""
    return {
        f'up{{job="raft-exchange",cluster="c",instance="n{i}"}}': f"{value}x800"
        for i, value in enumerate(values, 1)
    }


def steady(name: str, value: float | str, labels: str = "") -> Series:
    """Return one series of node n1, at one value."""
    more = f",{labels}" if labels else ""
    return {f'{name}{{job="raft-exchange",cluster="c",instance="n1"{more}}}': f"{value}x800"}


def growing(name: str, step: float, labels: str = "", *, start: float = 0) -> Series:
    """Return one counter of node n1, or a gauge that falls."""
    sign = "+" if step >= 0 else "-"
    more = f",{labels}" if labels else ""
    key = f'{name}{{job="raft-exchange",cluster="c",instance="n1"{more}}}'
    return {key: f"{start}{sign}{abs(step)}x800"}


def slow(name: str, *, above_s: float) -> Series:
    """Return a histogram whose every observation is between `above_s` and twice that."""
    found = growing(f"{E}{name}_seconds_bucket", 0, f'le="{above_s}"')
    for bound in (f"{2 * above_s}", "+Inf"):
        found |= growing(f"{E}{name}_seconds_bucket", 60, f'le="{bound}"')
    return found


def restarts(name: str, labels: str = "") -> Series:
    """Return a counter that begins anew at zero, as after a restart."""
    more = f",{labels}" if labels else ""
    return {f'{name}{{job="raft-exchange",cluster="c",instance="n1"{more}}}': "0x5 _x2 0x800"}


def answers(*, errors: float) -> Series:
    """Return the answers of HTTP, of which so many are errors."""
    name = f"{E}http_requests_total"
    return growing(name, 100 * errors, 'code="5xx"') | growing(
        name, 100 * (1 - errors), 'code="2xx"'
    )


def requests(outcome: str, step: float) -> Series:
    """Return requests, of which some had this outcome."""
    name = f"{E}requests_total"
    committed = growing(name, 100, 'outcome="committed"')
    return growing(name, step, f'outcome="{outcome}"') | committed


def role(node: str, term: int) -> Series:
    """Return a node that leads in a term."""
    at = f'job="raft-exchange",cluster="c",instance="{node}"'
    return {
        f'{E}raft_role{{{at},role="leader"}}': "1x800",
        f"{E}raft_term{{{at}}}": f"{term}x800",
    }


def versions(*names: str) -> Series:
    """Return nodes of these versions."""
    return {
        f'{E}build_info{{cluster="c",instance="n{i}",version="{name}"}}': "1x800"
        for i, name in enumerate(names)
    }


def contacts(**counts: int) -> Series:
    """Return the grapes that a node knows, by state."""
    found: Series = {}
    for state, count in counts.items():
        found |= steady(f"{E}dht_contacts", count, f'state="{state}"')
    return found


def at_indexes(commit: int, applied: int) -> Series:
    """Return how far a node is."""
    return steady(f"{E}raft_commit_index", commit) | steady(f"{E}raft_applied_index", applied)


# Alert: minutes until it must fire, series that fire it, series that must not.
FIRING: Final[dict[str, tuple[int, Series, list[Series]]]] = {
    "Absent": (6, {"other": "1x800"}, [up(1), up(0)]),
    "NoLeader": (
        2,
        steady(f"{E}raft_has_leader", 0),
        [steady(f"{E}raft_has_leader", 1), up(1), {f"{E}raft_has_leader": "0 1x800"}],
    ),
    "InsufficientMembers": (4, up(1, 0, 0), [up(1), up(1, 1, 0), up(1, 1, 1, 0, 0)]),
    "SplitLeader": (
        1,
        role("n1", 7) | role("n2", 7),
        [role("n1", 7) | role("n2", 8), role("n1", 7)],
    ),
    "StateDivergence": (
        5,
        growing(f"{E}state_divergence_total", 1),
        [steady(f"{E}state_divergence_total", 0), restarts(f"{E}state_divergence_total")],
    ),
    "CrossedBook": (
        1,
        steady(f"{E}market_crossed", 1, 'market="A"'),
        [steady(f"{E}market_crossed", 0, 'market="A"')],
    ),
    "UnbalancedAssets": (
        1,
        steady(f"{E}unbalanced_assets", 1),
        [steady(f"{E}unbalanced_assets", 0)],
    ),
    "ReadOnly": (2, steady(f"{E}read_only", 1), [steady(f"{E}read_only", 0)]),
    "ErrorsFast": (65, answers(errors=0.02), [answers(errors=0.01), answers(errors=0)]),
    "ErrorsSlow": (380, answers(errors=0.01), [answers(errors=0.001)]),
    "CommitVerySlow": (
        12,
        slow("commit_duration", above_s=2),
        [slow("commit_duration", above_s=0.3)],
    ),
    "CommitSlow": (
        20,
        slow("commit_duration", above_s=0.3),
        [slow("commit_duration", above_s=0.01)],
    ),
    "JournalVerySlow": (
        12,
        slow("journal_sync_duration", above_s=1),
        [slow("journal_sync_duration", above_s=0.15)],
    ),
    "JournalSlow": (
        20,
        slow("journal_sync_duration", above_s=0.15),
        [slow("journal_sync_duration", above_s=0.001)],
    ),
    "LoopLag": (20, slow("loop_lag", above_s=0.2), [slow("loop_lag", above_s=0.01)]),
    "TickLong": (
        1,
        steady(f"{E}cycle_longest_seconds", 0.9),
        [steady(f"{E}cycle_longest_seconds", 0.04)],
    ),
    "BoundNearlyFull": (
        6,
        steady(f"{E}bound_use_ratio", 0.9, 'bound="orders",when_full="refuses"'),
        [
            steady(f"{E}bound_use_ratio", 0.7, 'bound="orders",when_full="refuses"'),
            steady(f"{E}bound_use_ratio", 1, 'bound="fills",when_full="forgets"'),
            steady(f"{E}bound_use_ratio", 1, 'bound="members",when_full="refuses"'),
            steady(f"{E}bound_use_ratio", 1, 'bound="commands_queued",when_full="refuses"'),
        ],
    ),
    "RateLimited": (
        16,
        growing(f"{E}rate_limited_total", 1200, 'lane="orders"'),
        [
            growing(f"{E}rate_limited_total", 60, 'lane="orders"'),
            restarts(f"{E}rate_limited_total", 'lane="orders"'),
        ],
    ),
    "HttpSlow": (
        20,
        slow("http_request_duration", above_s=1),
        [slow("http_request_duration", above_s=0.1)],
    ),
    "MemberDown": (4, up(1, 1, 0), [up(1, 1, 1), up(1), up(1, 1, 1, 1, 1)]),
    "LeaderChanges": (
        10,
        growing(f"{E}raft_leader_changes_total", 1),
        [
            growing(f"{E}raft_leader_changes_total", 0.1),
            restarts(f"{E}raft_leader_changes_total"),
        ],
    ),
    "ApplyLag": (3, at_indexes(5000, 100), [at_indexes(5000, 4500), at_indexes(0, 0)]),
    "MemberBehind": (
        6,
        steady(f"{E}raft_match_lag_entries", 20000, 'peer="n2"'),
        [steady(f"{E}raft_match_lag_entries", 20, 'peer="n2"')],
    ),
    "PeerDisconnected": (
        4,
        steady(f"{E}raft_peer_connected", 0, 'peer="n2"'),
        [steady(f"{E}raft_peer_connected", 1, 'peer="n2"'), up(1)],
    ),
    "StateNotServed": (6, steady(f"{E}serves_state", 0), [steady(f"{E}serves_state", 1)]),
    "RequestsFailing": (
        12,
        requests("unknown", 5),
        [requests("unknown", 0), requests("draining", 50), requests("no_leader", 0.5)],
    ),
    "QueueFilling": (
        2,
        steady(f"{E}commands_queued", 15000),
        [steady(f"{E}commands_queued", 500)],
    ),
    "SnapshotFailing": (
        5,
        growing(f"{E}snapshots_total", 1, 'outcome="failed"'),
        [
            growing(f"{E}snapshots_total", 1, 'outcome="written"'),
            restarts(f"{E}snapshots_total", 'outcome="failed"'),
        ],
    ),
    "ArchiveFailing": (
        5,
        growing(f"{E}archive_failures_total", 1),
        [steady(f"{E}archive_failures_total", 3), restarts(f"{E}archive_failures_total")],
    ),
    "DiskFilling": (
        120,
        growing(f"{E}disk_free_bytes", -5, start=1200) | steady(f"{E}disk_reserve_bytes", 256),
        [steady(f"{E}disk_free_bytes", 1200) | steady(f"{E}disk_reserve_bytes", 256)],
    ),
    "Descriptors": (
        6,
        steady("process_open_fds", 900) | steady("process_max_fds", 1000),
        [steady("process_open_fds", 90) | steady("process_max_fds", 1000)],
    ),
    "DhtIsolated": (
        12,
        up(1, 1, 1) | contacts(good=0, questionable=0),
        [
            up(1) | contacts(good=0, questionable=0),
            up(1, 1, 1) | contacts(good=2, questionable=0),
            up(1, 1, 1) | contacts(good=0, questionable=1),
        ],
    ),
    "LookupsFailing": (
        20,
        growing(f"{E}discovery_lookups_total", 9, 'outcome="failed"')
        | growing(f"{E}discovery_lookups_total", 1, 'outcome="done"'),
        [
            growing(f"{E}discovery_lookups_total", 1, 'outcome="failed"')
            | growing(f"{E}discovery_lookups_total", 9, 'outcome="done"')
        ],
    ),
    "VersionSkew": (32, versions("1", "1", "2"), [versions("1", "1", "1"), versions("1")]),
    "HistoryBehind": (
        12,
        steady(f"{E}history_behind_sequences", 200000),
        [steady(f"{E}history_behind_sequences", 200)],
    ),
    "HistoryFailing": (
        5,
        growing(f"{E}history_failures_total", 1),
        [
            steady(f"{E}history_failures_total", 1),
            restarts(f"{E}history_rows_dropped_total"),
        ],
    ),
}


def _case(name: str, minutes: int, series: Series, *, fires: bool) -> dict[str, Any]:
    firing = {
        "expr": f'count(ALERTS{{alertname="RaftExchange{name}",alertstate="firing"}}) > bool 0',
        "eval_time": f"{minutes}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }
    return {
        "name": f"{name} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": key, "values": text} for key, text in series.items()],
        "promql_expr_test": [firing],
    }


def _run(cases: list[dict[str, Any]], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "tests.yaml"
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases})
    )
    return subprocess.run(
        [promtool(), "test", "rules", file], capture_output=True, text=True, check=False
    )


def test_promtool_has_no_complaint() -> None:
    command = [promtool(), "check", "rules", "--lint=all", "--lint-fatal", RULES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_alert_has_its_cases() -> None:
    assert sorted(ALERTS) == sorted(FIRING)


@pytest.mark.parametrize("name", sorted(FIRING))
def test_an_alert_fires_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    minutes, firing, quiet = FIRING[name]
    cases = [_case(name, minutes, firing, fires=True)]
    cases += [_case(name, minutes, series, fires=False) for series in quiet]
    done = _run(cases, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(FIRING))
def test_an_alert_waits_for_its_time_and_is_silent_without_series(
    name: str, tmp_path: Path
) -> None:
    """Nothing fires at the first evaluation unless it may at once; nor where nothing is scraped."""
    rule = RULES.read_text().partition(f"alert: RaftExchange{name}\n")[2].partition("- alert")[0]
    minutes, firing, _ = FIRING[name]
    cases = []
    if "for: " in rule:
        cases.append(_case(name, 0, firing, fires=False))
    if name != "Absent":
        cases.append(_case(name, minutes, {"other": "1x800"}, fires=False))
    done = _run(cases or [_case(name, minutes, firing, fires=True)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_that_claims_the_opposite_is_noticed(tmp_path: Path) -> None:
    """The tests above would be worth nothing if promtool passed everything."""
    minutes, firing, quiet = FIRING["NoLeader"]
    assert _run([_case("NoLeader", minutes, firing, fires=False)], tmp_path).returncode != 0
    assert _run([_case("NoLeader", minutes, quiet[0], fires=True)], tmp_path).returncode != 0


def test_every_alert_has_a_runbook_and_a_severity() -> None:
    readme = (ROOT / "grafana" / "README.md").read_text()
    rules = RULES.read_text()
    for name in ALERTS:
        assert f"\n### RaftExchange{name}\n" in readme, f"no runbook for {name}"
        assert f"grafana/README.md#raftexchange{name.lower()}\n" in rules
    assert len(re.findall(r"severity: (critical|warning)\n", rules)) == len(ALERTS)
    sections = re.findall(r"^### RaftExchange(\w+)$", readme, re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS), "a runbook for no alert"
