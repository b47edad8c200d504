"""Rows of the node: its Raft group, disk and loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from raft_exchange.metrics.figures import NodeFigures

ROLES: Final = ("leader", "follower", "candidate")
DURATIONS: Final = {
    "order_ack_duration": "From a request's arrival at the queue to its committed outcome",
    "commit_duration": "From a batch's first proposal to its being applied here",
    "match_duration": "What the state machine took for one entry of the log",
    "apply_duration": "What one entry took in all, its events folded and told",
    "journal_sync_duration": "What one write and sync of the journal took",
    "cycle_duration": "What one tick took: replication, applying, answering, syncing",
    "snapshot_duration": "From the begin of a snapshot to its being synced, or given up",
    "gc_pause": "How long Python's cycle collector held up the process",
    "loop_lag": "How late the loop ran its timers",
}
"""Name and help text of each histogram of `NodeFigures.durations`."""


class NodeCollector(Collector):
    """Reads the figures at each scrape."""

    def __init__(self, read: Callable[[], NodeFigures]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Name no rows beforehand."""
        return []  # the node is not complete yet when this is registered

    def collect(self) -> Iterator[Metric]:
        """Give the rows, as of now."""
        figures = self._read()
        for name, text, value in (
            ("raft_has_leader", "1 while this node knows a leader", figures.has_leader),
            ("raft_term", "Current Raft term", figures.term),
            (
                "raft_election_stretch",
                "Times the usual wait for a leader or votes: above 1 where members are slow",
                figures.election_stretch,
            ),
            ("raft_log_first_index", "Index of the first entry held", figures.log_first_index),
            ("raft_log_last_index", "Index of the last entry held", figures.log_last_index),
            ("raft_commit_index", "Greatest index known to be committed", figures.commit_index),
            ("raft_applied_index", "Index of the last applied entry", figures.applied_index),
            ("archived_index", "Last entry archived since the start", figures.archived_index),
            ("serves_state", "0 while this node's state may differ", figures.serves_state),
            (
                "unbalanced_assets",
                "Assets whose balances are not what came in less what left: a bug",
                figures.unbalanced_assets,
            ),
            ("snapshot_index", "Last entry in the newest snapshot", figures.snapshot_index),
            ("read_only", "1 while the disk's reserve is touched", figures.read_only),
            ("disk_free_bytes", "Free space for the data folder", figures.disk_free_bytes),
            ("disk_reserve_bytes", "Kept free of new orders", figures.disk_reserve_bytes),
            ("commands_queued", "Commands that wait for a batch", figures.commands_queued),
            ("batches_in_flight", "Batches on their way", figures.batches_in_flight),
            ("cycle_longest_seconds", "Longest tick of late", figures.cycle_longest_s),
            ("journal_segments", "Files of the journal", figures.journal_segments),
            ("snapshot_size_bytes", "Size of the newest snapshot", figures.snapshot_bytes),
            (
                "snapshot_timestamp_seconds",
                "Logged time of the newest snapshot, 0 without one",
                figures.snapshot_time_us / 1e6,
            ),
        ):
            yield GaugeMetricFamily(f"raft_exchange_{name}", text, value=float(value))
        for name, text, value in (
            ("raft_leader_changes", "Leaders seen, none included", figures.leader_changes),
            ("archive_failures", "Pieces the archive did not take", figures.archive_failures),
            ("state_divergence", "Members seen to differ, this included", figures.divergences),
            ("raft_ticks", "Ticks of the Raft group", figures.ticks),
            ("cycles_slow", "Ticks that took 50 ms or longer", figures.cycles_slow),
            ("raft_connections_refused", "Failed handshakes", figures.connections_refused),
        ):
            yield CounterMetricFamily(f"raft_exchange_{name}", text, value=value)
        yield from self._labelled(figures)

    def _labelled(self, figures: NodeFigures) -> Iterator[Metric]:
        role = GaugeMetricFamily("raft_exchange_raft_role", "1 for its role", labels=("role",))
        for name in ROLES:
            role.add_metric((name,), float(name == figures.role))
        yield role
        connected = GaugeMetricFamily(
            "raft_exchange_raft_peer_connected", "1 while a member is connected", labels=("peer",)
        )
        lag = GaugeMetricFamily(
            "raft_exchange_raft_match_lag_entries",
            "Entries a member lacks, on the leader",
            labels=("peer",),
        )
        for peer, is_connected in figures.peers.items():
            connected.add_metric((peer,), float(is_connected))
            lag.add_metric((peer,), figures.match_lag[peer])
        yield connected
        yield lag
        snapshots = CounterMetricFamily(
            "raft_exchange_snapshots", "Snapshots, by what became of them", labels=("outcome",)
        )
        for outcome, value in figures.snapshots.items():
            snapshots.add_metric((outcome,), value)
        yield snapshots
        for name, text, values in (
            ("frames", "Raft frames", figures.frames),
            ("bytes", "Bytes of Raft frames", figures.bytes),
        ):
            family = CounterMetricFamily(f"raft_exchange_raft_{name}", text, labels=("direction",))
            for direction, value in values.items():
                family.add_metric((direction,), value)
            yield family
        for name, text, values in (
            ("requests", "Requests to the log, by outcome", figures.outcomes),
            ("proposals", "Batches handed to a leader, by what became of it", figures.proposals),
        ):
            family = CounterMetricFamily(f"raft_exchange_{name}", text, labels=("outcome",))
            for outcome, value in values.items():
                family.add_metric((outcome,), value)
            yield family
        for name, text in DURATIONS.items():
            took = figures.durations[name]
            yield HistogramMetricFamily(
                f"raft_exchange_{name}_seconds", text, buckets=took.buckets(), sum_value=took.sum_s
            )
