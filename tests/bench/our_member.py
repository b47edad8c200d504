"""One member of our group: its journal with fdatasync, its authenticated transport, its driver.

As leader it keeps so many commands in flight for so long, prints how many were committed (by a
majority, on stable storage) and applied, and ends.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import NoReturn

import uvloop
from pysyncobj.node import Node

from raft_exchange import collector
from raft_exchange.raft.driver import Driver
from raft_exchange.raft.group import Group
from raft_exchange.raft.handshake import Credentials
from raft_exchange.raft.hooks import Hooks, Timing
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import check_library
from raft_exchange.raft.storage import Directory
from raft_exchange.raft.transport import PeerTransport

WARM_UP_S = 1.0
SECRET = b"0123456789abcdef0123456789abcdef"


class Bench:
    """One member and its load."""

    def __init__(self, place: int, ports: list[int], folder: Path, *, payload: bytes) -> None:
        ids = [f"m{number}" for number in range(len(ports))]
        addresses = {id_: ("127.0.0.1", port) for id_, port in zip(ids, ports, strict=True)}
        self.payload = payload
        self.committed = 0
        self.is_loading = False
        self.driver = Driver()
        self.transport = PeerTransport(
            Credentials(ids[place], "bench", SECRET),
            listen=addresses[ids[place]],
            resolve=addresses.get,
            wake=self.driver.wake,
            jitter=random.random,
        )
        self.others = [id_ for id_ in ids if id_ != ids[place]]
        self.own_id, self.ids, self.folder = ids[place], ids, folder

    def _make_group(self) -> Group:
        return Group(
            self_id=self.own_id,
            founders=self.ids,
            journal=Journal(Directory.ensure(self.folder / "journal")),
            transport=self.transport,
            timing=Timing(),
            hooks=Hooks(
                admit=lambda payload: payload,
                apply=self._apply,
                leader_changed=lambda leader: None,
                propose_refused=lambda: None,
                wake=self.driver.wake,
                fail=_fail,
            ),
        )

    def _apply(self, index: int, term: int, payload: bytes) -> None:
        if self.is_loading:
            self.committed += 1
            self.group.propose(self.payload)

    async def run(self, in_flight: int, seconds: float) -> None:
        await self.transport.start()
        self.group = self._make_group()
        for other in self.others:
            self.transport.addNode(Node(other))
        self.driver.start(self.group.do_tick)
        while not self.group.is_settled:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.is_loading = True
        for _ in range(in_flight):
            self.group.propose(self.payload)
        await asyncio.sleep(WARM_UP_S)
        began_s, self.committed = time.monotonic(), 0
        await asyncio.sleep(seconds)
        print(self.committed / (time.monotonic() - began_s), flush=True)


def _fail(error: BaseException) -> NoReturn:
    raise SystemExit(repr(error))


def main(place: int, ports: list[int], folder: str, payload_bytes: int, in_flight: int) -> None:
    check_library()
    collector.spare_the_old()

    async def run() -> None:
        bench = Bench(place, ports, Path(folder), payload=bytes(range(256))[:payload_bytes])
        await bench.run(in_flight, float(sys.argv[6]))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main(
        int(sys.argv[1]),
        [int(port) for port in sys.argv[2].split(",")],
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
