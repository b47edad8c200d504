"""The composition root: one node as a process, from its folder to its place in the group.

Phases: open the folder (which locks it), look around through the embedded grape, form or join a
cluster unless the folder belongs to one, be a member of the group until told to stop. HTTP answers
from the second phase on: who this node is, and what it waits for. Stopped in reverse.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import uvloop

from grape import GrapeSettings
from grape.link import Link
from raft_exchange import collector
from raft_exchange.address_book import AddressBook
from raft_exchange.descriptors import TooFewDescriptors, connections_affordable, share_out
from raft_exchange.dht_network import DhtNetwork
from raft_exchange.discovery import Discovery, living_pace
from raft_exchange.doors import Doors
from raft_exchange.exits import EXIT_FAILED, EXIT_OK, EXIT_STORAGE, EXIT_USAGE, fail
from raft_exchange.first_key import FirstKey, read_key
from raft_exchange.forming import Forming
from raft_exchange.gateway.context import Front, has_seed_surface
from raft_exchange.gateway.context import Settings as GatewaySettings
from raft_exchange.gateway.grenache import (
    LEADER_SERVICES,
    SEED_SERVICES,
    exchange_service_name,
)
from raft_exchange.gateway.grenache_events import EVENTS_CHANNEL
from raft_exchange.large_pages import LargePages
from raft_exchange.listening import WrongSetting, bind, blame, probe_tcp
from raft_exchange.logs import NodeLog
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.metrics import Metrics
from raft_exchange.neighbourhood import ANY_HOST, Neighbourhood, Whereabouts
from raft_exchange.node import Node, now_us
from raft_exchange.raft.driver import Driver
from raft_exchange.raft.handshake import Credentials
from raft_exchange.raft.identity import Identity, IdentityError, IdentityFile
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import check_library
from raft_exchange.raft.proof import sign, verify
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.snapshot_store import SnapshotsUnusable
from raft_exchange.raft.storage import PATH_ERRORS, Directory, DirectoryInUse, StorageFailed
from raft_exchange.raft.transport import PeerTransport
from raft_exchange.services import Services
from raft_exchange.setting_aside import finish_setting_aside, set_aside
from raft_exchange.setting_values import url_endpoint
from raft_exchange.settings import Settings
from raft_exchange.tls import NodeTls

LOOPBACK: Final = "127.0.0.1"
LOOK_S: Final = 0.1

logger = logging.getLogger(__name__)


def run_node(settings: Settings, secret: bytes, *, lifeline: int | None = None) -> int:
    """Run a node until SIGTERM, SIGINT or the end of the pipe `lifeline`; return its exit code."""
    log = NodeLog(
        level=settings.log_level, is_json=settings.log_format == "json", name=settings.name
    )
    try:
        check_library()
        collector.spare_the_old()
        with LargePages(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(settings, secret, lifeline, log))
    except (IdentityError, DirectoryInUse) as error:
        logger.error("data_dir: %s", error)
        return EXIT_USAGE
    except (WrongSetting, TooFewDescriptors) as error:
        logger.error("%s", error)
        return EXIT_USAGE
    except (StorageFailed, JournalCorrupt, SnapshotsUnusable, OSError) as error:
        logger.critical("storage failed: %s", error)
        return EXIT_STORAGE
    except (RuntimeError, NewerVersion) as error:
        logger.critical("%s", error)
        return EXIT_FAILED
    return EXIT_OK


async def _live(settings: Settings, secret: bytes, lifeline: int | None, log: NodeLog) -> None:
    """Serve as one node after another, until told to stop: whenever that is, it counts."""
    stop = _stop_event(lifeline)
    while removed := await _serve(settings, secret, stop, log):
        if stop.is_set():
            break  # the next start sets it aside
        logger.warning("%s sets its data aside, to join as another node", removed)
        set_aside(settings.data_dir, removed)


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


async def _serve(settings: Settings, secret: bytes, stop: asyncio.Event, log: NodeLog) -> str:
    """Run until told to stop; return the node's id if it is to come back as another, else ""."""
    removed, first_key = "", _first_key(settings)
    tls = NodeTls(cert=settings.tls_cert, key=settings.tls_key, ca=settings.tls_ca)
    connections = share_out(connections_affordable())
    async with AsyncExitStack() as stack:
        journal, identity = _open_folder(settings)
        stack.callback(journal.close)
        log.name_node(identity.current.node)
        probe_tcp(settings.raft_host, settings.raft_port)
        metrics = Metrics()
        network = _network(settings, secret, tls, connections_max=connections.grape)
        discovery, neighbourhood = await _look_around(
            settings, identity, secret, network=network, stack=stack, metrics=metrics
        )
        forming = Forming(identity, discovery, state=neighbourhood.statement)
        about = _gateway_settings(settings, identity.current.node)
        front = Front(metrics, about, neighbourhood.introduce, partial(verify, secret))
        doors = Doors(
            settings,
            front,
            reason=lambda: forming.reason,
            connections_max=connections.doors,
            tls=tls.server,
        )
        stack.push_async_callback(doors.close, within_s=0)
        await doors.open()
        _reload_at_hangup(tls, doors)
        url = f"{_scheme(settings)}://{settings.host}:{settings.http_port}"
        logger.info("node %s listens on %s", identity.current.node, url)
        if await _is_bound_before(stop, forming, neighbourhood):
            driver = Driver()
            transport = _transport(settings, identity.current, secret, neighbourhood, driver)
            stack.push_async_callback(transport.stop)
            await bind(transport.start(), host="raft_host", port="raft_port")
            node = Node(settings, identity.current, journal, neighbourhood, transport, driver)
            if settings.history:
                node.keep_history(partial(sign, secret), tls.peers)
            node.grant(first_key)
            await node.start(
                stack, doors, front, subscribers_max=connections.subscribers, stop=stop.set
            )
            announced = _services(settings, is_leader=lambda: node.is_leader)
            async with node.control(), announced:
                if await _is_removed(stop, node, may_rejoin=settings.rejoin_when_removed):
                    removed = identity.current.node
            await node.drain()
    logger.info("stopped")
    return removed


