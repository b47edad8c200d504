"""One member of the group: its parts, built and wired; no logic.

Everything runs on one event loop: Raft, matcher, journal and HTTP. A failure that is nobody's
fault but ours ends the process at once, because a half-applied state must neither serve nor vote.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from raft_exchange import collector
from raft_exchange.control import HOST, Control
from raft_exchange.doors import Doors
from raft_exchange.ed25519 import verify
from raft_exchange.exits import fail
from raft_exchange.first_key import FirstKey
from raft_exchange.founding import Founding
from raft_exchange.gateway.app import make_control_app
from raft_exchange.gateway.context import Context, Front, has_seed_surface
from raft_exchange.gateway.grenache_events import EventFeed, make_events_app
from raft_exchange.gateway.listener import Listener
from raft_exchange.gateway.rate_limits import Limit, RateLimits
from raft_exchange.gateway.streams import Streams
from raft_exchange.history.backfill import Prove
from raft_exchange.history.service import FILE_NAME, History, HistoryHooks, HistorySettings
from raft_exchange.listening import bind
from raft_exchange.marketdata.view import MarketData
from raft_exchange.neighbourhood import Neighbourhood
from raft_exchange.node_figures import Parts, bounds_used, figures_of
from raft_exchange.raft.archive import Archive
from raft_exchange.raft.disk_reserve import MIB, DiskReserve
from raft_exchange.raft.driver import Driver
from raft_exchange.raft.formation import Statement
from raft_exchange.raft.group import Group
from raft_exchange.raft.hooks import Hooks, Timing
from raft_exchange.raft.identity import Identity
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshot_writer import ForkedWriter
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.raft.storage import Directory
from raft_exchange.raft.transport import PeerTransport
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.core import NodeCore
from raft_exchange.sequencer.fence import FenceFile
from raft_exchange.sequencer.hashing import ForkedHasher
from raft_exchange.sequencer.operations import NodeOperations
from raft_exchange.sequencer.pipeline import Pipeline
from raft_exchange.sequencer.replica import LeaderClock, Replica
from raft_exchange.sequencer.signed import Signatures
from raft_exchange.sequencer.state import ReplicatedState
from raft_exchange.sequencer.witness import Witness
from raft_exchange.settings import Settings
from raft_exchange.welcoming import Welcome

POLL_S: Final = 0.02

logger = logging.getLogger(__name__)


class Node:
    """The parts of one node and the wires between them."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        journal: Journal,
        neighbourhood: Neighbourhood,
        transport: PeerTransport,
        driver: Driver,
    ) -> None:
        """Build the parts; the transport is started already."""
        self._settings = settings
        self._identity = identity
        self._journal = journal
        self._neighbourhood = neighbourhood
        self._driver = driver
        self._transport = transport
        self._leader_changes = 0
        self._history: History | None = None
        self._first_key: FirstKey | None = None
        self._founding = self._make_founding()
        self._reserve = DiskReserve(settings.disk_reserve_mib * MIB, journal.free_bytes)
        self._marketdata = MarketData()
        self._feed = EventFeed(self._marketdata)
        self._streams = Streams(self._marketdata)
        self._state = ReplicatedState(signatures=Signatures(identity.cluster_id, verify))
        self._replica = Replica(self._state, self._marketdata, on_applied=self._applied)
        self._group = self._make_group()
        self._welcome = Welcome(self._group)
        neighbourhood.settle(lambda: self._group.configuration, self._on_fellow)
        self._archive = self._open_archive()
        self._restore()
        self._pipeline = Pipeline(
            node=identity.node,
            boot=identity.boot,
            log=self._group,
            wake=self._driver.wake,
            encode=self._state.write,
        )
        self._fence = FenceFile(settings.data_dir)
        self._witness = self._make_witness()
        self._pipeline.restored(
            *self._state.session_of(identity.node), now_s=asyncio.get_running_loop().time()
        )
        self._core = NodeCore(
            membership=neighbourhood,
            pipeline=self._pipeline,
            group=self._group,
            driver=self._driver,
            reserve=self._reserve,
            witness=self._witness,
        )

    def _make_founding(self) -> Founding:
        settings = self._settings
        return Founding(
            settings.founding_markets,
            settles=settings.accounts,
            signed_orders=settings.require_signed_orders,
        )

    def _make_group(self) -> Group:
        return Group(
            self_id=self._identity.node,
            founders=self._identity.founders,
            journal=self._journal,
            transport=self._transport,
            timing=Timing(),
            hooks=self._hooks(),
        )

    def _make_witness(self) -> Witness:
        return Witness(
            node=self._identity.node,
            state=self._state,
            group=self._group,
            hasher=ForkedHasher(),
            fence=self._fence,
        )

    def _hooks(self) -> Hooks:
        return Hooks(
            admit=LeaderClock(now_us, elapsed_us, self._state).admit,
            apply=self._replica.apply,
            leader_changed=self._on_leader_changed,
            propose_refused=self._on_propose_refused,
            wake=self._driver.wake,
            fail=fail,
            restored=self._restored,
            has_room=lambda: self._reserve.has_room,
            standing=lambda: self._witness.standing,
            configured=self._configured,
        )

    def _configured(self, configuration: Configuration) -> None:
        ids = configuration.members
        if self._identity.node in ids:
            self._snapshots.set_place(ids.index(self._identity.node), len(ids))

    def _restore(self) -> None:
        """Put the newest snapshot in place."""
        settings = self._settings
        snapshots = Snapshots(
            SnapshotStore(
                Directory.ensure(settings.data_dir / "snapshots"), cluster=settings.cluster
            ),
            log=self._journal,
            machine=self._replica,
            writer=ForkedWriter(),
            pace=Pace(settings.snapshot_entries, settings.snapshot_mib * 1024 * 1024),
        )
        if self._archive is not None:
            snapshots.archive_into(self._archive)
        with collector.at_rest():
            self._group.keep_snapshots(snapshots)
        self._snapshots = snapshots
        self._configured(self._group.configuration)

    def _open_archive(self) -> Archive | None:
        if (folder := self._settings.archive_dir) is None:
            return None
        Directory.ensure(folder).close()
        own = Directory.ensure(folder / self._identity.node)
        return Archive(own, cluster=self._identity.cluster_id)

    def keep_history(self, prove: Prove, tls: ssl.SSLContext) -> None:
        """Record what is applied from now on; `prove` speaks for a holder of the secret."""
        settings, core, own = self._settings, self._core, self._identity
        self._history = History(
            HistorySettings(
                path=settings.data_dir / FILE_NAME,
                cluster_id=own.cluster_id,
                days=settings.history_days,
                url=settings.history_url,
            ),
            HistoryHooks(
                now_us=now_us,
                peers=lambda: [m.http_url for m in core.status().members if m.id != own.node],
                prove=prove,
                tls=tls,
                sizes=self._marketdata.sizes_of,
                is_leader=lambda: self._group.role == "leader",
            ),
        )

    def grant(self, first_key: FirstKey | None) -> None:
        """Have a cluster without operators take its first key, if this node has one."""
        self._first_key = first_key

    async def start(
        self,
        stack: AsyncExitStack,
        doors: Doors,
        front: Front,
        *,
        subscribers_max: int,
        stop: Callable[[], None],
    ) -> None:
        """Join the group and serve; `stack` undoes it in reverse. `stop` has the process end."""
        settings = self._settings
        self._doors = doors
        self._events = Listener(
            make_events_app(self._feed), front.metrics, connections_max=subscribers_max
        )
        stack.push_async_callback(self._events.close, within_s=0)
        if has_seed_surface(front.settings):
            await bind(
                self._events.start(settings.host, settings.pubsub_port),
                host="host",
                port="pubsub_port",
            )
        if self._history is not None:
            self._history.start(self._state.exchange.sequence)
            stack.push_async_callback(self._history.stop)
            front.metrics.watch_history(self._history.figures)
            front.metrics.watch_bounds(self._history.bounds_used)
        stack.callback(self._snapshots.stop)
        stack.callback(self._witness.stop)
        if self._archive is not None:
            stack.callback(self._archive.close)
        stack.callback(self._driver.stop)
        self._group.connect_members()
        self._driver.start(self._tick)
        parts = self._parts()
        front.metrics.watch_node(lambda: figures_of(parts, leader_changes=self._leader_changes))
        front.metrics.watch_bounds(lambda: bounds_used(parts))
        front.metrics.watch_bounds(doors.bounds_used)
        operations = NodeOperations(
            self._identity.node,
            self._group,
            self._snapshots,
            serves_state=lambda: self._core.serves_state,
            stop=stop,
        )
        self._app = await doors.serve(self._context(front, operations), self._streams)
        logger.info("node %s of cluster %s", self._identity.node, self._identity.cluster_id)

    def _context(self, front: Front, operations: NodeOperations) -> Context:
        settings = self._settings
        limits = RateLimits(Limit(settings.orders_per_s_max, settings.order_burst))
        return Context(
            *(self._core, self._marketdata, front.metrics, front.settings, operations),
            *(self._neighbourhood.derive, self._history, limits),
        )

    def control(self) -> Control:
        """Return the socket by which the operator of this machine controls the node."""
        app = make_control_app(self._app, host=HOST)
        return Control(self._settings.data_dir, app, self._core)

    @property
    def is_leader(self) -> bool:
        """Whether this node leads the group now."""
        return bool(self._group.role == "leader")

    @property
    def was_removed_before(self) -> bool:
        """Whether this node is no member, and was none in the life of this process."""
        return self._group.is_removed and not self._leader_changes

    async def drain(self) -> None:
        """Hand over leadership, then finish and answer what was taken, all in the time allowed."""
        deadline_s = asyncio.get_running_loop().time() + self._settings.drain_seconds
        self._core.drain()
        self._streams.going_away()
        self._group.hand_over()
        await _until(lambda: not self._group.is_handing_over, deadline_s)
        self._doors.stop()
        self._events.stop()
        await self._doors.serve_the_last()
        self._pipeline.drain()
        await _until(lambda: self._pipeline.is_idle, deadline_s)
        self._streams.close()
        await self._events.close(within_s=0)
        await self._doors.close(within_s=deadline_s - asyncio.get_running_loop().time())

    # The wires ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            now_s = asyncio.get_running_loop().time()
            self._reserve.observe(now_s)
            self._pipeline.set_read_only(not self._reserve.has_room)
            self._pipeline.tick(now_s=now_s, now_us=now_us(), next_due_us=self._state.next_due_us())
            self._witness.tick(now_s=now_s)
            self._offer_beginnings(now_s)
            self._group.do_tick()
        except Exception as error:
            fail(error)

    def _offer_beginnings(self, now_s: float) -> None:
        """Propose, as the leader, what an exchange needs that has no market or no operator."""
        if not self.is_leader:
            return
        version, founding, first = self._state.version, self._founding, self._first_key
        if founding.is_due(self._marketdata.markets, version=version, now_s=now_s):
            self._pipeline.submit(founding.requests, founding.answered, now_s=now_s)
        if first and first.is_due(self._marketdata.keys, version=version, now_s=now_s):
            self._pipeline.submit(first.requests, first.answered, now_s=now_s)

    def _on_fellow(self, said: Statement) -> None:
        self._welcome.on_fellow(said, now_s=asyncio.get_running_loop().time())

    def _on_leader_changed(self, leader: str | None) -> None:
        told = {"leader": leader or "none", "term": self._group.term}
        logger.info("leader: %(leader)s, term %(term)d", told, extra=told)
        self._leader_changes += 1
        self._pipeline.leader_changed(leader, now_s=asyncio.get_running_loop().time())

    def _applied(self, applied: Applied) -> None:
        self._witness.applied(applied)
        if not self._core.serves_state:
            self._streams.end_all("state_divergence")
        if self._fence.is_up:
            return  # nobody is told what came of a state that differs
        if self._history is not None:
            self._history.applied(applied)
        self._feed.applied(applied)
        self._streams.applied()
        self._core.applied(applied)

    def _restored(self) -> None:
        if self._history is not None:
            self._history.restored(self._state.exchange.sequence)
        self._feed.restored()
        self._streams.applied()
        self._core.restored()

    def _parts(self) -> Parts:
        return Parts(
            core=self._core,
            pipeline=self._pipeline,
            state=self._state,
            replica=self._replica,
            group=self._group,
            journal=self._journal,
            snapshots=self._snapshots,
            archive=self._archive,
            transport=self._transport,
            driver=self._driver,
            fence=self._fence,
            events=self._events,
        )

    def _on_propose_refused(self) -> None:
        self._pipeline.propose_refused(now_s=asyncio.get_running_loop().time())


async def _until(claim: Callable[[], bool], deadline_s: float) -> None:
    """Wait for something that ticks decide and nobody announces; give up at `deadline_s`."""
    loop = asyncio.get_running_loop()
    while not claim() and loop.time() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


def now_us() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000


def elapsed_us() -> int:
    """Return the time since this machine started, asleep or awake; nobody can set it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
