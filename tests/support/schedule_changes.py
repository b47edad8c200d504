"""Changes of who is a member, as a schedule asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raft_exchange.raft.members import MemberAddress
from raft_exchange.raft.membership import AddMember, Change, Configuration, Refusal, Refused
from tests.support.schedule_members import Member, Ours
from tests.support.schedules import Cluster

ORDER = b"order"


def add(name: str) -> AddMember:
    return AddMember(MemberAddress(name, f"{name}:7081", f"http://{name}:8081"))


class Asked:
    """A change that was asked for through a member, and what came of it."""

    def __init__(self, member: Member, change: Change) -> None:
        self.outcome: Configuration | Refused | None = None
        member.raft.request_change(change, self._resolve)

    def _resolve(self, outcome: Configuration | Refused) -> None:
        assert self.outcome is None, "answered once"
        self.outcome = outcome


def made(cluster: Cluster, by: str, change: Change) -> Configuration:
    """Ask one member for a change, and wait until it is made."""
    asked = Asked(cluster[by], change)
    assert cluster.run_until(lambda: asked.outcome is not None, seconds=6)
    assert isinstance(asked.outcome, Configuration), asked.outcome
    return asked.outcome


def refusal(cluster: Cluster, by: str, change: Change) -> Refusal:
    asked = Asked(cluster[by], change)
    assert cluster.run_until(lambda: asked.outcome is not None, seconds=6)
    assert isinstance(asked.outcome, Refused), asked.outcome
    return asked.outcome.code


def voters(cluster: Cluster) -> set[str]:
    """Return who votes, by each member that is none of those that were removed."""
    found = {
        "".join(one.raft.configuration.voters)
        for one in cluster.members.values()
        if one.raft.configuration.members and not one.raft.is_removed
    }
    return found


@contextmanager
def three_and_a_joiner(**options: Any) -> Iterator[Cluster]:
    with Cluster.of(Ours, "ABCD", founders="ABC", **options) as cluster:
        cluster.elect("A")
        cluster["A"].propose(ORDER)
        cluster.run(0.3)
        yield cluster