def _transport(
    settings: Settings,
    own: Identity,
    secret: bytes,
    neighbourhood: Neighbourhood,
    driver: Driver,
) -> PeerTransport:
    return PeerTransport(
        Credentials(own.node, own.cluster_id, secret),
        listen=(settings.raft_host, settings.raft_port),
        resolve=neighbourhood.raft_endpoint,
        wake=driver.wake,
        jitter=random.random,
    )


async def _is_removed(stop: asyncio.Event, node: Node, *, may_rejoin: bool) -> bool:
    """Wait until told to stop, or until this node finds that it was removed before its start.

    One that is removed while it is a member waits on: it may be about to be stopped for good.
    """
    while may_rejoin and not stop.is_set():
        if node.was_removed_before:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await stop.wait()
    await stop.wait()
    return False


def _reload_at_hangup(tls: NodeTls, doors: Doors) -> None:
    """Read certificates anew at SIGHUP; without TLS it ends the process, as ever."""

    def reload() -> None:
        tls.reload()
        doors.use_tls(tls.server)

    if tls.server is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _first_key(settings: Settings) -> FirstKey | None:
    if settings.auth != "required" or settings.admin_key_file is None:
        return None
    return FirstKey(read_key(settings.admin_key_file))


def _open_folder(settings: Settings) -> tuple[Journal, IdentityFile]:
    """Open the data folder: its journal first, which locks it."""
    folder = settings.data_dir
    try:
        Directory.ensure_with_parents(folder).close()
        finish_setting_aside(folder)
        journal = Journal(
            Directory.ensure(folder / "journal"),
            durability="fsync" if settings.durability == "fsync" else "os",
        )
        try:
            return journal, IdentityFile.open(
                folder, cluster=settings.cluster, name=settings.name, now_us=now_us()
            )
        except BaseException:
            journal.close()
            raise
    except OSError as error:
        if error.errno not in PATH_ERRORS:
            raise
        raise WrongSetting(f"data_dir: cannot use {str(folder)!r}: {error.strerror}") from error


