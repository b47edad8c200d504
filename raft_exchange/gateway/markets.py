"""Markets: their rules, books, trades and the logged clock."""

from __future__ import annotations

import zlib
from typing import Final

from aiohttp import web

from raft_exchange.decoding.decimals import format_lots, format_ticks
from raft_exchange.decoding.fields import Json, known_fields
from raft_exchange.decoding.market_schema import (
    MARKET_CHANGE_FIELDS,
    MARKET_FIELDS,
    change_market,
    market_rules,
)
from raft_exchange.decoding.times import format_time_us
from raft_exchange.gateway.answers import (
    BookAnswer,
    MarketAnswer,
    MarketsAnswer,
    TimeAnswer,
    TradesPage,
)
from raft_exchange.gateway.bodies import bad_parameter, json_object, query_of, whole_number
from raft_exchange.gateway.context import CONTEXT, Context
from raft_exchange.gateway.past import older_trades
from raft_exchange.gateway.reads import FRESHNESS, freshen, market_named, read_headers
from raft_exchange.gateway.refusals import refusal
from raft_exchange.gateway.rendering import (
    answer,
    market_view,
    trade_view,
)
from raft_exchange.gateway.submission import envelope_of, submit, write_headers
from raft_exchange.marketdata.view import Market
from raft_exchange.matching.messages import (
    ChangeMarket,
    CommandRefused,
    CreateMarket,
    MarketChanged,
    Side,
)

BOOK_DEPTH: Final = 50
BOOK_DEPTH_MAX: Final = 1_000
CHECKSUM_LEVELS: Final = 10
TRADES: Final = 100
TRADES_MAX: Final = 1_000


async def get_time(request: web.Request) -> web.Response:
    """Answer with the logged clock, the time by which orders expire."""
    context = request.app[CONTEXT]
    await freshen(context, query_of(request, FRESHNESS))
    marketdata = context.marketdata
    body: TimeAnswer = {"time": format_time_us(marketdata.time_us), "sequence": marketdata.sequence}
    return answer(body, headers=read_headers(context))


async def get_markets(request: web.Request) -> web.Response:
    """Answer with every market."""
    context = request.app[CONTEXT]
    await freshen(context, query_of(request, FRESHNESS))
    marketdata = context.marketdata
    views = [market_view(market.rules, market.status) for market in marketdata.markets.values()]
    body: MarketsAnswer = {"markets": views, "sequence": marketdata.sequence}
    return answer(body, headers=read_headers(context))


async def get_market(request: web.Request) -> web.Response:
    """Answer with one market."""
    context = request.app[CONTEXT]
    await freshen(context, query_of(request, FRESHNESS))
    market = await market_named(context, request.match_info["market"])
    body: MarketAnswer = {
        **market_view(market.rules, market.status),
        "sequence": context.marketdata.sequence,
    }
    return answer(body, headers=read_headers(context))


async def post_market(request: web.Request) -> web.Response:
    """Open a market."""
    query_of(request)
    body = await json_object(request)
    known_fields(body, MARKET_FIELDS)
    settings = request.app[CONTEXT].settings
    rules = market_rules(
        body, settles=settings.accounts, signed_orders=settings.require_signed_orders
    )
    return await _administer(request, CreateMarket(rules), sent=body, status=201)


async def patch_market(request: web.Request) -> web.Response:
    """Change a market's status or limits."""
    context = request.app[CONTEXT]
    query_of(request)
    body = await json_object(request)
    known_fields(body, MARKET_CHANGE_FIELDS)
    market = await market_named(context, request.match_info["market"])
    command = change_market(body, market.rules)
    return await _administer(request, command, sent=body, status=200)


async def _administer(
    request: web.Request, command: CreateMarket | ChangeMarket, *, sent: Json, status: int
) -> web.Response:
    context = request.app[CONTEXT]
    result = await submit(context, envelope_of(request), command)
    event = result.events[0]
    if isinstance(event, CommandRefused):
        raise refusal(event, result, sent=sent)
    assert isinstance(event, MarketChanged), event
    body: MarketAnswer = {**market_view(event.rules, event.status), "sequence": result.sequence}
    return answer(body, status=status, headers=write_headers(result))


async def get_book(request: web.Request) -> web.Response:
    """Answer with the best levels (`level=2`) or orders (`level=3`) of a book, best first."""
    context = request.app[CONTEXT]
    query = query_of(request, ("depth", "level", *FRESHNESS))
    depth = whole_number(
        "depth", query.get("depth", str(BOOK_DEPTH)), lowest=1, highest=BOOK_DEPTH_MAX
    )
    level = query.get("level", "2")
    if level not in ("2", "3"):
        raise bad_parameter("level", level, ["2", "3"])
    await freshen(context, query)
    market = await market_named(context, request.match_info["market"])
    return answer(
        book_view(context, market, depth=depth, by_order=level == "3"),
        headers=read_headers(context),
    )


def book_view(context: Context, market: Market, *, depth: int, by_order: bool) -> BookAnswer:
    """Return the best `depth` levels of a book, or its first `depth` orders, best first."""
    rows: dict[Side, list[list[str | int]]] = {}
    for side in Side:
        if by_order:
            queue = market.depth.queue(side, depth)
            rows[side] = [[*_priced(market, t, n), str(order_id)] for t, n, order_id in queue]
        else:
            levels = market.depth.levels(side, depth)
            rows[side] = [[*_priced(market, t, n), orders] for t, n, orders in levels]
    return {
        "market": market.rules.market,
        "sequence": context.marketdata.sequence,
        "time": format_time_us(context.marketdata.time_us),
        "bids": rows[Side.BUY],
        "asks": rows[Side.SELL],
        "checksum": book_checksum(market),
    }


def _priced(market: Market, ticks: int, lots: int) -> tuple[str, str]:
    rules = market.rules
    return format_ticks(ticks, rules.tick_size_e18), format_lots(lots, rules.lot_size_e18)


def book_checksum(market: Market) -> int:
    """Return the CRC-32 (IEEE 802.3, as zlib computes it) of the ten best levels of each side.

    The text under it is ASCII: `price:quantity` of up to ten bids, best first, then of up to ten
    asks, best first, all joined by `:`; decimals as they stand in the book. An empty book is "".
    """
    parts = [
        part
        for side in (Side.BUY, Side.SELL)
        for ticks, lots, _ in market.depth.levels(side, CHECKSUM_LEVELS)
        for part in _priced(market, ticks, lots)
    ]
    return zlib.crc32(":".join(parts).encode("ascii"))


async def get_trades(request: web.Request) -> web.Response:
    """Answer with trades of a market, newest first, and the cursor of the next page."""
    context = request.app[CONTEXT]
    query = query_of(request, ("limit", "before", *FRESHNESS))
    limit = whole_number("limit", query.get("limit", str(TRADES)), lowest=1, highest=TRADES_MAX)
    before = whole_number("before", query["before"]) if "before" in query else None
    await freshen(context, query)
    market = await market_named(context, request.match_info["market"])
    found = market.trades.newest(limit + 1, before=before)
    if len(found) <= limit:
        before = found[-1].executed.trade_id if found else before
        more = limit + 1 - len(found)
        found += await older_trades(context, market.rules.market, before=before, limit=more)
    shown = found[:limit]
    body: TradesPage = {
        "trades": [trade_view(trade, market.rules) for trade in shown],
        "cursor": str(shown[-1].executed.trade_id) if len(found) > limit else None,
        "sequence": context.marketdata.sequence,
    }
    return answer(body, headers=read_headers(context))
