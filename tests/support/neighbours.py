"""Nodes that find each other and form a cluster on virtual time, with the real loops and files.

The network is a table: who is announced, who listens where. It answers late and in any order, loses
questions, shows a look-up only a part of what is announced, keeps the announcements of the dead,
and contains whatever strangers a test puts in.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import msgspec

from raft_exchange.address_book import AddressBook
from raft_exchange.discovery import Discovery
from raft_exchange.forming import Forming
from raft_exchange.introduction import Distrust, Distrusted, believe
from raft_exchange.neighbourhood import Neighbourhood, Whereabouts
from raft_exchange.raft.formation import Found, Join, Statement
from raft_exchange.raft.identity import IdentityFile
from raft_exchange.raft.membership import Configuration

SECRET = b"0123456789abcdef0123456789abcdef"
CLUSTER = "exchange"
PEER_AGE_S = 20.0
DELAY_S_MAX = 0.3


class World:
    """The network between the nodes.

    Attributes:
        loss: the share of look-ups, announcements and questions that fail.
        strangers: what is at an address besides nodes: why it is not to be trusted.
        asked: how often each address was asked.
        cut: pairs of addresses that do not reach each other.
    """

    def __init__(self, folder: Path, seed: int, *, loss: float = 0.1) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.loss = loss
        self.nodes: list[SimNode] = []
        self.strangers: dict[str, Distrust] = {}
        self.cut: set[frozenset[str]] = set()
        self.asked: dict[str, int] = {}
        self._announced: dict[str, float] = {}

    def add(self, *, expect: int = 3, secret: bytes = SECRET) -> SimNode:
        """Return one more node with an empty folder, not started."""
        node = SimNode(self, f"n{len(self.nodes) + 1}", expect=expect, secret=secret)
        self.nodes.append(node)
        return node

    def announce(self, url: str) -> None:
        self._announced[url] = asyncio.get_running_loop().time() + PEER_AGE_S

    def announced(self) -> list[str]:
        """Some of what is announced, in any order; all of it where nothing is lost."""
        now_s = asyncio.get_running_loop().time()
        found = [url for url, until_s in self._announced.items() if until_s > now_s]
        found += [url for url, reason in self.strangers.items() if reason]
        return self.random.sample(
            found, self.random.randint(0, len(found)) if self.loss else len(found)
        )

    def at(self, url: str) -> SimNode | None:
        return next((node for node in self.nodes if node.url == url and node.is_up), None)

    async def pass_on(self) -> None:
        """Take the time of one message; or lose it."""
        await asyncio.sleep(self.random.uniform(0, DELAY_S_MAX))
        if self.random.random() < self.loss:
            raise TimeoutError


class SimNode:
    """Implements `discovery.Network`, and is a node's folder and its life."""

    def __init__(self, world: World, name: str, *, expect: int, secret: bytes) -> None:
        self.world = world
        self.name = name
        self.expect = expect
        self.secret = secret
        self.port = 8_080 + len(world.nodes)
        self.bound: Found | Join | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return bool(self._tasks)

    def start(self) -> None:
        """Start on the folder as it is."""
        self.identity = IdentityFile.open(
            self.world.folder / self.name, cluster=CLUSTER, name=self.name, now_us=1
        )
        # The id is random on purpose; here one seed is to give one history.
        self._make_reproducible()
        self.discovery = Discovery(
            self, own_id=self.id, peer_age_s=PEER_AGE_S, rng=self.world.random
        )
        where = Whereabouts(
            expect=self.expect, raft_address=f"127.0.0.1:{self.port + 1_000}", http_url=self.url
        )
        book = AddressBook(self.world.folder / self.name)
        self.neighbourhood = Neighbourhood(
            self.identity, where, self.discovery, book=book, secret=self.secret
        )
        self.forming = Forming(self.identity, self.discovery, state=self.neighbourhood.statement)
        self._tasks = [
            asyncio.create_task(self.discovery.run()),
            asyncio.create_task(self._form()),
        ]

    async def stop(self) -> None:
        """Die: what is in memory is gone, what the folder holds is not."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def id(self) -> str:
        return self.identity.current.node

    def _make_reproducible(self) -> None:
        if self.identity.current.node == self.name or self.identity.current.accepted:
            return
        self.identity.current = msgspec.structs.replace(self.identity.current, node=self.name)

    async def _form(self) -> None:
        if not self.neighbourhood.is_bound:
            self.bound = await self.forming.run()
        founded = Configuration(self.identity.current.founders)
        self.neighbourhood.settle(lambda: founded, lambda said: None)

    async def announce(self) -> None:
        await self.world.pass_on()
        self.world.announce(self.url)

    async def lookup(self) -> list[str]:
        await self.world.pass_on()
        return self.world.announced()

    async def ask(self, url: str) -> Statement:
        world = self.world
        world.asked[url] = world.asked.get(url, 0) + 1
        await world.pass_on()
        if url in world.strangers:
            raise Distrusted(world.strangers[url])
        other = world.at(url)
        if other is None or frozenset((url, self.url)) in world.cut:
            raise ConnectionRefusedError
        nonce = f"{world.random.getrandbits(128):032x}"
        answer = other.neighbourhood.introduce(nonce, "127.0.0.1")
        await world.pass_on()
        return believe(answer, nonce=nonce, cluster=CLUSTER, secret=self.secret)
