"""Weather for a simulated cluster: faults drawn from a seed, and the climate they are drawn from.

Two seeds differ not only in when things break but in what kind of world it is: how far apart the
nodes are, how often links are cut, whether processes crash or freeze, how many nodes there are.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.world import World


class Climate:
    """What breaks, and how often; all drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"climate {seed}")
        self.nodes = self.random.choice((3, 3, 3, 5))
        slow_s = self.random.choice((0.002, 0.002, 0.02, 0.06))
        self.delay_s = (0.0002, slow_s)
        self.rate_per_s = self.random.choice((20.0, 100.0, 200.0))
        self.pause_s = self.random.choice((0.3, 0.8, 2.0))
        self.faults: list[Callable[[World], None]] = [
            self._cut,
            self._mend,
            self._crash,
            self._restart,
            self._block,
            self._freeze,
            self._reconnect,
            self._isolate_leader,
            self._crash_all,
        ]
        self.weights = [self.random.choice((0, 1, 3)) for _ in self.faults]
        self.weights[1] = self.weights[3] = 3  # what breaks is also mended

    def run(self, world: World, *, seconds: float) -> None:
        """Let faults happen for `seconds` of virtual time."""
        end_s = world.now_s + seconds
        while world.now_s < end_s:
            world.run(self.random.uniform(0.1, 2 * self.pause_s))
            self.random.choices(self.faults, self.weights)[0](world)

    def _pair(self, world: World) -> tuple[str, str]:
        a, b = self.random.sample(world.ids, 2)
        return a, b

    def _cut(self, world: World) -> None:
        world.cut(*self._pair(world))

    def _mend(self, world: World) -> None:
        for a in world.ids:
            for b in world.ids:
                if a < b and self.random.random() < 0.7:
                    world.mend(a, b)

    def _crash(self, world: World) -> None:
        node = world.nodes[self.random.choice(world.ids)]
        if node.is_running:
            node.crash()

    def _restart(self, world: World) -> None:
        for node in world.nodes.values():
            node.is_stopped = False
            if not node.is_running and not node.is_gone:
                node.start()

    def _block(self, world: World) -> None:
        world.block(*self._pair(world))

    def _freeze(self, world: World) -> None:
        world.nodes[self.random.choice(world.ids)].is_stopped = True

    def _reconnect(self, world: World) -> None:
        world.disconnect(*self._pair(world))

    def _isolate_leader(self, world: World) -> None:
        leader = world.leader()
        if leader is not None:
            for other in world.ids:
                if other != leader.id:
                    world.cut(leader.id, other)

    def _crash_all(self, world: World) -> None:
        for node in world.nodes.values():
            if node.is_running:
                node.crash()
        for node in world.nodes.values():
            if not node.is_gone:
                node.start()
