"""Nodes that form clusters on virtual time: durable state, restarts, statements late or lost.

Every node runs the real `formation.step`. It keeps the last statement it got of each other node,
which may be any that node ever made: answers overtake each other. A restart keeps what was stored
and forgets what was heard.
"""

from __future__ import annotations

import random

import msgspec

from raft_exchange.raft.formation import (
    Accept,
    Conflict,
    Found,
    Join,
    Refuse,
    Statement,
    cluster_id_of,
    step,
)

STEPS_AT_ONCE_MAX = 50


def statement(node: str, *, expect: int = 3, cluster: str = "exchange") -> Statement:
    """What a node without data states."""
    return Statement(
        id=node,
        name=node,
        cluster=cluster,
        expect=expect,
        raft_address=f"{node}:7081",
        http_url=f"http://{node}:8081",
    )


class FormingNode:
    def __init__(self, forming: Forming, stored: Statement) -> None:
        self.forming = forming
        self.stored = stored
        self.heard: dict[str, Statement] = {}
        self.has_started = False
        self.is_conflicting = False

    def run(self) -> None:
        """Do what is to be done, each step stored before the next."""
        for _ in range(STEPS_AT_ONCE_MAX):
            before = self.stored
            self._do_one()
            if self.stored == before:
                return
            self.forming.history[self.stored.id].append(self.stored)
            if self.forming.random.random() < self.forming.crash_chance:
                self.heard.clear()
                return
        raise AssertionError(f"{self.stored} does not come to rest")

    def _do_one(self) -> None:
        me, replace = self.stored, msgspec.structs.replace
        action = step(me, self.heard.values())
        self.is_conflicting = isinstance(action, Conflict)
        match action:
            case Accept(ids):
                assert not me.accepted, "one list at a time"
                assert me.id in ids
                assert len(ids) == me.expect
                assert cluster_id_of(me.cluster, ids) not in me.refused, "refused for ever"
                self.stored = replace(me, accepted=ids)
            case Refuse(ids):
                refused = (*me.refused, cluster_id_of(me.cluster, ids))
                kept = () if me.accepted == ids else me.accepted
                self.stored = replace(me, refused=refused, accepted=kept)
            case Found(ids, cluster_id, members):
                assert ids == me.accepted
                self.forming.note_founded(ids)
                self.stored = replace(me, cluster_id=cluster_id, members=members)
            case Join(cluster_id, members):
                assert cluster_id in self.forming.founded, "it joins what exists"
                self.stored = replace(me, cluster_id=cluster_id, members=members)


class Forming:
    """Some nodes, what they ever stated, and who hears whom."""

    def __init__(self, seed: int, *, nodes: int, expect: int, crash_chance: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.crash_chance = crash_chance
        ids = [f"n{self.random.randrange(10**6):06}" for _ in range(nodes)]
        assert len(set(ids)) == nodes
        self.nodes = {id_: FormingNode(self, statement(id_, expect=expect)) for id_ in ids}
        self.history = {id_: [node.stored] for id_, node in self.nodes.items()}
        self.founded: dict[str, tuple[str, ...]] = {}

    def note_founded(self, ids: tuple[str, ...]) -> None:
        """Assert, at each founding, that nobody is in two founded lists."""
        for other in self.founded.values():
            assert other == ids or not set(other) & set(ids), f"{other} and {ids} are founded"
        self.founded[cluster_id_of("exchange", ids)] = ids

    def hear(self, listener: str, speaker: str, *, late: bool) -> None:
        said = self.history[speaker]
        heard = self.random.choice(said) if late else said[-1]
        self.nodes[listener].heard[speaker] = heard
        self.nodes[listener].run()

    def storm(self, rounds: int, *, halves: bool) -> None:
        """Let single statements arrive late and in any order; some nodes start late or restart."""
        ids = list(self.nodes)
        self.random.shuffle(ids)
        cut = self.random.randrange(1, len(ids)) if halves and len(ids) > 1 else len(ids)
        sides = {id_: place < cut for place, id_ in enumerate(ids)}
        self.nodes[self.random.choice(ids)].has_started = True
        for _ in range(rounds):
            node = self.nodes[self.random.choice(ids)]
            if not node.has_started:
                node.has_started = self.random.random() < 0.3
            elif self.random.random() < 0.05:
                node.heard.clear()  # restarted
            speaker = self.random.choice(ids)
            if (
                node.has_started
                and self.nodes[speaker].has_started
                and sides[node.stored.id] == sides[speaker]
            ):
                self.hear(node.stored.id, speaker, late=self.random.random() < 0.5)

    def calm(self) -> None:
        """Everybody hears what everybody states now, until nothing changes."""
        self.crash_chance = 0.0
        for _ in range(100 * len(self.nodes)):
            before = [node.stored for node in self.nodes.values()]
            order = list(self.nodes)
            self.random.shuffle(order)
            for listener in order:
                for speaker in order:
                    if speaker != listener:
                        self.hear(listener, speaker, late=False)
                self.nodes[listener].run()
            if before == [node.stored for node in self.nodes.values()]:
                return
        raise AssertionError("the nodes do not come to rest")
