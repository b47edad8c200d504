"""The composition root: builds one node, starts it in order, stops it in reverse; no logic.

Everything runs on one event loop: Raft, matcher, journal and HTTP. A failure that is nobody's
fault but ours ends the process at once, because a half-applied state must neither serve nor vote.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from raft_exchange import collector
from raft_exchange.config import Settings
from raft_exchange.descriptors import TooFewDescriptors, connections_affordable
from raft_exchange.exits import EXIT_FAILED, EXIT_OK, EXIT_STORAGE, EXIT_USAGE, fail
from raft_exchange.founding import founding_requests, log_founded
from raft_exchange.gateway.app import make_app
from raft_exchange.gateway.context import Context, has_seed_surface
from raft_exchange.gateway.context import Settings as GatewaySettings
from raft_exchange.gateway.grenache_events import EventFeed, make_events_app
from raft_exchange.gateway.listener import Listener
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.metrics import Metrics, NodeFigures
from raft_exchange.raft.disk_reserve import MIB, DiskReserve
from raft_exchange.raft.driver import Driver
from raft_exchange.raft.group import Group
from raft_exchange.raft.handshake import Credentials
from raft_exchange.raft.hooks import Hooks, Timing
from raft_exchange.raft.identity import Identity, IdentityError, IdentityFile
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import check_library
from raft_exchange.raft.members import Membership
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.snapshot_store import SnapshotStore, SnapshotsUnusable
from raft_exchange.raft.snapshot_writer import ForkedWriter
from raft_exchange.raft.snapshots import Pace, Snapshots
from raft_exchange.raft.storage import PATH_ERRORS, Directory, DirectoryInUse, StorageFailed
from raft_exchange.raft.transport import PeerTransport
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.core import NodeCore
from raft_exchange.sequencer.pipeline import Pipeline
from raft_exchange.sequencer.replica import LeaderClock, Replica
from raft_exchange.sequencer.state import ReplicatedState
from raft_exchange.sequencer.witness import Witness

POLL_S: Final = 0.02
SUBSCRIBERS_SHARE: Final = 8
"""One in so many connections may be a Grenache subscriber's."""

logger = logging.getLogger(__name__)


