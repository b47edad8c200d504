"""A few members and every message between them in one's own hand.

The stock `SyncObj` and our `Group` are driven through the same schedule: who ticks, which message
arrives when, which connection breaks. Lines keep TCP's promises: first in first out; what is lost
is lost with its connection. Time stands still unless the schedule lets it pass.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest
from pysyncobj import syncobj

from tests.support.schedule_members import Member, Ours, Stock

ROUND_S = 0.01
SILENT_TICK_S = 0.25


def on(*, stock: object, ours: object) -> pytest.MarkDecorator:
    """Run the schedule on both; say what comes out on each."""
    both = [pytest.param(Stock, stock, id="stock"), pytest.param(Ours, ours, id="ours")]
    return pytest.mark.parametrize(("member", "outcome"), both)


class Cluster:
    """Members named by single letters, all connected; `messages` is everything ever sent."""

    def __init__(self, member: Callable[..., Member], names: str = "ABC", **options: Any) -> None:
        self.now_s = 1_000.0
        self.names = names
        self.messages: list[tuple[str, str, Any]] = []
        self.leaders: dict[int, set[str]] = {}
        self._lines: dict[tuple[str, str], deque[Any]] = {
            line: deque() for line in permutations(names, 2)
        }
        self._up: set[tuple[str, str]] = set()
        self._held: set[tuple[str, str]] = set()
        self.still: set[str] = set()
        """Stopped as by SIGSTOP: they take no part in rounds; what is sent to them waits."""
        self.members = {name: member(name, names, self._post, **options) for name in names}

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    @classmethod
    @contextmanager
    def of(
        cls, member: Callable[..., Member], names: str = "ABC", **options: Any
    ) -> Iterator[Cluster]:
        """Start a cluster on a clock of its own; at the end nobody may have failed unnoticed."""
        real = syncobj.monotonicTime, syncobj.random
        cluster = cls(member, names, **options)
        syncobj.monotonicTime = lambda: cluster.now_s
        syncobj.random = SimpleNamespace(random=random.Random(names).random)
        try:
            for one in cluster.members.values():
                one.start()
            for a, b in permutations(names, 2):
                cluster.connect(a, b)
            yield cluster
            errors = {one.name: one.errors for one in cluster.members.values() if one.errors}
            assert not errors, errors
        finally:
            for one in cluster.members.values():
                one.stop()
            syncobj.monotonicTime, syncobj.random = real

    # Connections --------------------------------------------------------------------------------

    def connect(self, a: str, b: str) -> None:
        if (a, b) not in self._up and self[a].is_running and self[b].is_running:
            self._up |= {(a, b), (b, a)}
            self[a].wire.connected(b)
            self[b].wire.connected(a)

    def disconnect(self, a: str, b: str) -> None:
        """Break a connection; what was under way in it is gone."""
        if (a, b) in self._up:
            self._up -= {(a, b), (b, a)}
            for line in ((a, b), (b, a)):
                self._lines[line].clear()
                if self[line[0]].is_running:
                    self[line[0]].wire.disconnected(line[1])

    def isolate(self, name: str) -> None:
        for other in self.names:
            if other != name:
                self.disconnect(name, other)

    def join(self, name: str) -> None:
        for other in self.names:
            if other != name:
                self.connect(name, other)

    def hold(self, sender: str, receiver: str) -> None:
        """Slow this direction down: nothing arrives but what is delivered by hand."""
        self._held.add((sender, receiver))

    def release(self, sender: str, receiver: str) -> None:
        self._held.discard((sender, receiver))

    # Processes ----------------------------------------------------------------------------------

    def power_cut(self, *names: str) -> None:
        """Take the power from these machines, and start them again on what their disks kept."""
        for name in names:
            self.isolate(name)
            self[name].stop()
            self[name].power_cut()
        for name in names:
            self[name].start()

    def kill(self, *names: str) -> None:
        """`kill -9` these processes, and start them again; what they wrote is there."""
        for name in names:
            self.isolate(name)
            self[name].stop()
        for name in names:
            self[name].start()

    # Time and messages --------------------------------------------------------------------------

    def _post(self, sender: str, receiver: str, message: Any) -> bool:
        if (sender, receiver) not in self._up:
            return False
        self.messages.append((sender, receiver, message))
        self._lines[sender, receiver].append(message)
        return True

    def in_flight(self, sender: str, receiver: str) -> int:
        return len(self._lines[sender, receiver])

    def tick(self, name: str, *, times: int = 1, apart_s: float = 0.06) -> None:
        """Tick one member; each time a heartbeat is due."""
        for _ in range(times):
            self.now_s += apart_s
            self[name].tick()
            self._look_at(self[name])

    def _look_at(self, member: Member) -> None:
        """Note who leads; the connections of a process end with it."""
        if not member.is_running:
            self.isolate(member.name)
        elif member.is_leader:
            self.leaders.setdefault(member.term, set()).add(member.name)

    def deliver(self, sender: str, receiver: str, count: int | None = None) -> None:
        """Let the next `count` messages arrive, or all that are under way now."""
        line = self._lines[sender, receiver]
        for _ in range(len(line) if count is None else min(count, len(line))):
            self[receiver].receive(sender, line.popleft())
            self._look_at(self[receiver])
            if not line:
                return  # all arrived, or the connection broke meanwhile

    def exchange(self) -> None:
        """One round: everybody ticks, then what is under way arrives."""
        self.now_s += ROUND_S
        for name, member in self.members.items():
            if name not in self.still:
                member.tick()
                self._look_at(member)
        for sender, receiver in self._lines:
            if (sender, receiver) not in self._held and receiver not in self.still:
                self.deliver(sender, receiver)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / ROUND_S)):
            self.exchange()

    def run_until(self, claim: Callable[[], bool], *, seconds: float) -> bool:
        """Let rounds pass until `claim` holds; return whether it did."""
        for _ in range(round(seconds / ROUND_S)):
            if claim():
                return True
            self.exchange()
        return claim()

    def end_patience(self, name: str, *, after_s: float = 1.0) -> None:
        """Let time pass in which nothing arrives: this member stands next, the others wait."""
        end_s = self.now_s + after_s
        while self.now_s < end_s:
            self._postpone_elections()
            self.now_s = min(end_s, self.now_s + SILENT_TICK_S)
            for other, member in self.members.items():
                if other not in self.still:
                    member.tick()
                    self._look_at(member)
        self._postpone_elections()
        self[name].raft._SyncObj__raftElectionDeadline = self.now_s

    def _postpone_elections(self) -> None:
        for member in self.members.values():
            if member.is_running:
                member.raft._SyncObj__raftElectionDeadline = self.now_s + 0.6

    def win(self, name: str, voters: str) -> None:
        """Have `name` elected by these voters alone; what they answer it is held from then on.

        So nobody confirms yet what it appends as the leader.
        """
        self.end_patience(name)
        for voter in voters:
            self.hold(voter, name)
        for _ in ("pre-vote", "vote"):
            self.tick(name)
            for voter in voters:
                self.deliver(name, voter)
                self.tick(voter)
                self.deliver(voter, name)
        assert self[name].is_leader, f"{name} does not lead"

    def elect(self, name: str, *, after_s: float = 1.0) -> None:
        """End one member's patience and exchange rounds until it leads."""
        self.end_patience(name, after_s=after_s)
        assert self.run_until(lambda: self[name].is_leader, seconds=0.2), f"{name} does not lead"
