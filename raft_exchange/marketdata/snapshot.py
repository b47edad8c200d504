"""The projection <-> canonical, versioned bytes: what it knows and the state machine does not.

Live orders, their queues, accounts, rules and statuses stand in the machine's own snapshot and are
taken from there; kept here are finished orders, the last trades, fills, candles, the history of
changes, the totals, and which balances are zero, for these the machine forgets. All of it follows
from the events alone, in their order, so that two nodes at one sequence write the same bytes.

Format 1 had neither candles nor history: both begin anew where such a snapshot is restored. The
first snapshots of format 2 had a history without fills and balances: it begins anew as well, so
that nobody resumes over what it does not know.
"""

from __future__ import annotations

from typing import Final

import msgspec

from raft_exchange.marketdata.balances import EMPTY
from raft_exchange.marketdata.candles import CANDLES_MAX, INTERVALS_US, Candle, Candles
from raft_exchange.marketdata.changes import Change
from raft_exchange.marketdata.orders import displayed_lots
from raft_exchange.marketdata.totals import Totals
from raft_exchange.marketdata.trades import Trade
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    BalanceChanged,
    Order,
    OrderType,
    RejectCode,
    Side,
)
from raft_exchange.matching.versions import refuse_newer

FORMAT_VERSION: Final = 2


class SnapshotError(ValueError):
    """The bytes are not a projection of this format, or of another exchange."""


class _Candle(msgspec.Struct, array_like=True):
    start_us: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: str  # sums may exceed 64 bits: decimal text
    value: str
    trades: int
    sequence: int


class _Market(msgspec.Struct, array_like=True):
    market: str
    trades: list[Trade]  # oldest first
    candles: list[list[_Candle]] = []  # by length as in `INTERVALS_US`, oldest first


class _History(msgspec.Struct, array_like=True):
    """The changes kept, and where each topic changed last."""

    floor: int
    changes: list[Change]
    books: list[tuple[str, int]]
    trades: list[tuple[str, int]]
    orders: list[tuple[str, int]]
    fills: list[tuple[str, int]] | None = None
    balances: list[tuple[str, int]] | None = None


class _Totals(msgspec.Struct, array_like=True):
    orders_accepted: list[tuple[Side, OrderType, int]]
    commands_refused: list[tuple[str, int]]
    trades: int


class _Projection(msgspec.Struct, array_like=True):
    version: int
    sequence: int
    time_us: int
    markets: list[_Market]  # in the order they were opened
    finished: list[Order]  # in the order they ended
    totals: _Totals
    history: _History | None = None
    fills: list[Trade] = []  # oldest first
    fills_count: int = 0
    emptied: list[tuple[str, str]] = []  # account, asset


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Projection)


def encode(view: MarketData) -> bytes:
    """Return what `restore` needs besides the exchange. O(finished orders + trades)."""
    totals = view.totals
    return _encoder.encode(
        _Projection(
            FORMAT_VERSION,
            view.sequence,
            view.time_us,
            [
                _Market(name, market.trades.oldest_first(), _encoded_candles(market.candles))
                for name, market in view.markets.items()
            ],
            list(view.orders.finished_orders()),
            _Totals(
                [(side, type_, count) for (side, type_), count in totals.orders_accepted.items()],
                [(code.value, count) for code, count in totals.commands_refused.items()],
                totals.trades,
            ),
            _encoded_history(view),
            view.fills.oldest_first(),
            view.fills.count,
            view.balances.emptied(),
        )
    )


def _encoded_candles(candles: Candles) -> list[list[_Candle]]:
    return [
        [
            _Candle(
                *(candle.start_us, candle.open_ticks, candle.high_ticks, candle.low_ticks),
                *(candle.close_ticks, str(candle.volume_lots), str(candle.value)),
                *(candle.trades, candle.sequence),
            )
            for candle in candles.newest(name, CANDLES_MAX)
        ]
        for name in INTERVALS_US
    ]


def _encoded_history(view: MarketData) -> _History:
    history, recorder = view.history, view.recorder
    return _History(
        history.floor,
        history.oldest_first(),
        sorted(recorder.books.items()),
        sorted(recorder.trades.items()),
        sorted(recorder.orders.items()),
        sorted(recorder.fills.items()),
        sorted(recorder.balances.items()),
    )


def restore(data: bytes, exchange: Exchange) -> MarketData:
    """Return the projection that wrote `data` beside this state of the exchange. O(orders).

    Raises:
        SnapshotError: not a projection, or not of this exchange.
        NewerVersion: of a later release.
    """
    try:
        held = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SnapshotError(f"not a projection: {error}") from error
    refuse_newer("the projection", held.version, FORMAT_VERSION)
    if held.sequence != exchange.sequence:
        raise SnapshotError(f"a projection at {held.sequence}, not at {exchange.sequence}")
    names = [market.market for market in held.markets]
    if sorted(names) != sorted(exchange.markets):
        raise SnapshotError("the projection has other markets than the exchange")
    view = MarketData()
    view.sequence, view.time_us = held.sequence, held.time_us
    accounts = exchange.live.accounts
    view.accounts = {name: accounts[name].settings for name in sorted(accounts)}
    for account, keys in exchange.state.keys.entries():
        for key in keys:
            view.keys.keep(account, key)
    for market in held.markets:
        view.markets[market.market] = _restored_market(market, exchange)
    for account, asset, balance in exchange.state.ledger.entries():
        event = BalanceChanged(account, asset, str(balance.free), str(balance.held))
        view.balances.keep(event)
    for account, asset in held.emptied:
        view.balances.keep(BalanceChanged(account, asset, *EMPTY))
    live = [order.view() for order in exchange.live.by_id.values()]
    view.orders.restore(live, held.finished, last_id=exchange.order_id)
    view.fills.restore(held.fills, count=held.fills_count)
    _restore_totals(view.totals, held.totals)
    _restore_history(view, held.history)
    return view


def _restore_history(view: MarketData, held: _History | None) -> None:
    if held is None:
        view.history.restore(view.sequence, [])
        return
    recorder = view.recorder
    if held.fills is None or held.balances is None:
        view.history.restore(view.sequence, [])
    else:
        view.history.restore(held.floor, held.changes)
        recorder.fills, recorder.balances = dict(held.fills), dict(held.balances)
    recorder.books, recorder.trades = dict(held.books), dict(held.trades)
    recorder.orders = dict(held.orders)


def _restored_market(held: _Market, exchange: Exchange) -> Market:
    source = exchange.markets[held.market]
    market = Market(source.rules, source.status)
    for trade in held.trades:
        market.trades.append(trade)
    for name, candles in zip(INTERVALS_US, held.candles, strict=False):
        market.candles.restore(name, [_restored_candle(candle) for candle in candles])
    for side in Side:
        for order in source.book.own(side).orders():
            lots = displayed_lots(order.view())
            market.depth.rest(order.order_id, side, order.price_ticks, lots)
    return market


def _restored_candle(held: _Candle) -> Candle:
    return Candle(
        *(held.start_us, held.open_ticks, held.high_ticks, held.low_ticks, held.close_ticks),
        *(int(held.volume_lots), int(held.value), held.trades, held.sequence),
    )


def _restore_totals(totals: Totals, held: _Totals) -> None:
    for side, type_, count in held.orders_accepted:
        totals.orders_accepted[side, type_] = count
    known = {code.value: code for code in RejectCode}
    for code, count in held.commands_refused:
        if code in known:  # a reason that no release gives any more is not counted on
            totals.commands_refused[known[code]] = count
    totals.trades = held.trades