def run_node(settings: Settings, secret: bytes, *, lifeline: int | None = None) -> int:
    """Run a node until SIGTERM, SIGINT or the end of the pipe `lifeline`; return its exit code."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        check_library()
        collector.spare_the_old()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, secret, lifeline))
    except (IdentityError, DirectoryInUse) as error:
        logger.error("data_dir: %s", error)
        return EXIT_USAGE
    except (_WrongSetting, TooFewDescriptors) as error:
        logger.error("%s", error)
        return EXIT_USAGE
    except (StorageFailed, JournalCorrupt, SnapshotsUnusable, OSError) as error:
        logger.critical("storage failed: %s", error)
        return EXIT_STORAGE
    except (RuntimeError, NewerVersion) as error:
        logger.critical("%s", error)
        return EXIT_FAILED
    return EXIT_OK


class _WrongSetting(Exception):
    """This machine does not allow what a setting says; the message names the setting."""


def _stop_event(lifeline: int | None) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def on_end(descriptor: int) -> None:
        logger.warning("whoever started this node is gone; it stops as well")
        loop.remove_reader(descriptor)
        stop.set()

    if lifeline is not None:
        loop.add_reader(lifeline, on_end, lifeline)  # nothing is ever written to it
    return stop


async def _serve(settings: Settings, secret: bytes, lifeline: int | None) -> None:
    stop = _stop_event(lifeline)
    connections_max = connections_affordable()
    async with AsyncExitStack() as stack:
        ids = sorted(member.id for member in settings.members)
        identity = _claim(settings, ids)
        journal = Journal(
            Directory.ensure(settings.data_dir / "journal"),
            durability="fsync" if settings.durability == "fsync" else "os",
        )
        stack.callback(journal.close)
        addresses = {member.id: member.raft_endpoint() for member in settings.members}
        driver = Driver()
        transport = PeerTransport(
            # The ids are part of what is proved: members of another list are strangers.
            Credentials(settings.node_id, f"{settings.cluster}: {' '.join(ids)}", secret),
            listen=(settings.raft_host, settings.raft_port),
            resolve=addresses.get,
            wake=driver.wake,
            jitter=random.random,
        )
        stack.push_async_callback(transport.stop)
        await _bind(transport.start(), host="raft_host", port="raft_port")
        node = _Node(settings, identity, journal, transport, driver)
        await node.start(stack, connections_max=connections_max)
        await stop.wait()
        await node.drain()
    logger.info("stopped")


def _claim(settings: Settings, ids: Sequence[str]) -> Identity:
    try:
        file = IdentityFile.open(
            settings.data_dir,
            cluster=settings.cluster,
            name=settings.node_id,
            node_id=settings.node_id,
            now_us=_now_us(),
        )
        file.found_with(ids)
        return file.current
    except OSError as error:
        if error.errno not in PATH_ERRORS:
            raise
        folder = settings.data_dir
        raise _WrongSetting(f"data_dir: cannot use {str(folder)!r}: {error.strerror}") from error


class _Node:
    """The parts of one node and the wires between them."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        journal: Journal,
        transport: PeerTransport,
        driver: Driver,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._transport = transport
        self._driver = driver
        self._leader_changes = 0
        self._reserve = DiskReserve(settings.disk_reserve_mib * MIB, journal.free_bytes)
        self._metrics = Metrics()
        self._metrics.watch_node(self._figures)
        self._marketdata = MarketData()
        self._feed = EventFeed(self._marketdata)
        self._state = ReplicatedState()
        self._replica = Replica(self._state, self._marketdata, on_applied=self._applied)
        self._group = self._make_group()
        self._snapshots = self._restore()
        self._pipeline = Pipeline(
            node=settings.node_id,
            boot=identity.boot,
            log=self._group,
            wake=self._driver.wake,
            encode=self._state.write,
        )
        self._witness = Witness(node=settings.node_id, state=self._state, group=self._group)
        self._pipeline.restored(
            *self._state.session_of(settings.node_id), now_s=asyncio.get_running_loop().time()
        )
        self._core = NodeCore(
            membership=Membership(settings.cluster, settings.node_id, settings.members),
            state=self._state,
            pipeline=self._pipeline,
            group=self._group,
            driver=driver,
            reserve=self._reserve,
        )

    def _make_group(self) -> Group:
        return Group(
            self_id=self._settings.node_id,
            member_ids=[member.id for member in self._settings.members],
            journal=self._journal,
            transport=self._transport,
            timing=Timing(),
            hooks=self._hooks(),
        )

    def _hooks(self) -> Hooks:
        return Hooks(
            admit=LeaderClock(_now_us, self._state).admit,
            apply=self._replica.apply,
            leader_changed=self._on_leader_changed,
            propose_refused=self._on_propose_refused,
            wake=self._driver.wake,
            fail=fail,
            restored=self._restored,
            has_room=lambda: self._reserve.has_room,
        )

    def _restore(self) -> Snapshots:
        """Put the newest snapshot in place."""
        settings = self._settings
        ids = sorted(member.id for member in settings.members)
        snapshots = Snapshots(
            SnapshotStore(
                Directory.ensure(settings.data_dir / "snapshots"), cluster=settings.cluster
            ),
            log=self._journal,
            machine=self._replica,
            writer=ForkedWriter(),
            pace=Pace(
                settings.snapshot_entries,
                settings.snapshot_mib * 1024 * 1024,
                ids.index(settings.node_id),
                len(ids),
            ),
        )
        with collector.at_rest():
            self._group.keep_snapshots(snapshots)
        return snapshots

    async def start(self, stack: AsyncExitStack, *, connections_max: int) -> None:
        """Serve HTTP and join the group; `stack` undoes it in reverse."""
        settings = self._settings
        context = Context(self._core, self._marketdata, self._metrics, self._gateway_settings())
        stack.callback(self._snapshots.stop)
        stack.callback(self._driver.stop)
        subscribers_max = connections_max // SUBSCRIBERS_SHARE
        self._listener = Listener(
            make_app(context), self._metrics, connections_max=connections_max - subscribers_max
        )
        stack.push_async_callback(self._listener.close, within_s=0)
        self._events = Listener(
            make_events_app(self._feed), self._metrics, connections_max=subscribers_max
        )
        stack.push_async_callback(self._events.close, within_s=0)
        await _bind(
            self._listener.start(settings.host, settings.http_port), host="host", port="http_port"
        )
        if has_seed_surface(context.settings):
            await _bind(
                self._events.start(settings.host, settings.pubsub_port),
                host="host",
                port="pubsub_port",
            )
        for member in settings.members:
            if member.id != settings.node_id:
                self._transport.addNode(self._group.node(member.id))
        self._driver.start(self._tick)
        logger.info(
            "node %s of cluster %s serves http://%s:%d",
            settings.node_id,
            settings.cluster,
            settings.host,
            settings.http_port,
        )

    async def drain(self) -> None:
        """Hand over leadership, then finish and answer what was taken, all in the time allowed."""
        deadline_s = asyncio.get_running_loop().time() + self._settings.drain_seconds
        self._core.drain()
        self._group.hand_over()
        await _until(lambda: not self._group.is_handing_over, deadline_s)
        self._listener.stop()
        self._events.stop()
        await self._listener.serve_the_last()
        self._pipeline.drain()
        await _until(lambda: self._pipeline.is_idle, deadline_s)
        await self._events.close(within_s=0)
        await self._listener.close(within_s=deadline_s - asyncio.get_running_loop().time())

    # The wires ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            now_s = asyncio.get_running_loop().time()
            self._reserve.observe(now_s)
            self._pipeline.set_read_only(not self._reserve.has_room)
            self._pipeline.tick(
                now_s=now_s, now_us=_now_us(), next_due_us=self._state.next_due_us()
            )
            self._witness.tick(now_s=now_s)
            self._group.do_tick()
        except Exception as error:
            fail(error)

    def _on_leader_changed(self, leader: str | None) -> None:
        logger.info("leader: %s, term %d", leader or "none", self._group.term)
        self._leader_changes += 1
        self._pipeline.leader_changed(leader, now_s=asyncio.get_running_loop().time())
        founding = self._settings.founding_markets
        if founding and leader == self._settings.node_id and not self._marketdata.markets:
            self._pipeline.submit(
                founding_requests(founding),
                lambda outcomes: log_founded(founding, outcomes),
                now_s=asyncio.get_running_loop().time(),
            )

    def _applied(self, applied: Applied) -> None:
        self._feed.applied(applied)
        self._core.applied(applied)

    def _restored(self) -> None:
        self._feed.restored()
        self._core.restored()

    def _figures(self) -> NodeFigures:
        status, stats = self._core.status(), self._transport.stats
        return NodeFigures(
            role=status.role,
            has_leader=bool(status.leader),
            term=status.term,
            leader_changes=self._leader_changes,
            log_first_index=self._journal.first_index,
            log_last_index=self._journal.last_index,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            snapshot_index=status.snapshot_index,
            snapshots={
                "written": self._snapshots.written,
                "installed": self._snapshots.installed,
                "failed": self._snapshots.failures,
            },
            read_only=status.read_only,
            disk_free_bytes=status.disk_free_bytes,
            disk_reserve_bytes=status.disk_reserve_bytes,
            peers={m.id: m.reachable for m in status.members if m.id != status.node},
            match_lag={m.id: m.match_lag or 0 for m in status.members if m.id != status.node},
            commands_queued=self._pipeline.commands_queued,
            batches_in_flight=self._pipeline.batches_in_flight,
            ticks=self._driver.ticks,
            loop_lag_s=self._driver.loop_lag_s,
            connections_refused=sum(stats.refused.values()),
            frames={"in": stats.frames_in, "out": stats.frames_out},
            bytes={"in": stats.bytes_in, "out": stats.bytes_out},
        )

    def _on_propose_refused(self) -> None:
        self._pipeline.propose_refused(now_s=asyncio.get_running_loop().time())

    def _gateway_settings(self) -> GatewaySettings:
        settings = self._settings
        return GatewaySettings(
            node=settings.node_id,
            default_market=settings.founding_markets[0].market if settings.founding_markets else "",
            seed_services=settings.seed_services,
            allowed_hosts=frozenset({settings.host}),
            cors_origins=frozenset(settings.cors_origins),
        )


async def _bind(start: Awaitable[None], *, host: str, port: str) -> None:
    """Await `start`; say which of two settings is to blame where it cannot listen."""
    try:
        await start
    except OSError as error:
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        setting = host if is_host else port
        raise _WrongSetting(f"{setting}: cannot listen: {error.strerror}") from error


async def _until(claim: Callable[[], bool], deadline_s: float) -> None:
    """Wait for something that ticks decide and nobody announces; give up at `deadline_s`."""
    loop = asyncio.get_running_loop()
    while not claim() and loop.time() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


def _now_us() -> int:
    return time.time_ns() // 1_000
