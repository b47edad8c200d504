"""What the parts of a node hand to the metrics when these are scraped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from raft_exchange.metrics.durations import Durations


class MarketFigures(NamedTuple):
    """One market, in quote and base units, for display only: prices None where a side is empty.

    `depth` is what the best levels of each side hold, `trades` all that were ever made.
    """

    name: str
    best_bid: float | None
    best_ask: float | None
    levels: Mapping[str, int]
    orders: Mapping[str, int]
    depth: Mapping[str, float]
    trades: int
    day_quantity: float
    day_notional: float
    day_trades: int


class ExchangeFigures(NamedTuple):
    """What the exchange counts: `orders` by (side, type), `refusals` by code.

    `shown` are the markets with rows of their own; there may be more.
    """

    sequence: int
    time_us: int
    markets: int
    accounts: int
    live_orders: int
    trades: int
    orders: Mapping[tuple[str, str], int]
    refusals: Mapping[str, int]
    shown: Sequence[MarketFigures]


STREAM_TRANSPORTS: Final = ("sse", "websocket", "seed_events")


class StreamFigures(NamedTuple):
    """What the hub of the streams counts: `subscribers` by transport."""

    subscribers: Mapping[str, int]
    channels: int
    cut_off: int
    queued_bytes: int
    queue_bytes_longest: int
    history_changes: int
    history_bytes: int


class NodeFigures(NamedTuple):
    """What the node counts: by peer for `peers` and `match_lag`, by direction for the wire.

    `unbalanced_assets` are those of which the balances are not what came in less what left.
    `snapshots` counts by what became of them: written, installed, failed; `outcomes` counts the
    requests this node took, `proposals` the batches that they went in. `durations` has a key for
    each of `node.DURATIONS`.
    """

    role: str
    has_leader: bool
    term: int
    leader_changes: int
    election_stretch: int
    log_first_index: int
    log_last_index: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    snapshots: Mapping[str, int]
    read_only: bool
    disk_free_bytes: int
    disk_reserve_bytes: int
    peers: Mapping[str, bool]
    match_lag: Mapping[str, int]
    archive_failures: int
    archived_index: int
    divergences: int
    unbalanced_assets: int
    serves_state: bool
    commands_queued: int
    batches_in_flight: int
    ticks: int
    connections_refused: int
    proposals: Mapping[str, int]
    cycles_slow: int
    cycle_longest_s: float
    journal_segments: int
    frames: Mapping[str, int]
    bytes: Mapping[str, int]
    snapshot_bytes: int
    snapshot_time_us: int
    outcomes: Mapping[str, int]
    durations: Mapping[str, Durations]


class DiscoveryFigures(NamedTuple):
    """What discovery counts: `answers` and `announcements` by what became of them."""

    nodes_seen: int
    addresses: int
    answers: Mapping[str, int]
    announcements: Mapping[str, int]
    lookups: Mapping[str, int]
    durations: Mapping[str, Durations]


class DhtFigures(NamedTuple):
    """What the embedded grape counts: `datagrams` by direction, `contacts` by state.

    `queries` are those of others, by what they asked.
    """

    contacts: Mapping[str, int]
    queries_waiting: int
    datagrams: Mapping[str, int]
    throttled: int
    timeouts: int
    queries: Mapping[str, int]
    tokens_refused: int
    peers_stored: int
    items_stored: int


class HistoryFigures(NamedTuple):
    """What the history file counts; `behind_sequences` are applied but not covered by it."""

    rows_written: int
    rows_dropped: int
    rows_waiting: int
    failures: int
    covered_from: int
    covered_to: int
    behind_sequences: int
    pages_from_peers: int
    shipped_to: int
    shipping_failures: int
