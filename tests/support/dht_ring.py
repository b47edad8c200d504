"""Many DHT nodes joined by a list of datagrams on virtual time; loss is a function call."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

from grape.contact import Address
from grape.dht import DhtNode, DhtSettings
from grape.events import Event

PORT: Final = 20_000
DELAY_S: Final = 0.001
RUN_S_MAX: Final = 60.0


def address_of(number: int) -> Address:
    """The address of the node with this number."""
    return f"10.0.{number // 250}.{number % 250 + 1}", PORT


class Ring:
    """Nodes, the datagrams between them, and one clock; everything follows from the seed."""

    def __init__(self, seed: int = 1, *, settings: DhtSettings | None = None) -> None:
        self.random = random.Random(seed)
        self.now_s = 1_000.0
        self.nodes: dict[Address, DhtNode] = {}
        self.events: dict[Address, list[Event]] = {}
        self.trace: list[tuple[Address, Address, bytes]] = []
        self.loses: Callable[[bytes, Address, Address], bool] = lambda data, source, to: False
        self._settings = settings or DhtSettings(port=PORT)
        self._under_way: list[tuple[float, int, Address, Address, bytes]] = []
        self._serial = itertools.count()

    def make(self, number: int) -> Address:
        """Make a node that is not started; it replaces one that was there."""
        address = address_of(number)
        self.nodes[address] = DhtNode(
            self._settings,
            entropy=self.random.randbytes,
            host_towards=lambda host: address[0],
        )
        self.events[address] = []
        return address

    def add(self, number: int, *, bootstrap: Iterable[int] = ()) -> Address:
        """Make a node and start it."""
        address = self.make(number)
        self.start(address, bootstrap=bootstrap)
        return address

    def start(self, address: Address, *, bootstrap: Iterable[int] = ()) -> None:
        """Start a node."""
        self.nodes[address].start([address_of(item) for item in bootstrap], now_s=self.now_s)
        self.collect(address)

    def kill(self, address: Address) -> None:
        """Let a node vanish: what is sent to it is lost."""
        del self.nodes[address]

    def send(self, data: bytes, *, source: Address, to: Address) -> None:
        """Put a datagram on its way."""
        if not self.loses(data, source, to):
            entry = (self.now_s + DELAY_S, next(self._serial), source, to, data)
            heapq.heappush(self._under_way, entry)

    def collect(self, address: Address) -> None:
        """Take what a node has to send and to say."""
        node = self.nodes[address]
        while (event := node.next_event()) is not None:
            self.events[address].append(event)
        for data, to in node.datagrams_to_send():
            self.trace.append((address, to, data))
            self.send(data, source=address, to=to)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self.now_s + seconds
        while self.step(end_s):
            pass
        self.now_s = end_s

    def step(self, end_s: float) -> bool:
        """Do the next thing that happens before `end_s`; False if there is none."""
        timer_s, ticking = min(
            (
                (time_s, address)
                for address, node in self.nodes.items()
                if (time_s := node.next_timer_s()) is not None
            ),
            default=(end_s + 1, None),
        )
        arrival_s = self._under_way[0][0] if self._under_way else end_s + 1
        if min(timer_s, arrival_s) > end_s:
            return False
        self.now_s = max(self.now_s, min(timer_s, arrival_s))
        if arrival_s <= timer_s:
            _, _, source, to, data = heapq.heappop(self._under_way)
            if to in self.nodes:
                self.nodes[to].receive_datagram(data, source, now_s=self.now_s)
                self.collect(to)
        elif ticking is not None:
            self.nodes[ticking].handle_timer(now_s=self.now_s)
            self.collect(ticking)
        return True

    def finish(self, address: Address, number: int) -> Any:
        """Run until the operation has ended and return the event of its end."""
        end_s = self.now_s + RUN_S_MAX
        self.collect(address)
        while True:
            for event in self.events[address]:
                if getattr(event, "operation", None) == number:
                    return event
            assert self.step(end_s), "the operation never ended"

    def announce(self, address: Address, name: bytes, port: int) -> Any:
        """Announce, and run until that is done."""
        return self.finish(address, self.nodes[address].announce(name, port, now_s=self.now_s))

    def lookup(self, address: Address, name: bytes) -> set[Address]:
        """Look up, and run until that is done."""
        number = self.nodes[address].lookup(name, now_s=self.now_s)
        return set(self.finish(address, number).peers)

    def check(self) -> None:
        """Assert every invariant of every node."""
        for node in self.nodes.values():
            node.check()


def pair(seed: int = 1) -> tuple[Ring, Address, Address]:
    """Two nodes that know each other."""
    ring = Ring(seed)
    a = ring.add(0, bootstrap=[1])
    b = ring.add(1, bootstrap=[0])
    ring.run(0.1)
    ring.trace.clear()
    return ring, a, b


def circle(count: int, *, seed: int = 1) -> Ring:
    """Nodes that all joined through the first two."""
    ring = Ring(seed)
    for number in range(count):
        ring.add(number, bootstrap=[0, 1])
        ring.run(0.05)
    ring.run(1.0)
    return ring
