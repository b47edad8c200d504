"""The dashboard Consensus."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Panel, each, one, quantiles, rates

CONSENSUS: Final = Board(
    "raft-exchange-consensus",
    "Raft Exchange / Consensus",
    "Who leads, how far everyone is, and what the log costs.",
    (
        Panel(
            "Roles",
            "1 for each node's role",
            "none",
            each("raft_role", legend="{{instance}} {{role}}"),
        ),
        Panel(
            "Term", "Grows with every election", "none", each("raft_term", legend="{{instance}}")
        ),
        Panel(
            "Knows a leader",
            "0 while a node knows none",
            "bool",
            each("raft_has_leader", legend="{{instance}}"),
        ),
        Panel(
            "Leader changes",
            "Within 15 minutes, as each node saw them",
            "none",
            one("increase(raft_exchange_raft_leader_changes_total{$S}[15m])", "{{instance}}"),
            "timeseries",
            4,
        ),
        Panel(
            "Election stretch",
            "Times the usual wait for a leader or votes; above 1 where nodes are starved",
            "none",
            each("raft_election_stretch", legend="{{instance}}"),
        ),
        Panel(
            "Indexes",
            "Committed, applied, and the ends of the log",
            "none",
            each(
                "raft_commit_index",
                "raft_applied_index",
                "raft_log_first_index",
                "raft_log_last_index",
                "snapshot_index",
                "archived_index",
            ),
        ),
        Panel(
            "Apply lag",
            "Entries committed and not applied yet",
            "none",
            one(
                "raft_exchange_raft_commit_index{$S} - raft_exchange_raft_applied_index{$S}",
                "{{instance}}",
            ),
            "timeseries",
            1000,
        ),
        Panel(
            "Members behind",
            "Entries a member lacks, as the leader knows",
            "none",
            each("raft_match_lag_entries", legend="{{instance}} to {{peer}}"),
            "timeseries",
            10000,
        ),
        Panel(
            "Connections",
            "1 while a member is connected",
            "bool",
            each("raft_peer_connected", legend="{{instance}} to {{peer}}"),
        ),
        Panel(
            "Commit", "From proposal to applied", "s", quantiles("commit_duration"), warn_at=0.25
        ),
        Panel(
            "Journal",
            "One write and sync",
            "s",
            quantiles("journal_sync_duration"),
            warn_at=0.1,
        ),
        Panel("Apply", "One entry, its events folded and told", "s", quantiles("apply_duration")),
        Panel(
            "Frames",
            "Between the members",
            "ops",
            rates("raft_frames_total", "direction", "{{direction}}"),
        ),
        Panel(
            "Traffic",
            "Between the members",
            "Bps",
            rates("raft_bytes_total", "direction", "{{direction}}"),
        ),
        Panel(
            "Handshakes refused",
            "Strangers, or members with another secret",
            "ops",
            rates("raft_connections_refused_total", "instance", "{{instance}}"),
        ),
        Panel(
            "Snapshots",
            "By what became of them",
            "none",
            one(
                "sum by (outcome) (increase(raft_exchange_snapshots_total{$S}[1h]))", "{{outcome}}"
            ),
        ),
        Panel(
            "Snapshot size",
            "Of the newest",
            "bytes",
            each("snapshot_size_bytes", legend="{{instance}}"),
        ),
        Panel(
            "Snapshot age",
            "Logged time since the newest, where there is one",
            "s",
            one(
                "raft_exchange_logged_timestamp_seconds{$S}"
                " - (raft_exchange_snapshot_timestamp_seconds{$S} > 0)",
                "{{instance}}",
            ),
        ),
        Panel(
            "Snapshot writing",
            "How long one took, beside the trading",
            "s",
            quantiles("snapshot_duration"),
        ),
        Panel(
            "Journal files",
            "Fewer after each snapshot",
            "none",
            each("journal_segments", legend="{{instance}}"),
        ),
        Panel(
            "Proposals",
            "Batches handed to the leader, here or elsewhere, by what became of it",
            "ops",
            rates("proposals_total", "outcome", "{{outcome}}"),
        ),
        Panel(
            "Batches",
            "In flight, and commands waiting for one",
            "none",
            each("batches_in_flight", "commands_queued"),
        ),
        Panel(
            "State",
            "0 while a node's state may differ",
            "bool",
            each("serves_state", legend="{{instance}}"),
        ),
        Panel(
            "Archive failures",
            "Pieces of the log that the archive did not take",
            "ops",
            rates("archive_failures_total", "instance", "{{instance}}"),
        ),
    ),
)
