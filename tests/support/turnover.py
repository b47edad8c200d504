"""Members come and go while everything else breaks: what operators do, and what they are spared.

An operator asks any node, adds at most one node that is not yet a voter, and never takes the disk
of a second node before the first is out of the group: more than that nobody could survive.
"""

from __future__ import annotations

import random

from raft_exchange.raft.members import MemberAddress
from raft_exchange.raft.membership import AddMember, Change, Configuration, RemoveMember
from tests.support.climate import Climate
from tests.support.sim_node import SimNode
from tests.support.world import World

MEMBERS_MIN = 3
MEMBERS_MAX = 5
NODES_MAX = 12


def strangers(world: World, committed: Configuration, count: int) -> list[str]:
    """Return so many nodes that never were members, new ones where need be; or fewer."""
    found = [
        node.id
        for node in world.nodes.values()
        if node.id not in (*committed.members, *committed.removed) and not node.is_gone
    ]
    while len(found) < count and len(world.ids) < NODES_MAX:
        found.append(world.add_node().id)
    return found[:count]


def add(id_: str) -> AddMember:
    return AddMember(MemberAddress(id_, f"{id_}:7081", f"http://{id_}:8081"))


class Turnover:
    """Adds members, removes them and loses their disks, at a pace drawn from the climate's seed."""

    def __init__(self, climate: Climate) -> None:
        self.random = climate.random
        self.made = 0
        for fault, weight in ((self._add, 2), (self._remove, 1), (self._lose, 1)):
            climate.faults.append(fault)
            climate.weights.append(weight)

    def settle(self, world: World, *, seconds: float) -> bool:
        """Have who is gone removed, and wait for every learner; return whether that came about."""

        def is_settled() -> bool:
            committed = self.committed(world)
            if committed is None:
                return False
            for id_ in committed.members:
                if world.nodes[id_].is_gone:
                    self._ask(world, RemoveMember(id_))
                    return False
            return not committed.learners

        return world.run_until(is_settled, seconds=seconds)

    def committed(self, world: World) -> Configuration | None:
        """Return who the members are by the leader; None while there is none, or one is pending."""
        leader = world.leader()
        if leader is None or leader.group._history.index > leader.group.commit_index:
            return None
        return leader.group.configuration

    def _askable(self, world: World) -> list[SimNode]:
        return [
            node
            for node in world.nodes.values()
            if node.is_running and not node.is_stopped and not node.group.is_removed
        ]

    def _ask(self, world: World, change: Change) -> None:
        nodes = self._askable(world)
        if nodes:
            self.random.choice(nodes).group.request_change(change, self._note)

    def _note(self, outcome: object) -> None:
        self.made += isinstance(outcome, Configuration)

    def _add(self, world: World) -> None:
        committed = self.committed(world)
        if committed is None or len(committed.members) >= MEMBERS_MAX or committed.learners:
            return
        for id_ in strangers(world, committed, 1):
            self._ask(world, add(id_))

    def _remove(self, world: World) -> None:
        committed = self.committed(world)
        if committed is None or any(world.nodes[id_].is_gone for id_ in committed.members):
            return
        if len(committed.voters) > MEMBERS_MIN:
            self._ask(world, RemoveMember(self.random.choice(committed.members)))

    def _lose(self, world: World) -> None:
        """A disk is lost; who replaces it comes with a later `_add`."""
        committed = self.committed(world)
        if committed is None:
            return
        gone = [id_ for id_ in committed.members if world.nodes[id_].is_gone]
        if gone:
            self._ask(world, RemoveMember(gone[0]))
        elif len(committed.voters) > MEMBERS_MIN - 1 and not committed.learners:
            world.wipe(world.nodes[self.random.choice(committed.voters)])

    def ask_for_two_at_once(self, world: World, *, seed: int, seconds: float) -> None:
        """Beside all else, for so long: an operator who is in a hurry, and is to be kept waiting.

        From three members to five and back, two changes at a time, each asked of some node. It
        draws for itself: what else happens in a seed stays as it is.
        """
        draw, end_s = random.Random(f"in a hurry {seed}"), world.now_s + seconds

        def ask() -> None:
            if world.now_s < end_s:
                world.at(world.now_s + draw.uniform(0.2, 2.0), ask)
                for change in self._two(world, draw):
                    if nodes := self._askable(world):
                        draw.choice(nodes).group.request_change(change, self._note)

        ask()

    def _two(self, world: World, draw: random.Random) -> list[Change]:
        committed = self.committed(world)
        if committed is None or any(world.nodes[id_].is_gone for id_ in committed.members):
            return []
        if len(committed.members) <= MEMBERS_MIN:
            return [add(id_) for id_ in strangers(world, committed, 2)]
        if len(committed.voters) >= MEMBERS_MIN + 2:
            return [RemoveMember(id_) for id_ in draw.sample(committed.voters, 2)]
        return []
