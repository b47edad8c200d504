"""A drill on a live cluster: what happens is noticed, somebody is called, and told when it is over.

Real nodes, Prometheus and Alertmanager, with the committed rules and routes; only time passes
quicker, in `for` and in the ranges of queries.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import pytest

from tests.support.alerting import Pager, quicker_rules, running_alertmanager
from tests.support.coroutines import in_loop
from tests.support.dashboards import ROOT, RULES, Object, tool
from tests.support.processes import Client, NodeProcess, RealCluster
from tests.support.prometheus import Prometheus, await_nodes, running_prometheus
from tests.support.small_disk import MIB, leave_free, remove_ballast, small_disks

pytestmark = [pytest.mark.interop, pytest.mark.system, pytest.mark.timeout(420)]
TIMES: Final = 30
STEP_S_MAX: Final = 90.0
DISK_MIB: Final = 512
RESERVE_MIB: Final = 128
LEFT_MIB: Final = 96
LABELS: Final = {"cluster": "exchange"}


def _rules() -> Object:
    found: Object = tool("yaml").safe_load(RULES.read_text())
    return found


def test_only_durations_are_quicker() -> None:
    before, after = _rules(), quicker_rules(_rules(), times=TIMES)
    for group, quick in zip(before["groups"], after["groups"], strict=True):
        for rule, other in zip(group["rules"], quick["rules"], strict=True):
            assert rule.keys() == other.keys()
            same = [key for key in rule if key not in ("for", "expr")]
            assert [rule[key] for key in same] == [other[key] for key in same]
    no_leader = next(r for r in after["groups"][1]["rules"] if r["alert"] == "RaftExchangeNoLeader")
    assert no_leader["for"] == "2000ms"


class Drill(NamedTuple):
    """What is drilled, and who is called."""

    cluster: RealCluster
    prometheus: Prometheus
    pager: Pager
    filling: NodeProcess


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    folder = tmp_path_factory.mktemp("drill")
    rules = folder / "rules.json"
    rules.write_text(json.dumps(quicker_rules(_rules(), times=TIMES)))
    settings = {"founding_markets": "BTC-USD:0.01:0.0001", "disk_reserve_mib": RESERVE_MIB}
    made = RealCluster(folder, settings=settings)
    filling, targets = made.nodes[2], [url.removeprefix("http://") for url in made.urls]
    alertmanager = ROOT / "grafana" / "alertmanager.yaml"
    with (
        small_disks([filling.folder], mib=DISK_MIB),
        made as cluster,
        Pager() as pager,
        running_alertmanager(folder, alertmanager, pager, times=TIMES) as called,
    ):
        await_nodes(cluster.urls)
        with running_prometheus(
            folder, rules, targets, labels=LABELS, alertmanager=called
        ) as prometheus:
            yield Drill(cluster, prometheus, pager, filling)


def _was(drill: Drill, alert: str, state: str) -> bool:
    query = f'ALERTS{{alertname="{alert}",alertstate="{state}"}}'
    return bool(drill.prometheus.query(f"count_over_time({query}[10m])"))


async def _until(claim: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + STEP_S_MAX
    while not await asyncio.to_thread(claim):
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.25)


async def _is_called(drill: Drill, *alerts: str) -> None:
    """Wait until somebody was called for each, and look whether it waited for its time first."""
    waits = {rule["alert"] for rule in _rules()["groups"][1]["rules"] if "for" in rule}
    for alert in alerts:
        await _until(lambda a=alert: "firing" in drill.pager.statuses(a), f"no call for {alert}")
        assert await asyncio.to_thread(_was, drill, alert, "firing")
        assert alert not in waits or await asyncio.to_thread(_was, drill, alert, "pending")


async def _is_over(drill: Drill, *alerts: str) -> None:
    for alert in alerts:
        await _until(
            lambda a=alert: drill.pager.statuses(a)[-1:] == ["resolved"], f"{alert} is not over"
        )


@in_loop
async def test_a_lost_member_and_a_lost_quorum_call_somebody_and_are_over_when_they_are(
    drill: Drill,
) -> None:
    first, second, _ = drill.cluster.nodes
    async with Client(drill.cluster, ready_s_max=STEP_S_MAX) as client:
        await client.ready()
        assert drill.pager.statuses("RaftExchangeMemberDown") == []
        drill.cluster.kill(first)
        await _is_called(drill, "RaftExchangeMemberDown")
        assert drill.pager.statuses("RaftExchangeInsufficientMembers") == []
        drill.cluster.kill(second)
        await _is_called(drill, "RaftExchangeInsufficientMembers", "RaftExchangeNoLeader")
        for node in (first, second):
            drill.cluster.start(node)
        await client.ready()
        await _is_over(
            drill,
            *("RaftExchangeMemberDown", "RaftExchangeInsufficientMembers", "RaftExchangeNoLeader"),
        )


@in_loop
async def test_a_disk_that_fills_calls_somebody_and_room_ends_it(drill: Drill) -> None:
    async with Client(drill.cluster, ready_s_max=STEP_S_MAX) as client:
        await client.ready()
        assert drill.pager.statuses("RaftExchangeReadOnly") == []
        leave_free(drill.filling.folder, LEFT_MIB * MIB)
        await _is_called(drill, "RaftExchangeReadOnly")
        remove_ballast(drill.filling.folder)
        await _is_over(drill, "RaftExchangeReadOnly")


@in_loop
async def test_leaders_that_change_often_call_somebody(drill: Drill) -> None:
    async with Client(drill.cluster, ready_s_max=STEP_S_MAX) as client:
        await client.ready()
        for _ in range(4):
            leader = await client.leader()
            status, told = await client.call(leader, "POST", "/v1/cluster/leader", {})
            assert status == 200, told
            await client.leader(other_than=leader)
        await _is_called(drill, "RaftExchangeLeaderChanges")
        await _is_over(drill, "RaftExchangeLeaderChanges")