def _network(
    settings: Settings, secret: bytes, tls: NodeTls, *, connections_max: int
) -> DhtNetwork:
    """Return the DHT as this node's grape sees it; its API serves `connections_max`."""
    http_url = _http_url(settings)
    return DhtNetwork(
        GrapeSettings(
            dht_host=settings.dht_host,
            dht_port=settings.dht_port,
            api_host=settings.grape_http_host,
            api_port=settings.grape_http_port,
            bootstrap=settings.bootstrap,
            peer_age_ms=1_000 * settings.dht_peer_age_seconds,
            api_connections_max=connections_max,
        ),
        cluster=settings.cluster,
        secret=secret,
        http_port=url_endpoint(http_url)[1],
        scheme=http_url.partition("://")[0],
        tls=tls.peers,
    )


async def _look_around(
    settings: Settings,
    identity: IdentityFile,
    secret: bytes,
    *,
    network: DhtNetwork,
    stack: AsyncExitStack,
    metrics: Metrics,
) -> tuple[Discovery, Neighbourhood]:
    """Open the grape's ports and begin to look for the other nodes."""
    raft_address = settings.advertise_raft_address or f"{settings.raft_host}:{settings.raft_port}"
    stack.push_async_callback(network.stop)
    try:
        await network.start()
    except OSError as error:
        part = "dht" if network.is_api_bound else "grape_http"
        raise blame(error, host=f"{part}_host", port=f"{part}_port") from error
    discovery = Discovery(
        network, own_id=identity.current.node, peer_age_s=settings.dht_peer_age_seconds
    )
    metrics.watch_dht(network.figures)
    metrics.watch_discovery(discovery.figures)
    metrics.watch_bounds(network.bounds_used)
    metrics.watch_bounds(discovery.bounds_used)
    looking = asyncio.create_task(_guarded(discovery.run()), name="discovery")
    stack.push_async_callback(_end, looking)
    where = Whereabouts(
        expect=settings.expect, raft_address=raft_address, http_url=_http_url(settings)
    )
    return discovery, Neighbourhood(
        identity, where, discovery, book=AddressBook(settings.data_dir), secret=secret
    )


def _services(settings: Settings, *, is_leader: Callable[[], bool]) -> Services:
    """Return what announces this node's services, where it has any.

    Stock clients speak no TLS: with it, calls are announced at the Grenache port or not at all.
    """
    host = LOOPBACK if settings.grape_http_host == ANY_HOST else settings.grape_http_host
    rpc_port = settings.grenache_port
    if not rpc_port and settings.tls_cert is None:
        _, rpc_port = url_endpoint(_http_url(settings))
    names = [*SEED_SERVICES, exchange_service_name(settings.cluster)] if rpc_port else []
    ports = dict.fromkeys(names, rpc_port) | {EVENTS_CHANNEL: settings.pubsub_port}
    leader_ports = dict.fromkeys(LEADER_SERVICES if rpc_port else (), rpc_port)
    if not has_seed_surface(_gateway_settings(settings, "")):
        ports, leader_ports = {}, {}
    return Services(
        Link([f"http://{host}:{settings.grape_http_port}"]),
        ports,
        leader_ports=leader_ports,
        is_leader=is_leader,
        interval_s=living_pace(settings.dht_peer_age_seconds).announce_s,
    )


def _http_url(settings: Settings) -> str:
    """Return where others find this node's HTTP."""
    own = f"{_scheme(settings)}://{settings.host}:{settings.http_port}"
    return settings.advertise_http_url or own


def _scheme(settings: Settings) -> str:
    return "http" if settings.tls_cert is None else "https"


async def _guarded(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except Exception as error:
        fail(error)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _is_bound_before(
    stop: asyncio.Event, forming: Forming, neighbourhood: Neighbourhood
) -> bool:
    """Return whether this node belongs to a cluster before it is to stop."""
    if neighbourhood.is_bound:
        return True
    tasks = [asyncio.create_task(forming.run()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _gateway_settings(settings: Settings, node_id: str) -> GatewaySettings:
    return GatewaySettings(
        node=node_id,
        default_market=settings.founding_markets[0].market if settings.founding_markets else "",
        seed_services=settings.seed_services,
        accounts=settings.accounts,
        auth_required=settings.auth == "required",
        metrics_moved=bool(settings.metrics_port),
        require_signed_orders=settings.require_signed_orders,
        allowed_hosts=frozenset(
            {settings.host, url_endpoint(_http_url(settings))[0].lower(), *settings.allowed_hosts}
        ),
        cors_origins=frozenset(settings.cors_origins),
    )
