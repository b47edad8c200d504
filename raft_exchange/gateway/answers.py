"""The bodies of answers: the types that handlers fill and `/openapi.json` describes."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from raft_exchange.decoding.errors import ProblemView
from raft_exchange.gateway.rendering import MarketView, OrderView, TradeView


class OrderAnswer(TypedDict):
    """One order, as of a sequence."""

    order: OrderView
    sequence: int


class PlacedAnswer(TypedDict):
    """An order as it stands at the end of its command, and its own trades."""

    order: OrderView
    trades: list[TradeView]
    sequence: int


class RehearsedOrderView(TypedDict):
    """An order as it would be accepted: null is what only sequencing can give."""

    order_id: str | None
    client_order_id: str | None
    account: str
    market: str
    side: str
    type: str
    time_in_force: str
    price: str | None
    stop_price: str | None
    quantity: str
    quote_quantity: str | None
    filled_quantity: str
    remaining_quantity: str
    average_price: str | None
    display_quantity: str | None
    oco_order_id: str | None
    expires_at: str | None
    post_only: bool
    self_trade_prevention: str
    status: str
    created_at: str | None
    updated_at: str | None
    sequence: int | None


class RehearsedAnswer(TypedDict):
    """What a dry run found: nothing was sequenced."""

    order: RehearsedOrderView
    trades: list[TradeView]
    sequence: None


class RehearsedPairAnswer(TypedDict):
    """What a dry run of two orders found: nothing was sequenced."""

    orders: list[RehearsedOrderView]
    trades: list[TradeView]
    sequence: None


class BatchItem(TypedDict):
    """What became of one order of a batch: as for a single one, or why it was refused."""

    order: NotRequired[OrderView]
    trades: NotRequired[list[TradeView]]
    sequence: NotRequired[int]
    error: NotRequired[ProblemView]


class BatchAnswer(TypedDict):
    """What became of each order of a batch, in its order."""

    results: list[BatchItem]
    sequence: int


class PairAnswer(TypedDict):
    """The limit order and the stop, and their trades."""

    orders: list[OrderView]
    trades: list[TradeView]
    sequence: int


class ReplacedAnswer(TypedDict):
    """The new order, the one it replaced, and the new one's trades."""

    order: OrderView
    replaced: OrderView
    trades: list[TradeView]
    sequence: int


class CanceledAnswer(TypedDict):
    """All orders that were canceled."""

    canceled: list[OrderView]
    sequence: int


class SwitchAnswer(TypedDict):
    """When the dead-man switch will cancel the account's orders; null: it is disarmed."""

    account: str
    cancel_at: str | None
    sequence: int


class OrdersPage(TypedDict):
    """Orders, newest first; `cursor` asks for those before them, null at the end."""

    orders: list[OrderView]
    cursor: str | None
    sequence: int


class TradesPage(TypedDict):
    """Trades, newest first; `cursor` is the `before` of the next page, null at the end."""

    trades: list[TradeView]
    cursor: str | None
    sequence: int


class MarketsAnswer(TypedDict):
    """Every market."""

    markets: list[MarketView]
    sequence: int


class MarketAnswer(MarketView):
    """One market, as of a sequence."""

    sequence: int


class TimeAnswer(TypedDict):
    """The logged clock."""

    time: str
    sequence: int


BookRow = Annotated[list[str | int], Meta(min_length=3, max_length=3)]


class BookAnswer(TypedDict):
    """A book, best first: rows are price, quantity and the number of orders, or an order's id.

    `checksum` is the CRC-32 (as zlib computes it) of the ten best levels of each side: ASCII text
    `price:quantity` of the bids, best first, then of the asks, joined by `:`.
    """

    market: str
    sequence: int
    time: str
    bids: list[BookRow]
    asks: list[BookRow]
    checksum: int


class MemberView(TypedDict):
    """What a node knows of a member; null where it knows nothing."""

    id: str
    raft_address: str
    http_url: str
    reachable: bool
    seen_age_ms: int | None
    match_lag: int | None
    fenced: bool
    votes: bool


class ClusterAnswer(TypedDict):
    """One node's view of the cluster."""

    cluster: str
    cluster_id: str
    node: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    sequence: int
    state_hash: str | None
    checkpoint_sequence: int | None
    event_digest: str | None
    standing: str
    version: int
    version_newest: int
    draining: bool
    read_only: bool
    removed: bool
    leader_contact_age_ms: int | None
    members: list[MemberView]


class SnapshotAnswer(TypedDict):
    """A snapshot was asked for: it is written when the two indexes have met."""

    node: str
    applied_index: int
    snapshot_index: int


class LeaderAnswer(TypedDict):
    """Who leads now."""

    node: str
    leader: str | None


class DrainAnswer(TypedDict):
    """The node stops; its process ends when what it took is finished."""

    node: str
    draining: bool


class VoterView(TypedDict):
    """A member of the group, and whether it votes already."""

    id: str
    votes: bool


class MembersAnswer(TypedDict):
    """The members once the change was committed."""

    members: list[VoterView]


class HistoryRow(TypedDict):
    """A trade or the end of an order, at its place in the log."""

    sequence: int
    index: int
    time: str
    trade: NotRequired[TradeView]
    order: NotRequired[OrderView]


class HistoryAnswer(TypedDict):
    """What the history file keeps of a run of sequences, both ends included."""

    cluster_id: str
    from_sequence: int
    to_sequence: int
    rows: list[HistoryRow]


class LifeAnswer(TypedDict):
    """Whether the node is alive."""

    status: str


class CheckView(TypedDict):
    """One thing that must be so for the node to serve."""

    name: str
    passed: bool
    detail: str


class ReadinessAnswer(TypedDict):
    """Whether clients should be sent here, and if not, why."""

    status: str
    reason: NotRequired[str]
    checks: NotRequired[list[CheckView]]


class IntroductionView(TypedDict):
    """Who a node is; to whoever asked with a nonce, with the proof that it is of the cluster."""

    statement: dict[str, Any]
    nonce: str
    proof: str


class SeedOrderView(TypedDict):
    """An order in the seed's words; `quantity` is what is left of it."""

    id: str
    order_id: str
    side: str
    type: str
    price: float | None
    quantity: float
    peerId: str
    timestamp: int
    status: str


class SeedTradeView(TypedDict):
    """A trade in the seed's words."""

    id: str
    pair: str
    price: float
    quantity: float
    buyOrderId: str
    sellOrderId: str
    buyPeerId: str
    sellPeerId: str
    timestamp: int


class SeedState(TypedDict):
    """The book and the last trades in the seed's words."""

    pair: str
    timestamp: int
    bids: list[SeedOrderView]
    asks: list[SeedOrderView]
    bestBid: SeedOrderView | None
    bestAsk: SeedOrderView | None
    spread: float | None
    peerId: str
    sequence: int
    trades: list[SeedTradeView]


class SeedPlaced(TypedDict):
    """What became of an order, in the seed's words and in ours."""

    ok: bool
    trades: list[SeedTradeView]
    remainder: SeedOrderView | None
    status: str
    orderId: str
    order: OrderView
    sequence: int


class SeedCanceled(TypedDict):
    """The order that was canceled; null where nothing was."""

    ok: bool
    cancelled: SeedOrderView | None


class SeedFailure(TypedDict):
    """Why nothing was done; `code` where the seed's words have none."""

    ok: bool
    error: str
    code: NotRequired[str]
    cancelled: NotRequired[None]
