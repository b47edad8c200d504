"""What `cluster-admin` asks of a node, and what it prints of the answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from raft_exchange.__main__ import main
from tests.support.coroutines import in_loop
from tests.support.scripted_node import CUT, ScriptedNode, problem, reply, scripted_nodes

N1, N2, N3 = "n1-0a", "n2-0b", "n3-0c"


def member(node_id: str, url: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": node_id,
        "raft_address": "10.0.0.1:7081",
        "http_url": url,
        "reachable": True,
        "seen_age_ms": 0,
        "match_lag": None,
        "fenced": False,
        "votes": True,
    } | fields


def cluster(at: ScriptedNode, **fields: Any) -> dict[str, Any]:
    """The view of n1, which is where `at` is; n2 leads, and is not there."""
    return {
        "cluster": "exchange",
        "cluster_id": "c0ffee",
        "node": N1,
        "role": "follower",
        "leader": N2,
        "term": 7,
        "sequence": 40,
        "members": [
            member(N1, at.url),
            member(N2, "http://127.0.0.1:9"),
            member(N3, "http://127.0.0.1:9", reachable=False, fenced=True),
        ],
    } | fields


async def command(*words: str) -> int:
    return await asyncio.to_thread(main, ["cluster-admin", *words])


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize("name", ["status", "members"])
@in_loop
async def test_who_is_in_it_is_a_table(capsys: pytest.CaptureFixture[str], name: str) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node, leader=None, read_only=True)))
        assert await command(name, "--url", node.url) == 0
    out = capsys.readouterr().out
    assert rows(out)[N1] == ["voter", "10.0.0.1:7081", node.url, "-", "yes", "ok"]
    assert rows(out)[N3][-2:] == ["no", "fenced"]
    assert "nobody leads" in out
    assert "read-only" in out


@in_loop
async def test_the_leader_tells_how_far_the_others_are(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(2) as (follower, leader):
        seen = cluster(follower)
        seen["members"][1]["http_url"] = leader.url
        follower.script.append(reply(200, seen))
        behind = [member(N1, follower.url, match_lag=12), member(N2, leader.url, match_lag=0)]
        behind.append(member(N3, "http://127.0.0.1:9", match_lag=3, votes=False))
        leads = cluster(follower, node=N2, role="leader", members=behind)
        leader.script.append(reply(200, leads))
        assert await command("status", "--url", follower.url) == 0
    out = rows(capsys.readouterr().out)
    assert (out[N1][0], out[N1][3]) == ("voter", "12")
    assert (out[N2][0], out[N2][3]) == ("leader", "0")
    assert (out[N3][0], out[N3][3]) == ("learner", "3")


@in_loop
async def test_a_leader_that_is_out_of_reach_is_done_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        assert await command("status", "--url", node.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["node"] == N1


@pytest.mark.parametrize("named", ["n3", N3])
@in_loop
async def test_a_member_is_removed_by_its_id_or_name(
    capsys: pytest.CaptureFixture[str], named: str
) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        left = [{"id": N1, "votes": True}, {"id": N2, "votes": True}]
        node.script.append(reply(200, {"members": left}))
        assert await command("remove", named, "--url", node.url) == 0
        assert [(a.method, a.path) for a in node.asked[1:]] == [
            ("DELETE", f"/v1/cluster/members/{N3}")
        ]
    assert set(rows(capsys.readouterr().out)) >= {N1, N2}


@pytest.mark.parametrize(("named", "why"), [("n9", "no member"), ("n1", "more than one")])
@in_loop
async def test_whom_it_cannot_tell_it_does_not_remove(
    capsys: pytest.CaptureFixture[str], named: str, why: str
) -> None:
    async with scripted_nodes(1) as (node,):
        twins = [member(N1, node.url), member("n1-ff", "http://127.0.0.1:9")]
        node.otherwise = reply(200, cluster(node, members=twins))
        assert await command("remove", named, "--url", node.url) == 2
        assert {a.method for a in node.asked} == {"GET"}
    said = capsys.readouterr().err
    assert why in said
    assert "n1-ff" in said


@in_loop
async def test_a_node_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(202, {"members": [{"id": "n4-0d", "votes": False}]}))
        words = ("add", "n4-0d", "10.0.0.4:7081", "http://10.0.0.4:8081")
        assert await command(*words, "--url", node.url) == 0
        assert node.asked[0].body == {
            "id": "n4-0d",
            "raft_address": "10.0.0.4:7081",
            "http_url": "http://10.0.0.4:8081",
        }
    assert rows(capsys.readouterr().out)["n4-0d"] == ["learner"]


@in_loop
async def test_a_change_that_was_refused_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        node.otherwise = problem(422, "no_quorum")
        assert await command("remove", "n3", "--url", node.url) == 1
    assert "no_quorum" in capsys.readouterr().err


@in_loop
async def test_a_change_whose_outcome_is_unknown_may_be_asked_for_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        node.otherwise = problem(503, "outcome_unknown")
        assert await command("remove", "n3", "--url", node.url, "--timeout", "0.2") == 1
    said = capsys.readouterr().err
    assert "unknown whether it took effect" in said
    assert "--repeat" not in said


@in_loop
async def test_the_lead_is_handed_over_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(2) as (follower, leader):
        seen = cluster(follower)
        seen["members"][1]["http_url"] = leader.url
        follower.otherwise = reply(200, seen)
        leader.script.append(reply(200, {"node": N2, "leader": N3}))
        assert await command("leader", "n3", "--url", follower.url) == 0
        assert [(a.method, a.path, a.query) for a in leader.asked] == [
            ("POST", "/v1/cluster/leader", {"to": N3})
        ]
        assert {a.method for a in follower.asked} == {"GET"}
    assert f"{N3} leads" in capsys.readouterr().out


@in_loop
async def test_who_leads_already_is_left_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        assert await command("leader", "n2", "--url", node.url) == 0
    assert f"{N2} leads" in capsys.readouterr().out


@in_loop
async def test_the_member_that_is_named_is_drained(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_nodes(2) as (first, second):
        seen = cluster(first)
        seen["members"][2]["http_url"] = second.url
        first.otherwise = reply(200, seen)
        second.script.append(reply(202, {"node": N3, "draining": True}))
        assert await command("drain", "n3", "--url", first.url) == 0
        assert [(a.method, a.path) for a in second.asked] == [("POST", "/v1/cluster/drain")]
        assert {a.method for a in first.asked} == {"GET"}
    assert f"{N3} drains" in capsys.readouterr().out


@in_loop
async def test_of_several_nodes_none_is_drained_by_chance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with scripted_nodes(2) as nodes:
        assert await command("drain", "--url", ",".join(node.url for node in nodes)) == 2
        assert not any(node.asked for node in nodes)
    assert "name the member" in capsys.readouterr().err


@in_loop
async def test_a_key_is_made_on_the_machine_of_a_node_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with scripted_nodes(1) as (node,):
        assert await command("key", "--url", node.url) == 2
        assert "--socket" in capsys.readouterr().err
        assert await command("key", "--socket", str(tmp_path)) == 2
        assert "does the node run?" in capsys.readouterr().err
        assert await command("key", "--socket", str(tmp_path), "--url", node.url) == 2
        assert not node.asked


@pytest.mark.parametrize("sent", [b"", b"rx.snap", b"no snapshot at all, but quite long"])
@in_loop
async def test_what_is_no_whole_snapshot_is_no_backup(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: bytes
) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        node.script.append(reply(200, sent))
        assert await command("backup", str(tmp_path / "out"), "--url", node.url) == 1
    assert "no whole backup" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing of it is left"


@pytest.mark.parametrize("refused", [problem(503, "overloaded"), problem(403, "forbidden"), CUT])
@in_loop
async def test_a_backup_that_is_not_given_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, refused: Any
) -> None:
    async with scripted_nodes(1) as (node,):
        node.script.append(reply(200, cluster(node)))
        node.script.append(refused)
        assert await command("backup", str(tmp_path / "out"), "--url", node.url) == 1
    assert capsys.readouterr().err.startswith("raft-exchange: ")
    assert not list(tmp_path.iterdir())


@in_loop
async def test_a_backup_is_never_written_over_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with scripted_nodes(1) as (node,):
        assert await command("backup", str(tmp_path), "--url", node.url) == 2
        assert not node.asked
    assert "exists" in capsys.readouterr().err
