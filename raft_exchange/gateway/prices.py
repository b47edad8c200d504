"""What a market traded at: its ticker and its candles, as JSON shows them, and their routes."""

from __future__ import annotations

from typing import Final, TypedDict

import msgspec
from aiohttp import web

from raft_exchange.decoding.decimals import format_e36, format_lots, format_ticks
from raft_exchange.decoding.fields import TIME_FORM
from raft_exchange.decoding.times import NotATime, format_time_us, parse_time_us
from raft_exchange.gateway.bodies import bad_parameter, query_of, whole_number
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.reads import FRESHNESS, freshen, market_named, read_headers
from raft_exchange.gateway.rendering import answer
from raft_exchange.marketdata.candles import CANDLES_MAX, INTERVALS_US, Candle
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.limits import TIME_US_MAX
from raft_exchange.matching.messages import MarketRules, Side

CANDLES: Final = 300


class CandleView(msgspec.Struct, frozen=True):
    """One interval that traded; `time` is its begin, `sequence` that of its last trade so far."""

    time: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    trades: int
    sequence: int


class TickerView(msgspec.Struct, frozen=True):
    """The best prices now, and the last 24 hours by whole minutes; null where nothing traded.

    `last` is the last price within the 24 hours, `change` is `last` less `open`.
    """

    market: str
    sequence: int
    time: str
    bid: str | None
    ask: str | None
    open: str | None
    high: str | None
    low: str | None
    last: str | None
    change: str | None
    volume: str
    quote_volume: str
    trades: int


class CandlesAnswer(TypedDict):
    """Candles, oldest first; intervals without a trade have none."""

    market: str
    interval: str
    candles: list[CandleView]
    sequence: int


def candle_view(candle: Candle, rules: MarketRules) -> CandleView:
    """Return a candle as JSON shows it."""
    tick = rules.tick_size_e18
    return CandleView(
        format_time_us(candle.start_us),
        format_ticks(candle.open_ticks, tick),
        format_ticks(candle.high_ticks, tick),
        format_ticks(candle.low_ticks, tick),
        format_ticks(candle.close_ticks, tick),
        format_lots(candle.volume_lots, rules.lot_size_e18),
        format_e36(candle.value * tick * rules.lot_size_e18),
        candle.trades,
        candle.sequence,
    )


def ticker_view(marketdata: MarketData, market: Market) -> TickerView:
    """Return the ticker of a market as of now."""
    rules = market.rules
    day = market.day.at(marketdata.time_us)
    change = None
    if day.last_ticks is not None and day.open_ticks is not None:
        change_ticks = day.last_ticks - day.open_ticks
        sign = "-" if change_ticks < 0 else ""
        change = sign + format_ticks(abs(change_ticks), rules.tick_size_e18)
    return TickerView(
        rules.market,
        marketdata.sequence,
        format_time_us(marketdata.time_us),
        _price(market.depth.best(Side.BUY), rules),
        _price(market.depth.best(Side.SELL), rules),
        _price(day.open_ticks, rules),
        _price(day.high_ticks, rules),
        _price(day.low_ticks, rules),
        _price(day.last_ticks, rules),
        change,
        format_lots(day.volume_lots, rules.lot_size_e18),
        format_e36(day.value * rules.tick_size_e18 * rules.lot_size_e18),
        day.trades,
    )


def _price(ticks: int | None, rules: MarketRules) -> str | None:
    return None if ticks is None else format_ticks(ticks, rules.tick_size_e18)


async def get_ticker(request: web.Request) -> web.Response:
    """Answer with the best prices and the last 24 hours of a market."""
    context = request.app[CONTEXT]
    await freshen(context, query_of(request, FRESHNESS))
    market = await market_named(context, request.match_info["market"])
    view = ticker_view(context.marketdata, market)
    return answer(msgspec.structs.asdict(view), headers=read_headers(context))


async def get_candles(request: web.Request) -> web.Response:
    """Answer with candles, oldest first: those from `start` on, or else the last before `end`."""
    context = request.app[CONTEXT]
    query = query_of(request, ("interval", "start", "end", "limit", *FRESHNESS))
    interval = query.get("interval", "1m")
    if interval not in INTERVALS_US:
        raise bad_parameter("interval", interval, list(INTERVALS_US))
    limit = whole_number("limit", query.get("limit", str(CANDLES)), lowest=1, highest=CANDLES_MAX)
    start_us = _time_us("start", query["start"]) if "start" in query else None
    end_us = _time_us("end", query["end"]) if "end" in query else TIME_US_MAX
    await freshen(context, query)
    market = await market_named(context, request.match_info["market"])
    found = market.candles.between(interval, start_us or 0, end_us)
    cut = found[-limit:] if start_us is None else found[:limit]
    body: CandlesAnswer = {
        "market": market.rules.market,
        "interval": interval,
        "candles": [candle_view(candle, market.rules) for candle in cut],
        "sequence": context.marketdata.sequence,
    }
    return answer(body, headers=read_headers(context))


def _time_us(name: str, text: str) -> int:
    try:
        return parse_time_us(text)
    except NotATime:
        raise bad_parameter(name, text, TIME_FORM) from None
