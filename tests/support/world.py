"""A whole cluster on virtual time: the production group, pipeline and state; a fake world.

One seed decides everything: delays, faults, clocks, elections. Links keep TCP's promises: what
arrives arrives in order, and loss shows as a disconnect. Messages travel as the bytes of the wire
codec. A crash loses the process and whatever its disk had not synced; a stopped node hears
nothing and keeps its memory.

The real pysyncobj runs inside, its module clock and its module `random` replaced by the world's.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from types import SimpleNamespace
from typing import Any

from pysyncobj import syncobj

from raft_exchange.raft.snapshots import Snapshots
from raft_exchange.sequencer.applied import Applied
from tests.support.roll import Roll
from tests.support.sim_node import TICK_S, SimNode

SILENCE_S_MAX = 2.0


class Link:
    """Both directions between two nodes; `generation` counts connections."""

    def __init__(self) -> None:
        self.is_up = False
        self.is_cut = False
        self.generation = 0
        self.blocked: set[str] = set()  # senders whose bytes do not get through
        self.arrives_at_s: dict[str, float] = {}


class World:
    """Time, network and faults of one simulated cluster."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 3,
        make_disk: Callable[[str], Any],
        open_journal: Callable[[Any], Any],
        crash_disk: Callable[[Any], None],
        delay_s: tuple[float, float] = (0.0002, 0.002),
        open_snapshots: Callable[[SimNode], Snapshots | None] = lambda node: None,
    ) -> None:
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.make_disk = make_disk
        self.open_journal = open_journal
        self.crash_disk = crash_disk
        self.open_snapshots = open_snapshots
        self.restores = 0
        self._delay_s = delay_s
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_count = 0
        self.ids = [f"n{number}" for number in range(1, nodes + 1)]
        self.leaders: dict[int, str] = {}
        self.truth: dict[int, Applied] = {}
        self.founders = tuple(self.ids)
        self.roll = Roll(self.founders)
        self.nodes = {node_id: self._make(node_id, self.founders) for node_id in self.ids}
        self.links: dict[frozenset[str], Link] = {}

    def _make(self, node_id: str, founders: Sequence[str]) -> SimNode:
        return SimNode(self, node_id, self.random.randrange(-50_000, 50_000), founders=founders)

    def add_node(self) -> SimNode:
        """Start a node without data, which is no member yet."""
        node_id = f"n{len(self.ids) + 1}"
        self.ids.append(node_id)
        for other in self.nodes.values():
            if other.is_running:
                other.group.know(node_id)
        node = self.nodes[node_id] = self._make(node_id, ())
        node.start()
        return node

    def wipe(self, node: SimNode) -> None:
        """Lose a node for ever: its process and its disk."""
        if node.is_running:
            node.crash()
        node.is_gone = True

    @contextmanager
    def running(self) -> Iterator[World]:
        """Put this world's clock and randomness under the library, and start every node."""
        real = syncobj.monotonicTime, syncobj.random
        syncobj.monotonicTime = lambda: self.now_s
        syncobj.random = SimpleNamespace(random=self.random.random)
        try:
            for node in self.nodes.values():
                node.start()
            yield self
        finally:
            syncobj.monotonicTime, syncobj.random = real

    # Time ---------------------------------------------------------------------------------------

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        self._event_count += 1
        heapq.heappush(self._events, (when_s, self._event_count, action))

    def run(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        end_s = self.now_s + seconds
        while self._events and self._events[0][0] <= end_s:
            when_s, _, action = heapq.heappop(self._events)
            self.now_s = max(self.now_s, when_s)
            action()
        self.now_s = end_s

    def run_until(self, claim: Callable[[], bool], *, seconds: float) -> bool:
        """Let time pass until `claim` holds; return whether it did within `seconds`."""
        end_s = self.now_s + seconds
        while not claim():
            if self.now_s >= end_s:
                return False
            self.run(TICK_S)
        return True

    # Network ------------------------------------------------------------------------------------

    def link(self, a: str, b: str) -> Link:
        return self.links.setdefault(frozenset((a, b)), Link())

    def send(self, sender: str, receiver: str, data: bytes) -> bool:
        link = self.link(sender, receiver)
        if not link.is_up:
            return False
        delay_s = self.random.uniform(*self._delay_s)
        arrives_at_s = max(self.now_s + delay_s, link.arrives_at_s.get(sender, 0.0) + 1e-9)
        link.arrives_at_s[sender] = arrives_at_s
        generation = link.generation
        if sender not in link.blocked:
            self.at(arrives_at_s, lambda: self._deliver(sender, receiver, generation, data))
        return True

    def _deliver(self, sender: str, receiver: str, generation: int, data: bytes) -> None:
        link, node = self.link(sender, receiver), self.nodes[receiver]
        if link.generation != generation or not link.is_up:
            return
        if node.is_stopped:
            node.hear_later(lambda: self._deliver(sender, receiver, generation, data))
        else:
            node.transport.deliver(sender, data)

    def connect(self, a: str, b: str) -> None:
        link = self.link(a, b)
        one, other = self.nodes[a], self.nodes[b]
        both_run = one.is_running and other.is_running
        both_want = both_run and b in one.transport.named and a in other.transport.named
        if both_want and not link.is_up and not link.is_cut:
            link.is_up = True
            link.generation += 1
            link.arrives_at_s = {}
            one.transport.connected(b)
            other.transport.connected(a)

    def disconnect(self, a: str, b: str, *, again_in_s: float | None = 0.1) -> None:
        link = self.link(a, b)
        if link.is_up:
            link.is_up = False
            for one, other in ((a, b), (b, a)):
                if self.nodes[one].is_running:
                    self.nodes[one].transport.disconnected(other)
        if again_in_s is not None:
            self.at(self.now_s + again_in_s, lambda: self.connect(a, b))

    def cut(self, a: str, b: str) -> None:
        """Cut a link until `mend`: both ends see the disconnect."""
        self.link(a, b).is_cut = True
        self.disconnect(a, b, again_in_s=None)

    def block(self, sender: str, receiver: str) -> None:
        """Cut one direction: bytes vanish until the silence is noticed as a disconnect."""
        link = self.link(sender, receiver)
        link.blocked.add(sender)
        self.at(self.now_s + SILENCE_S_MAX, lambda: self._notice_silence(sender, receiver))

    def _notice_silence(self, sender: str, receiver: str) -> None:
        if sender in self.link(sender, receiver).blocked:
            self.cut(sender, receiver)

    def mend(self, a: str, b: str) -> None:
        link = self.link(a, b)
        if link.blocked:
            link.blocked.clear()
            self.disconnect(a, b, again_in_s=None)  # the stream has a hole: it cannot go on
        link.is_cut = False
        self.connect(a, b)

    def heal(self) -> None:
        """Mend every link, wake the stopped, restart the crashed."""
        for node in self.nodes.values():
            node.is_stopped = False
            if not node.is_running and not node.is_gone:
                node.start()
        for a, b in combinations(self.ids, 2):
            self.mend(a, b)

    def network_down(self, node_id: str) -> None:
        for other in self.ids:
            if other != node_id:
                self.disconnect(node_id, other, again_in_s=None)

    # What the checkers read ---------------------------------------------------------------------

    def note_leader(self, node: SimNode) -> None:
        """Assert, all along, that no term has two leaders."""
        if node.group.is_leader:
            known = self.leaders.setdefault(node.group.term, node.id)
            assert known == node.id, f"term {node.group.term} has leaders {known} and {node.id}"

    def note_applied(self, node: SimNode, applied: Applied) -> None:
        """Assert, all along and across restarts, that an index means the same to everybody."""
        known = self.truth.setdefault(applied.index, applied)
        assert known == applied, f"{node.id} applies {applied}, others applied {known}"

    def note_restored(self, node: SimNode) -> None:
        """Assert that a node that jumped is where the others were at that index."""
        self.restores += 1
        known = self.truth.get(node.group.last_applied)
        if known is not None:  # a leader's first entry of a term changes nothing
            assert node.state.exchange.sequence == known.results[-1].sequence

    def leader(self) -> SimNode | None:
        """Return the settled leader of the greatest term among the running nodes."""
        settled = [n for n in self.nodes.values() if n.is_running and n.group.is_settled]
        return max(settled, key=lambda node: node.group.term, default=None)
