"""What the metrics show of a member of the group, and how much of its bounds it uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from raft_exchange import collector
from raft_exchange.gateway.listener import Listener
from raft_exchange.matching.limits import (
    ACCOUNTS_MAX,
    ICEBERGS_PER_MARKET_MAX,
    IDEMPOTENCY_BYTES_MAX,
    IDEMPOTENCY_KEYS_MAX,
    KEYS_MAX,
    MARKETS_MAX,
    NONCES_MAX,
    ORDERS_MAX,
    ORDERS_PER_MARKET_MAX,
    SESSIONS_MAX,
    STOPS_PER_MARKET_MAX,
    TRANSFERS_REMEMBERED_MAX,
)
from raft_exchange.metrics import Durations, NodeFigures
from raft_exchange.raft.admission import ADDRESSES_MAX
from raft_exchange.raft.archive import Archive
from raft_exchange.raft.changing import REQUESTS_MAX
from raft_exchange.raft.driver import Driver
from raft_exchange.raft.group import Group
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.leading import PROPOSALS_MAX
from raft_exchange.raft.members import MEMBERS_MAX
from raft_exchange.raft.progress import IN_FLIGHT_BYTES_MAX
from raft_exchange.raft.snapshot_store import SnapshotStore
from raft_exchange.raft.snapshots import Snapshots
from raft_exchange.raft.transport import PeerTransport
from raft_exchange.raft.wire import SNAPSHOT_BYTES_MAX
from raft_exchange.sequencer.batcher import IN_FLIGHT_MAX
from raft_exchange.sequencer.core import SEQUENCE_WAITERS_MAX, NodeCore
from raft_exchange.sequencer.fence import FenceFile
from raft_exchange.sequencer.pipeline import Pipeline
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState


class Parts(NamedTuple):
    """The parts of a node that are looked at; `events` is the listener of pub/sub."""

    core: NodeCore
    pipeline: Pipeline
    state: ReplicatedState
    replica: Replica
    group: Group
    journal: Journal
    snapshots: Snapshots
    archive: Archive | None
    transport: PeerTransport
    driver: Driver
    fence: FenceFile
    events: Listener


def figures_of(parts: Parts, *, leader_changes: int) -> NodeFigures:
    """Return what the node counts, as of now."""
    status, stats = parts.core.status(), parts.transport.stats
    tallies, snapshot = parts.pipeline.tallies, parts.snapshots.store.newest
    return NodeFigures(
        role=status.role,
        has_leader=bool(status.leader),
        term=status.term,
        leader_changes=leader_changes,
        election_stretch=parts.group.patience.stretch,
        log_first_index=parts.journal.first_index,
        log_last_index=parts.journal.last_index,
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        snapshot_index=status.snapshot_index,
        snapshots={
            "written": parts.snapshots.written,
            "installed": parts.snapshots.installed,
            "failed": parts.snapshots.failures,
        },
        read_only=status.read_only,
        disk_free_bytes=status.disk_free_bytes,
        disk_reserve_bytes=status.disk_reserve_bytes,
        peers={m.id: m.reachable for m in status.members if m.id != status.node},
        match_lag={m.id: m.match_lag or 0 for m in status.members if m.id != status.node},
        archive_failures=parts.archive.failures if parts.archive else 0,
        archived_index=parts.archive.archived_index if parts.archive else 0,
        divergences=parts.fence.divergences,
        unbalanced_assets=len(parts.state.exchange.state.ledger.unbalanced()),
        serves_state=parts.core.serves_state,
        commands_queued=parts.pipeline.commands_queued,
        batches_in_flight=parts.pipeline.batches_in_flight,
        ticks=parts.driver.ticks,
        connections_refused=sum(stats.refused.values()),
        proposals=tallies.proposals,
        cycles_slow=parts.driver.cycles_slow,
        cycle_longest_s=parts.driver.cycle_longest_s,
        journal_segments=parts.journal.segments,
        frames={"in": stats.frames_in, "out": stats.frames_out},
        bytes={"in": stats.bytes_in, "out": stats.bytes_out},
        snapshot_bytes=snapshot.size_bytes if snapshot else 0,
        snapshot_time_us=snapshot.header.time_us if snapshot else 0,
        outcomes=tallies.outcomes,
        durations=_durations(parts),
    )


def _durations(parts: Parts) -> Mapping[str, Durations]:
    return {
        "order_ack_duration": parts.pipeline.tallies.acks,
        "commit_duration": parts.pipeline.tallies.commits,
        "match_duration": parts.replica.match_durations,
        "apply_duration": parts.replica.apply_durations,
        "journal_sync_duration": parts.journal.sync_durations,
        "cycle_duration": parts.driver.cycles,
        "snapshot_duration": parts.snapshots.durations,
        "gc_pause": collector.PAUSES,
        "loop_lag": parts.driver.lags,
    }


def bounds_used(parts: Parts) -> Mapping[str, float]:
    """Return how much of its bounds the node uses, by names of `metrics.BOUNDS`. O(markets)."""
    return {
        "pubsub_connections": parts.events.use,
        **_of_state(parts.state),
        **_of_requests(parts.core, parts.pipeline),
        **_of_log(parts.group, parts.transport, parts.snapshots.store),
    }


def _of_state(state: ReplicatedState) -> Mapping[str, float]:
    """Return the shares of what is replicated. O(markets)."""
    exchange = state.exchange.state
    markets = exchange.markets.values()
    return {
        "markets": len(exchange.markets) / MARKETS_MAX,
        "accounts": len(exchange.live.accounts) / ACCOUNTS_MAX,
        "keys": len(exchange.keys) / KEYS_MAX,
        "orders": len(exchange.live.by_id) / ORDERS_MAX,
        "market_orders": _fullest(m.count() for m in markets) / ORDERS_PER_MARKET_MAX,
        "market_stops": _fullest(m.stops.tally.total for m in markets) / STOPS_PER_MARKET_MAX,
        "market_icebergs": _fullest(m.icebergs.total for m in markets) / ICEBERGS_PER_MARKET_MAX,
        "idempotency_keys": state.keys_remembered / IDEMPOTENCY_KEYS_MAX,
        "idempotency_bytes": state.bytes_remembered / IDEMPOTENCY_BYTES_MAX,
        "nonces": len(exchange.nonces) / NONCES_MAX,
        "transfers": len(exchange.transfers) / TRANSFERS_REMEMBERED_MAX,
        "sessions": state.sessions / SESSIONS_MAX,
    }


def _of_requests(core: NodeCore, pipeline: Pipeline) -> Mapping[str, float]:
    """Return the shares of what this node's clients use."""
    return {
        "commands_queued": pipeline.queue_use,
        "batches_in_flight": pipeline.batches_in_flight / IN_FLIGHT_MAX,
        "sequence_waiters": core.sequence_waiters / SEQUENCE_WAITERS_MAX,
    }


def _of_log(
    group: Group, transport: PeerTransport, snapshots: SnapshotStore
) -> Mapping[str, float]:
    """Return the shares of what replication uses; a leader's are 0 elsewhere."""
    newest, lead = snapshots.newest, group.leadership
    return {
        "members": len(group.configuration.members) / MEMBERS_MAX,
        "member_changes": len(group.changes) / REQUESTS_MAX,
        "proposals": (lead.proposals_queued if lead else 0) / PROPOSALS_MAX,
        "peer_bytes_in_flight": (lead.bytes_in_flight if lead else 0) / IN_FLIGHT_BYTES_MAX,
        "snapshot_bytes": (newest.size_bytes if newest else 0) / SNAPSHOT_BYTES_MAX,
        "handshake_addresses": len(transport.failures) / ADDRESSES_MAX,
    }


def _fullest(counts: Iterable[int]) -> int:
    return max(counts, default=0)
