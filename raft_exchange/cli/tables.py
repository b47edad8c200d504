"""What the trading commands print: tables of orders, trades, books and markets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from raft_exchange.client import (
    Account,
    Book,
    Cluster,
    Fill,
    Level,
    Market,
    Member,
    Members,
    Order,
    Trade,
)

PIPED_WIDTH: Final = 200
"""Columns where the output is no terminal: nothing is cut off for who reads on."""
BAR_WIDTH: Final = 24
SIDE_STYLES: Final = {"buy": "green", "sell": "red"}


def make_console() -> Console:
    """Return the console of standard output."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def show(*parts: RenderableType) -> None:
    """Print `parts` on standard output."""
    make_console().print(*parts, sep="\n")


def decimal_text(value: Decimal | None) -> str:
    """Return a decimal without an exponent, `-` for none."""
    return "-" if value is None else f"{value:f}"


def places_of(values: Iterable[Decimal]) -> int:
    """Return how many digits after the point a column of these values takes."""
    return max((max(0, -int(value.as_tuple().exponent)) for value in values), default=0)


def time_text(time: datetime | None) -> str:
    """Return a time of day, UTC."""
    return "-" if time is None else time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _table(*columns: str, left: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def order_table(orders: Iterable[Order]) -> RenderableType:
    """Return a table of orders."""
    words = ("market", "side", "type", "status", "label")
    table = _table(
        *("order", "market", "side", "type", "price", "quantity", "filled", "average", "status"),
        *("updated (UTC)", "label"),
        left=words,
    )
    for order in orders:
        table.add_row(
            order.order_id,
            order.market,
            Text(order.side, SIDE_STYLES[order.side]),
            order.type,
            decimal_text(order.price),
            decimal_text(order.quantity),
            decimal_text(order.filled_quantity),
            decimal_text(order.average_price),
            order.status,
            time_text(order.updated_at),
            Text(order.client_order_id or ""),
        )
    return table if table.row_count else Text("no orders")


def trade_table(trades: Iterable[Trade]) -> RenderableType:
    """Return a table of trades."""
    table = _table("trade", "time (UTC)", "price", "quantity", "taker", left=("taker",))
    shown = list(trades)
    places = places_of(trade.price for trade in shown)
    for trade in shown:
        style = SIDE_STYLES[trade.taker_side]
        table.add_row(
            trade.trade_id,
            time_text(trade.time),
            Text(f"{trade.price:.{places}f}", style),
            decimal_text(trade.quantity),
            Text(trade.taker_side, style),
        )
    return table if table.row_count else Text("no trades")


def account_table(account: Account) -> RenderableType:
    """Return an account's balances."""
    table = _table("asset", "free", "held", left=("asset",))
    for asset, balance in sorted(account.balances.items()):
        table.add_row(asset, decimal_text(balance.free), decimal_text(balance.held))
    title = Text(f"{account.account}{' (frozen)' if account.frozen else ''}", "bold")
    if account.scopes is not None:
        title.append(f"  the key may {', '.join(account.scopes)}", "dim")
    return Group(title, table if table.row_count else Text("no balances"))


def fill_table(fills: Iterable[Fill]) -> RenderableType:
    """Return a table of one's own fills."""
    words = ("market", "side", "liquidity")
    table = _table(
        *(
            "trade",
            "time (UTC)",
            "market",
            "order",
            "side",
            "price",
            "quantity",
            "liquidity",
            "fee",
        ),
        left=words,
    )
    for fill in fills:
        table.add_row(
            fill.trade_id,
            time_text(fill.time),
            fill.market,
            fill.order_id,
            Text(fill.side, SIDE_STYLES[fill.side]),
            decimal_text(fill.price),
            decimal_text(fill.quantity),
            fill.liquidity,
            f"{decimal_text(fill.fee)} {fill.fee_asset}",
        )
    return table if table.row_count else Text("no fills")


def market_table(markets: Iterable[Market]) -> RenderableType:
    """Return a table of markets."""
    table = _table(
        *(
            "market",
            "status",
            "tick",
            "lot",
            "lowest price",
            "highest price",
            "smallest",
            "largest",
        ),
        *("least amount",),
        left=("market", "status"),
    )
    for market in markets:
        numbers = (
            *(market.tick_size, market.lot_size, market.min_price, market.max_price),
            *(market.min_quantity, market.max_quantity, market.min_notional),
        )
        table.add_row(market.market, market.status, *map(decimal_text, numbers))
    return table if table.row_count else Text("no markets")


def cluster_view(cluster: Cluster) -> RenderableType:
    """Return a node's view of its cluster; `lag` is in entries, and known on the leader alone."""
    title = f"{cluster.cluster} {cluster.cluster_id}, seen by {cluster.node} ({cluster.role})"
    facts = [
        f"term {cluster.term}, committed {cluster.commit_index}, applied {cluster.applied_index}, "
        f"snapshot {cluster.snapshot_index}, sequence {cluster.sequence}",
        f"version {cluster.version} of {cluster.version_newest}",
    ]
    if cluster.checkpoint_sequence is not None:
        facts.append(f"agreed at sequence {cluster.checkpoint_sequence}: {cluster.state_hash}")
    words = ("id", "role", "raft", "http", "state")
    table = _table("id", "role", "raft", "http", "lag", "reachable", "state", left=words)
    for member in cluster.members:
        table.add_row(
            member.id,
            _role(cluster, member),
            member.raft_address or "-",
            member.http_url or "-",
            "-" if member.match_lag is None else str(member.match_lag),
            "yes" if member.reachable else Text("no", "red"),
            Text("fenced", "red") if member.fenced else "ok",
        )
    return Group(Text(title, "bold"), *facts, *_warnings(cluster), table)


def _role(cluster: Cluster, member: Member) -> str:
    if not member.votes:
        return "learner"
    return "leader" if member.id == cluster.leader else "voter"


def _warnings(cluster: Cluster) -> list[Text]:
    found = {
        "nobody leads": cluster.leader is None,
        "this node was removed": cluster.removed,
        "this node is read-only: its disk is nearly full": cluster.read_only,
        "this node is draining": cluster.draining,
        f"this node does not serve: it is {cluster.standing}": cluster.standing != "full",
    }
    return [Text(warning, "red") for warning, is_so in found.items() if is_so]


def members_table(members: Members) -> RenderableType:
    """Return who the members are after a change."""
    table = _table("id", "role", left=("id", "role"))
    for member in members.members:
        table.add_row(member.id, "voter" if member.votes else "learner")
    return table


def ladder(bids: Sequence[Level], asks: Sequence[Level]) -> RenderableType:
    """Return a book as a ladder: asks above, bids below, the best ones in the middle."""
    largest = max((level.quantity for level in (*bids, *asks)), default=Decimal(1))
    table = _table("orders", "quantity", "price", "", left=("",))
    places = places_of(level.price for level in (*bids, *asks))
    for level in reversed(asks):
        table.add_row(*_rung(level, largest, SIDE_STYLES["sell"], places=places))
    if bids and asks:
        spread = f"{asks[0].price - bids[0].price:.{places}f}"
        table.add_row("", "", Text(f"spread {spread}", "dim"), "")
    for level in bids:
        table.add_row(*_rung(level, largest, SIDE_STYLES["buy"], places=places))
    return table if bids or asks else Text("the book is empty")


def _rung(
    level: Level, largest: Decimal, style: str, *, places: int
) -> tuple[str, str, Text, Text]:
    width = max(1, int(BAR_WIDTH * level.quantity / largest))
    price = Text(f"{level.price:.{places}f}", f"bold {style}")
    return str(level.orders), decimal_text(level.quantity), price, Text("█" * width, style)


def book_view(book: Book) -> RenderableType:
    """Return a book with its title."""
    return Group(
        Text(f"{book.market} at sequence {book.sequence}", "bold"), ladder(book.bids, book.asks)
    )
