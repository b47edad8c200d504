"""One cluster is formed, from any beginning; and never two that share a member."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import permutations

import msgspec
import pytest

from raft_exchange.raft.formation import (
    Accept,
    Conflict,
    Found,
    Join,
    Refuse,
    Statement,
    Wait,
    cluster_id_of,
    step,
)
from raft_exchange.raft.members import MemberAddress
from tests.support.forming import Forming, statement

SEEDS = int(os.environ.get("RAFT_EXCHANGE_TEST_SEEDS", "300"))
LIST = ("a", "b", "c")
LIST_ID = cluster_id_of("exchange", LIST)


@dataclass
class Case:
    expect: int
    nodes: int
    halves: bool


def accepted(node: str, ids: tuple[str, ...] = LIST, **changes: object) -> Statement:
    return msgspec.structs.replace(statement(node), accepted=ids, **changes)


def bound(node: str, cluster_id: str = LIST_ID, **changes: object) -> Statement:
    members = tuple(
        MemberAddress(id_, f"{id_}:7081", f"http://{id_}:8081") for id_ in changes.pop("of", LIST)
    )
    return msgspec.structs.replace(
        statement(node), cluster_id=cluster_id, members=members, **changes
    )


# Step by step ---------------------------------------------------------------------------------


def test_a_node_waits_for_as_many_as_are_expected() -> None:
    action = step(statement("a"), [statement("b")])
    assert action == Wait("2 of 3 nodes are here")


def test_nodes_of_another_name_or_another_number_do_not_count() -> None:
    others = [statement("b", cluster="other"), statement("c", expect=5), statement("d")]
    assert step(statement("a"), others) == Wait("2 of 3 nodes are here (c expects 5)")


def test_the_lowest_id_proposes_the_lowest_ids() -> None:
    others = [statement("d"), statement("c"), statement("b")]
    assert step(statement("a"), others) == Accept(LIST)


def test_others_wait_for_the_lowest_and_accept_its_list() -> None:
    assert isinstance(step(statement("b"), [statement("a"), statement("c")]), Wait)
    assert step(statement("b"), [accepted("a")]) == Accept(LIST)


def test_a_list_without_this_node_is_not_for_it() -> None:
    assert step(statement("d"), [accepted("a"), statement("b"), statement("c")]) == Wait(
        "3 nodes are there; b is to propose the list"
    )


def test_a_list_is_founded_only_when_all_of_it_accepted_it() -> None:
    waiting = step(accepted("a"), [accepted("b"), statement("c")])
    assert waiting == Wait("2 of 3 founders have accepted each other; missing: c")
    founded = step(accepted("a"), [accepted("b"), accepted("c")])
    assert isinstance(founded, Found)
    assert (founded.ids, founded.cluster_id) == (LIST, LIST_ID)
    assert founded.members[1] == MemberAddress("b", "b:7081", "http://b:8081")


def test_a_node_that_hears_of_the_founding_from_one_founder_needs_no_other() -> None:
    founded = step(accepted("c"), [bound("b")])
    assert isinstance(founded, Found)
    assert [member.id for member in founded.members] == ["a", "b", "c"]


def test_an_accepted_list_is_kept_whatever_else_is_offered() -> None:
    """It may be founded already, as far as this node knows."""
    offer = accepted("x", ("b", "x", "y"))
    assert step(accepted("b"), [offer, statement("a")]) == Refuse(("b", "x", "y"))
    refused = accepted("b", refused=(cluster_id_of("exchange", ("b", "x", "y")),))
    assert isinstance(step(refused, [offer]), Wait)
    assert isinstance(step(accepted("b", ("b", "x", "y")), [accepted("a")]), Wait)


def test_a_list_that_one_of_it_refused_is_let_go_and_refused() -> None:
    refusing = msgspec.structs.replace(statement("c"), refused=(LIST_ID,))
    assert step(accepted("a"), [accepted("b"), refusing]) == Refuse(LIST)


def test_a_list_that_was_refused_is_not_proposed_again() -> None:
    refusing = msgspec.structs.replace(statement("c"), refused=(LIST_ID,))
    free = [statement("b"), refusing, statement("d")]
    assert step(statement("a"), free) == Accept(("a", "b", "d"))
    assert isinstance(step(statement("a"), free[:2]), Wait)


def test_a_list_with_a_member_of_another_cluster_is_let_go() -> None:
    other = ("c", "x", "y")
    member = bound("c", cluster_id_of("exchange", other), accepted=other, of=other)
    assert step(accepted("a"), [accepted("b"), member]) == Refuse(LIST)


def test_a_cluster_elsewhere_is_no_reason_to_let_go() -> None:
    """Its founders have accepted nothing of ours; ours may be founded already."""
    other = ("x", "y", "z")
    member = bound("x", cluster_id_of("exchange", other), of=other)
    assert isinstance(step(accepted("a"), [statement("b"), member]), Wait)


def test_a_node_without_data_joins_the_cluster_it_sees() -> None:
    action = step(statement("d"), [statement("e"), bound("b")])
    assert isinstance(action, Join)
    assert action.cluster_id == LIST_ID
    assert [member.id for member in action.members] == list(LIST)


def test_two_clusters_of_one_name_are_a_conflict_to_everybody() -> None:
    two = [bound("b"), bound("x", "0" * 32)]
    for me in (statement("d"), bound("a")):
        action = step(me, two)
        assert isinstance(action, Conflict)
        assert LIST_ID in action.text
        assert "0" * 32 in action.text
    assert isinstance(step(bound("a"), [bound("b")]), Wait)


def test_one_node_may_be_a_cluster() -> None:
    assert step(statement("a", expect=1), []) == Accept(("a",))
    alone = msgspec.structs.replace(accepted("a", ("a",)), expect=1)
    assert isinstance(step(alone, []), Found)


def test_the_id_of_a_cluster_is_that_of_its_name_and_its_founders() -> None:
    assert all(cluster_id_of("exchange", ids) == LIST_ID for ids in permutations(LIST))
    others = {cluster_id_of("exchange2", LIST), cluster_id_of("exchange", ("a", "b"))}
    assert LIST_ID not in others
    assert len(LIST_ID) == 32


# Any order of anything --------------------------------------------------------------------------


@pytest.mark.parametrize("expect", [1, 2, 3, 5])
def test_exactly_as_many_as_expected_always_become_one_cluster(expect: int) -> None:
    for seed in range(SEEDS):
        forming = Forming(seed, nodes=expect, expect=expect, crash_chance=0.1)
        forming.storm(rounds=20 * expect, halves=seed % 3 == 0)
        forming.calm()
        assert len(forming.founded) == 1
        (cluster_id,) = forming.founded
        assert {node.stored.cluster_id for node in forming.nodes.values()} == {cluster_id}


@pytest.mark.parametrize(("nodes", "expect"), [(4, 3), (5, 3), (7, 3), (3, 2), (9, 5)])
def test_more_than_expected_become_one_cluster_and_joiners(nodes: int, expect: int) -> None:
    """`Forming` asserts at every founding that no founded lists share a member."""
    refusals = 0
    for seed in range(SEEDS):
        forming = Forming(seed, nodes=nodes, expect=expect, crash_chance=0.1)
        forming.storm(rounds=20 * nodes, halves=seed % 3 == 0)
        forming.calm()
        refusals += sum(len(node.stored.refused) for node in forming.nodes.values())
        if len(forming.founded) == 1:
            assert {n.stored.cluster_id for n in forming.nodes.values()} == set(forming.founded)
        else:
            assert len(forming.founded) * expect <= nodes
            assert all(n.is_conflicting for n in forming.nodes.values())
    assert refusals > 0, "the storm was too mild to prove anything"


def test_the_simulation_notices_a_node_that_lets_go_what_nobody_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A simulation that cannot fail proves nothing."""
    real = step

    def fickle(me: Statement, statements: object) -> object:
        seen = list(statements)  # type: ignore[call-overload]
        if any(me.id in one.accepted and one.accepted < me.accepted for one in seen):
            return Refuse(me.accepted)
        return real(me, seen)

    monkeypatch.setattr("tests.support.forming.step", fickle)
    with pytest.raises(AssertionError):
        _run_many()


