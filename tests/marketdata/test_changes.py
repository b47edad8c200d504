"""The history of changes: bounded, complete after its floor, equal wherever it was folded."""

from __future__ import annotations

import msgspec
import pytest

from raft_exchange.marketdata import snapshot
from raft_exchange.marketdata.changes import (
    CHANGE_BYTES,
    BalancesChanged,
    BookChanged,
    Change,
    FillsMade,
    History,
    OrdersChanged,
    Part,
    TradesMade,
    fills_of,
    topic_of,
    weight_bytes,
)
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.limits import (
    CLIENT_ORDER_ID_BYTES_MAX,
    INT64_MAX,
    NAME_BYTES_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    TIME_US_MAX,
)
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    Order,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradeExecuted,
)
from tests.support.workload import commands

NAME = "N" * NAME_BYTES_MAX
COMMANDS = 3_000


def change(sequence: int, levels: int = 1) -> Change:
    return Change(
        sequence, 7, [BookChanged("M", sequence - 1, [(Side.BUY, n) for n in range(levels)])]
    )


def test_everything_after_the_floor_is_given_and_nothing_older() -> None:
    history = History(changes_max=3)
    for sequence in (1, 2, 5, 9, 12):
        history.append(change(sequence))
    assert history.floor == 2
    assert history.since(1) is None
    assert [c.sequence for c in history.since(2) or []] == [5, 9, 12]
    assert [c.sequence for c in history.since(7) or []] == [9, 12]
    assert history.since(12) == []


def test_the_bytes_are_bounded_as_well_as_the_count() -> None:
    history = History(bytes_max=10 * weight_bytes(change(1, 50)))
    for sequence in range(1, 100):
        history.append(change(sequence, 50))
        history.check()
    assert len(history) == 10
    history.append(change(100, 600))
    assert (len(history), history.floor) == (0, 100)  # a change wider than all is not kept
    assert history.since(99) is None
    assert history.since(100) == []


def test_no_item_weighs_less_than_its_bytes() -> None:
    """The widest of each kind: the bound in bytes is one."""
    order = Order(
        *(INT64_MAX, "l" * CLIENT_ORDER_ID_BYTES_MAX, NAME, NAME, Side.SELL, OrderType.MARKET),
        *(TimeInForce.GTD, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX, QUANTITY_LOTS_MAX),
        *(str(PRICE_TICKS_MAX * QUANTITY_LOTS_MAX), TIME_US_MAX, True, SelfTradePrevention.NONE),
        *(OrderStatus.EXPIRED, TIME_US_MAX, TIME_US_MAX, INT64_MAX),
    )
    trade = TradeExecuted(
        *(NAME, INT64_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX, Side.SELL, INT64_MAX, INT64_MAX),
        *(NAME, NAME, "9" * 73, "9" * 73),
    )
    wide = Change(
        INT64_MAX,
        TIME_US_MAX,
        [
            BookChanged(NAME, INT64_MAX, [(Side.SELL, PRICE_TICKS_MAX)] * 100),
            TradesMade(NAME, INT64_MAX, [trade] * 100),
            OrdersChanged(NAME, INT64_MAX, [order] * 100),
            *[FillsMade(NAME, INT64_MAX)] * 100,
            BalancesChanged(NAME, INT64_MAX, [NAME] * 100),
        ],
    )
    assert len(msgspec.msgpack.encode(wide)) <= weight_bytes(wide)
    narrow_parts: list[Part] = [
        OrdersChanged(NAME, INT64_MAX, [order]),
        FillsMade(NAME, INT64_MAX),
        BalancesChanged(NAME, INT64_MAX, [NAME] * 70_000),  # the longest head of a list
        BalancesChanged(NAME, INT64_MAX, []),
    ]
    for part in narrow_parts:
        assert (
            len(msgspec.msgpack.encode(part)) <= weight_bytes(Change(1, 1, [part])) - CHANGE_BYTES
        )
        narrow = Change(INT64_MAX, TIME_US_MAX, [part])
        assert len(msgspec.msgpack.encode(narrow)) <= weight_bytes(narrow)


@pytest.mark.parametrize("seed", range(2))
def test_each_topic_is_a_chain_that_a_restored_node_continues(seed: int) -> None:
    """`previous` names the last change of the same topic, over restores, and levels are true."""
    exchange, view = Exchange(), MarketData()
    last: dict[tuple[type, str], int] = {}
    for number, command in enumerate(commands(seed, COMMANDS)):
        before = exchange.sequence
        events = exchange.apply(command)
        view.apply(exchange.sequence, exchange.time_us, events)
        view.history.check()
        for found in view.history.since(before) or []:
            assert found.sequence == exchange.sequence
            for part in found.parts:
                assert part.previous == last.get(topic_of(part), 0)
                last[topic_of(part)] = found.sequence
            filled = {part.account for part in found.parts if isinstance(part, FillsMade)}
            assert filled == fills_of(found).keys()
        if number % 501 == 0:
            view = snapshot.restore(snapshot.encode(view), exchange)
    assert {kind for kind, _ in last} == {
        *(BookChanged, TradesMade, OrdersChanged, FillsMade, BalancesChanged)
    }
    assert len(view.history) > COMMANDS / 3


def test_a_snapshot_without_history_begins_it_anew() -> None:
    """Format 1 knew neither candles nor changes; a reader from before is told to start over."""
    exchange, view = Exchange(), MarketData()
    for command in commands(1, 500):
        events = exchange.apply(command)
        view.apply(exchange.sequence, exchange.time_us, events)
    held = msgspec.msgpack.decode(snapshot.encode(view))
    markets = [market[:2] for market in held[3]]
    old = msgspec.msgpack.encode([1, *held[1:3], markets, *held[4:6]])
    restored = snapshot.restore(old, exchange)
    restored.check()
    assert restored.history.floor == view.sequence
    assert restored.history.since(view.sequence - 1) is None
    assert restored.markets["BTC-USD"].candles.newest("1m", 9) == []


def test_a_history_without_fills_and_balances_is_begun_anew() -> None:
    """Nobody resumes over what the release that wrote it did not note; all other chains go on."""
    exchange, view = Exchange(), MarketData()
    for command in commands(1, 500):
        events = exchange.apply(command)
        view.apply(exchange.sequence, exchange.time_us, events)
    held = msgspec.msgpack.decode(snapshot.encode(view))
    held[6] = held[6][:5]
    restored = snapshot.restore(msgspec.msgpack.encode(held), exchange)
    restored.check()
    assert restored.history.floor == view.sequence
    assert restored.recorder.orders == view.recorder.orders
    assert restored.recorder.fills == restored.recorder.balances == {}
