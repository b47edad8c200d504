"""The leader adds who proved to belong to the cluster, and nobody who was removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raft_exchange.raft.membership import (
    AddMember,
    Change,
    Configuration,
    Refusal,
    Refused,
)
from raft_exchange.welcoming import ASK_AGAIN_S, TOLD_MAX, Welcome
from tests.support.forming import statement


class FakeGroup:
    """A group of n1 and n2 from which n0 was removed."""

    def __init__(self) -> None:
        self.configuration = Configuration(("n1", "n2"), removed=("n0",))
        self.is_settled = True
        self.known: list[str] = []
        self.changes: list[tuple[Change, Callable[[Any], None]]] = []

    def know(self, member_id: str) -> None:
        self.known.append(member_id)

    def request_change(self, change: Change, resolve: Callable[[Any], None]) -> None:
        self.changes.append((change, resolve))

    def added(self) -> list[str]:
        return [change.member.id for change, _ in self.changes if isinstance(change, AddMember)]


def made() -> tuple[FakeGroup, Welcome]:
    group: Any = FakeGroup()
    return group, Welcome(group)


def test_the_leader_adds_a_newcomer_where_it_says_it_is() -> None:
    group, welcome = made()
    welcome.on_fellow(statement("n3"), now_s=0)
    (change, _) = group.changes[0]
    assert isinstance(change, AddMember)
    assert change.member.raft_address == "n3:7081"
    assert group.known == ["n3"]


@pytest.mark.parametrize("node_id", ["n0", "n1", "n2"])
def test_members_and_the_removed_are_not_added(node_id: str) -> None:
    group, welcome = made()
    welcome.on_fellow(statement(node_id), now_s=0)
    assert group.added() == []


def test_who_does_not_lead_adds_nobody_but_lets_them_in() -> None:
    group, welcome = made()
    group.is_settled = False
    welcome.on_fellow(statement("n3"), now_s=0)
    assert (group.added(), group.known) == ([], ["n3"])


def test_a_newcomer_that_is_seen_often_is_asked_for_rarely() -> None:
    group, welcome = made()
    for tenth in range(200):
        welcome.on_fellow(statement("n3"), now_s=tenth / 10)
    assert len(group.added()) == 20 / ASK_AGAIN_S


def test_however_many_come_little_is_remembered() -> None:
    _, welcome = made()
    for number in range(1_000):
        welcome.on_fellow(statement(f"x{number}"), now_s=0)
    assert len(welcome._asked_s) < 10
    for number in range(1_000):
        welcome._on_outcome(f"x{number}", Refused(Refusal.TOO_MANY, "full"))
    assert len(welcome._told) == TOLD_MAX


def test_a_refusal_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    group, welcome = made()
    for turn in range(3):
        welcome.on_fellow(statement("n3"), now_s=turn * ASK_AGAIN_S)
        group.changes[-1][1](Refused(Refusal.TOO_MANY, "a group has at most 9 members"))
    welcome.on_fellow(statement("n3"), now_s=20)
    group.changes[-1][1](group.configuration)
    assert caplog.messages == [
        "n3 is not added: a group has at most 9 members",
        "n3 is added",
    ]


def test_several_that_wait_are_each_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    group, welcome = made()
    for turn in range(3):
        for newcomer in ("n3", "n4"):
            welcome.on_fellow(statement(newcomer), now_s=turn * ASK_AGAIN_S)
            group.changes[-1][1](Refused(Refusal.TOO_MANY, "a group has at most 9 members"))
    assert caplog.messages == [
        "n3 is not added: a group has at most 9 members",
        "n4 is not added: a group has at most 9 members",
    ]