def test_the_simulation_notices_a_founding_by_a_majority(monkeypatch: pytest.MonkeyPatch) -> None:
    real = step

    def hasty(me: Statement, statements: object) -> object:
        seen = list(statements)  # type: ignore[call-overload]
        same = [one for one in seen if one.accepted == me.accepted]
        if me.accepted and not me.cluster_id and len(same) + 1 > len(me.accepted) // 2:
            return Found(me.accepted, cluster_id_of(me.cluster, me.accepted), ())
        return real(me, seen)

    monkeypatch.setattr("tests.support.forming.step", hasty)
    with pytest.raises(AssertionError):
        _run_many()


def _run_many() -> None:
    for seed in range(500):
        forming = Forming(seed, nodes=5, expect=3, crash_chance=0.1)
        forming.storm(rounds=100, halves=seed % 3 == 0)
        forming.calm()


# What comes over the network --------------------------------------------------------------------


def test_a_statement_survives_the_wire_and_its_bounds_are_checked() -> None:
    said = bound("a", accepted=LIST, refused=("0" * 32,))
    assert msgspec.json.decode(msgspec.json.encode(said), type=Statement) == said
    for field, value in [
        ("id", "a b"),
        ("expect", 0),
        ("cluster_id", "xyz"),
        ("accepted", ["a"] * 10),
        ("refused", ["0" * 32] * 257),
        ("raft_address", "no port"),
        ("http_url", "ftp://x"),
    ]:
        raw = msgspec.to_builtins(said) | {field: value}
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(raw), type=Statement)
