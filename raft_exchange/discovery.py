"""Finding the other nodes: announce, look up, ask whoever may be one, believe only what is proved.

Three loops, each at its own pace, none waiting for another: announce ourselves in the DHT, look up
who else is announced, and ask the addresses that are due (`candidates` decides which). They never
end of themselves and never fail: a DHT that is cut off or full of lies is a matter of patience.
(A bug in what is done with a proved answer ends them; one in reading a stranger's is only told,
since else strangers could end every node.)
What they bring is candidates and addresses; who votes is decided elsewhere.

The network comes in as three calls, so that a simulation runs the same loops.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from raft_exchange.candidates import (
    ASKED_AT_ONCE_MAX,
    STRANGERS_MAX,
    TRUSTED_MAX,
    Candidates,
    Sighting,
)
from raft_exchange.introduction import Distrust, Distrusted
from raft_exchange.metrics import DiscoveryFigures, Durations
from raft_exchange.raft.admission import BoundedLog
from raft_exchange.raft.formation import Statement

LOOKUP_S_MAX: Final = 5.0
FRESH_S: Final = 3.0
"""Only who answered within this time is there: a node that is gone must not be counted on."""
NAMED_MAX: Final = 1_024
"""Addresses remembered as named in the log, so that each is named once."""
ANNOUNCE_GAP_S_MAX: Final = 20.0

logger = logging.getLogger(__name__)


class Pace(NamedTuple):
    """Mean time between two lookups, two rounds of questions, two questions to one node."""

    lookup_s: float
    round_s: float
    ask_s: float
    announce_s: float


FORMING_PACE: Final = Pace(lookup_s=0.2, round_s=0.05, ask_s=0.1, announce_s=1.0)
"""Before there is a cluster, while people wait for it."""


def living_pace(peer_age_s: float) -> Pace:
    """Return the pace of a member: often enough to be found while `peer_age_s` lasts."""
    announce_s = min(ANNOUNCE_GAP_S_MAX, peer_age_s / 6)
    return Pace(lookup_s=2.0, round_s=0.5, ask_s=2.0, announce_s=announce_s)


class Network(Protocol):
    """What discovery does to the world; each call may raise `OSError`, `ask` also `Distrusted`."""

    async def announce(self) -> None:
        """Announce this node once."""
        ...

    async def lookup(self) -> list[str]:
        """Return the base URLs that are announced at this moment, by whomever."""
        ...

    async def ask(self, url: str) -> Statement:
        """Return the proved statement of the node there."""
        ...


class Discovery:
    """Knows who else is there. `run` it; read `statements`, `sightings` and `seen_age_s`."""

    def __init__(
        self, network: Network, *, own_id: str, peer_age_s: float, rng: random.Random | None = None
    ) -> None:
        """Make one that knows nobody; `peer_age_s` is how long the DHT keeps an announcement."""
        self._network = network
        self._own_id = own_id
        self._rng = rng or random.Random()
        self._candidates = Candidates(choose=self._rng.sample)
        self._pace = FORMING_PACE
        self._living_pace = living_pace(peer_age_s)
        self._loop = asyncio.get_running_loop()
        self._asking: set[asyncio.Task[None]] = set()
        self._listeners: list[Callable[[Sighting], None]] = []
        self._named: OrderedDict[str, None] = OrderedDict()
        self._stranger_log = BoundedLog(logger, clock_s=self._loop.time)
        self._answers: Counter[str] = Counter()
        self._announced = 0
        self._announce_failures = 0
        self._lookups = {"done": 0, "failed": 0}
        self._durations = {"announce": Durations(), "lookup": Durations()}
        self._is_announcing = True
        self._failed: asyncio.Future[None] = self._loop.create_future()

    def add_listener(self, listener: Callable[[Sighting], None]) -> None:
        """Call `listener` with every proved answer from now on."""
        self._listeners.append(listener)

    def settle(self) -> None:
        """Go on at a member's pace."""
        self._pace = self._living_pace

    def suggest(self, urls: Iterable[str]) -> None:
        """Ask at these base URLs as well, as if they had been announced."""
        self._candidates.heard_of(urls, now_s=self._loop.time())

    def sightings(self) -> list[Sighting]:
        """Return what the nodes said last that are there, by id; ourselves left out."""
        return self._candidates.sightings(since_s=self._loop.time() - FRESH_S - self._pace.ask_s)

    def statements(self) -> list[Statement]:
        """Return the statements of `sightings`."""
        return [sighting.statement for sighting in self.sightings()]

    def seen_age_s(self, node_id: str) -> float | None:
        """Return how long ago a node last proved that it is there; None if it never did."""
        at_s = self._candidates.seen_at_s(node_id)
        return None if at_s is None else self._loop.time() - at_s

    def figures(self) -> DiscoveryFigures:
        """Return what is counted."""
        return DiscoveryFigures(
            nodes_seen=len(self.sightings()),
            addresses=len(self._candidates),
            answers={"trusted": 0, **dict.fromkeys(map(str, Distrust), 0), **self._answers},
            announcements={"stored": self._announced, "failed": self._announce_failures},
            lookups=self._lookups,
            durations=self._durations,
        )

    def bounds_used(self) -> Mapping[str, float]:
        """Return how much of the bounds is used."""
        return {
            "discovery_strangers": self._candidates.strangers / STRANGERS_MAX,
            "discovery_trusted": self._candidates.trusted / TRUSTED_MAX,
            "discovery_questions": len(self._asking) / ASKED_AT_ONCE_MAX,
        }

    async def run(self) -> None:
        """Look for others until cancelled, once; whatever a listener raises ends it."""
        loops = (self._keep_announcing, self._keep_looking_up, self._keep_asking)
        tasks = [asyncio.create_task(loop(), name=loop.__name__) for loop in loops]
        try:
            await asyncio.gather(*tasks, self._failed)
        finally:
            for task in (*tasks, *self._asking):
                task.cancel()
            await asyncio.gather(*tasks, *self._asking, return_exceptions=True)

    async def _keep_announcing(self) -> None:
        while True:
            pause_s = self._pace.announce_s
            try:
                async with asyncio.timeout(LOOKUP_S_MAX):
                    started_s = self._loop.time()
                    await self._network.announce()
                self._durations["announce"].observe(self._loop.time() - started_s)
                self._announced += 1
                self._tell_announcing(None)
            except OSError as error:  # a timeout is one
                self._announce_failures += 1
                self._tell_announcing(error)
                pause_s = min(1.0, pause_s)
            await asyncio.sleep(self._jittered(pause_s))

    def _tell_announcing(self, error: OSError | None) -> None:
        """Log the change, not every failure."""
        if error is not None and self._is_announcing:
            logger.warning("cannot announce this node in the DHT: %s", error or "no answer")
        elif error is None and not self._is_announcing:
            logger.info("this node is announced in the DHT again")
        self._is_announcing = error is None

    async def _keep_looking_up(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOKUP_S_MAX):
                    started_s = self._loop.time()
                    self.suggest(await self._network.lookup())
                self._durations["lookup"].observe(self._loop.time() - started_s)
                self._lookups["done"] += 1
            except OSError as error:
                self._lookups["failed"] += 1
                logger.debug("looking up the cluster's nodes failed: %s", error)
            await asyncio.sleep(self._jittered(self._pace.lookup_s))

    async def _keep_asking(self) -> None:
        while True:
            for url in self._candidates.take_due(now_s=self._loop.time()):
                task = asyncio.create_task(self._ask(url), name=f"ask {url}")
                self._asking.add(task)
                task.add_done_callback(self._on_asked)
            await asyncio.sleep(self._jittered(self._pace.round_s))

    def _jittered(self, mean_s: float) -> float:
        return mean_s * self._rng.uniform(0.5, 1.5)

    def _on_asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        if task.cancelled() or self._failed.done():
            return
        if (error := task.exception()) is not None:
            self._failed.set_exception(error)

    async def _ask(self, url: str) -> None:
        try:
            statement = await self._network.ask(url)
        except Exception as error:
            self._candidates.failed(url, now_s=self._loop.time())
            self._note_failure(url, error)
            return
        self._answers["trusted"] += 1
        if statement.id == self._own_id:
            self._candidates.is_own(url)
            return
        now_s = self._loop.time()
        again_s = now_s + self._jittered(self._pace.ask_s)
        self._candidates.answered(url, statement, now_s=now_s, again_s=again_s)
        self.suggest([member.http_url for member in statement.members if member.id != self._own_id])
        for listener in self._listeners:
            listener(Sighting(statement, url, now_s))

    def _note_failure(self, url: str, error: Exception) -> None:
        if isinstance(error, Distrusted):
            reason = error.reason
        elif isinstance(error, OSError):
            reason = Distrust.UNREACHABLE
        else:
            reason = Distrust.MALFORMED
            text = "reading what %s answers failed; this is a bug: %r"
            self._stranger_log.write(logging.ERROR, text, url, error)
        self._answers[reason] += 1
        if reason in (Distrust.WRONG_SECRET, Distrust.WRONG_CLUSTER):
            self._name(url, reason)

    def _name(self, url: str, reason: Distrust) -> None:
        """Log an address whose secret or cluster is another one, once."""
        if url in self._named:
            self._named.move_to_end(url)
            return
        if len(self._named) >= NAMED_MAX:
            self._named.popitem(last=False)
        self._named[url] = None
        what = {
            Distrust.WRONG_SECRET: "does not hold this cluster's secret",
            Distrust.WRONG_CLUSTER: "belongs to a cluster of another name",
        }[reason]
        self._stranger_log.write(
            logging.WARNING, "%s answers as a node but %s: it is not trusted", url, what
        )
