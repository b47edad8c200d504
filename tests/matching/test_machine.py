"""What every command keeps to: the shape of its answer, the counters, the invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_exchange.matching import snapshot
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    AdvanceTime,
    Command,
    CommandRefused,
    EndReason,
    Event,
    Order,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderReplenished,
    OrderRested,
    OrderStatus,
    OrderType,
    PlaceOrder,
    Side,
    StopElected,
    StopPlaced,
    TimeInForce,
    TradeExecuted,
)
from tests.support.workload import commands, new_exchange, rules

INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-2, 120)
BYTES = st.binary(max_size=40) | st.binary(min_size=32, max_size=32)
TEXTS = st.text(max_size=80) | st.sampled_from(["ann", "bob", "anonymous", "BTC-USD", "ETH-USD"])


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Return whatever a field of this type can hold after an entry of the log is decoded."""
    if get_origin(kind) is tuple:
        return st.lists(anything(get_args(kind)[0]), max_size=3).map(tuple)
    if get_args(kind):  # a union: `X | None`, or all the commands
        return st.one_of([anything(member) for member in get_args(kind)])
    if kind is NoneType:
        return st.none()
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return st.builds(kind, **{field.name: anything(field.type) for field in fields})
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return {bool: st.booleans(), int: INTEGERS, str: TEXTS, bytes: BYTES}[kind]


def grown(seed: int, count: int) -> Exchange:
    """Return a machine in the middle of a busy day."""
    exchange = new_exchange()
    for command in commands(seed, count):
        exchange.apply(command)
    return exchange


def applied(seed: int, count: int) -> Iterator[tuple[Exchange, Command, list[Event]]]:
    """Yield the machine, each command of a stream and its events."""
    exchange = new_exchange()
    for command in commands(seed, count):
        yield exchange, command, exchange.apply(command)


GROWN = snapshot.encode(grown(1, 300))
DECODER = msgspec.msgpack.Decoder(Command)


@given(stream=st.lists(anything(Command), max_size=8))
@settings(max_examples=400, deadline=None)
def test_any_decodable_command_is_answered(stream: list[Command]) -> None:
    """Whatever a command holds, the machine answers with events that can be encoded."""
    exchange = snapshot.decode(GROWN)
    for command in stream:
        command = DECODER.decode(msgspec.msgpack.encode(command))
        events = exchange.apply(command)
        assert events
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(events), type=list[Event]) == events
        exchange.check()


def test_a_refused_command_changes_nothing() -> None:
    """Its only event is the refusal, and the state is the same byte for byte but the sequence."""
    exchange = new_exchange()
    refused = 0
    for command in commands(2, 3_000):
        before = snapshot.encode(exchange)
        events = exchange.apply(command)
        if any(isinstance(event, CommandRefused) for event in events):
            refused += 1
            assert len(events) == 1
            exchange.state.sequence -= 1
            assert snapshot.encode(exchange) == before
            exchange.state.sequence += 1
    assert refused > 500


def test_every_command_takes_one_place_in_the_sequence() -> None:
    """Refused commands and replays count as well."""
    exchange = grown(3, 100)
    assert exchange.sequence == 100
    hash_before = snapshot.state_hash(exchange)
    exchange.count_command()
    assert exchange.sequence == 101
    exchange.state.sequence -= 1
    assert snapshot.state_hash(exchange) == hash_before, "a replay does nothing else"


def test_an_order_that_comes_in_rests_waits_or_ends_in_the_same_command() -> None:
    """Exactly once, whether it is new, amended out of its place, or a stop just elected."""
    entered = 0
    for _, _, events in applied(4, 5_000):
        entering: set[int] = set()
        for event in events:
            match event:
                case OrderAccepted(order=order) | StopElected(order=order):
                    assert order.order_id not in entering
                    entering.add(order.order_id)
                case OrderAmended(order=order, kept_place=False):
                    entering.add(order.order_id)
                case OrderRested(order=order) | StopPlaced(order=order):
                    entering.remove(order.order_id)
                    entered += 1
                case OrderEnded(order=order):
                    entered += order.order_id in entering
                    entering.discard(order.order_id)
                case TradeExecuted():
                    assert event.taker_order_id in entering
        assert not entering
    assert entered > 1_000


def test_a_trade_that_fills_its_maker_is_followed_by_the_makers_end() -> None:
    """And by nothing of the maker otherwise: what is left of it follows from the trade."""
    told: dict[int, Order] = {}
    for _, _, events in applied(5, 5_000):
        for number, event in enumerate(events):
            fold(told, event)
            if isinstance(event, TradeExecuted):
                maker = told[event.maker_order_id]
                following = (e for e in events[number + 1 :] if not is_other_leg(e))
                after = next(following, None)
                ends = (
                    isinstance(after, OrderEnded)
                    and after.order.order_id == event.maker_order_id
                    and after.order.status is OrderStatus.FILLED
                )
                assert ends == (maker.filled_lots == maker.quantity_lots)


def is_other_leg(event: Event) -> bool:
    return isinstance(event, OrderEnded) and event.reason is EndReason.OTHER_LEG


def test_the_events_alone_tell_which_orders_live() -> None:
    """Whoever folds them has every live order, its size and its fills: nothing else is needed."""
    told: dict[int, Order] = {}
    for exchange, _, events in applied(6, 5_000):
        for event in events:
            fold(told, event)
        held = {order_id: order.view() for order_id, order in exchange.live.by_id.items()}
        sizes = {order_id: (o.quantity_lots, o.filled_lots) for order_id, o in held.items()}
        assert {n: (o.quantity_lots, o.filled_lots) for n, o in told.items()} == sizes


def fold(told: dict[int, Order], event: Event) -> None:
    """Take one event into the picture of the live orders."""
    match event:
        case OrderRested(order=order) | StopPlaced(order=order) | OrderReplenished(order=order):
            told[order.order_id] = order
        case StopElected(order=order):
            del told[order.order_id]
        case OrderEnded(order=order):
            told.pop(order.order_id, None)
        case OrderAmended(order=order, kept_place=True):
            told[order.order_id] = order
        case OrderAmended(order=order):
            del told[order.order_id]
        case OrderReduced(order=order):
            if order.order_id in told:  # else it is the taker's, which rests or ends yet
                told[order.order_id] = order
        case TradeExecuted():
            maker = told[event.maker_order_id]
            filled_lots = maker.filled_lots + event.quantity_lots
            told[event.maker_order_id] = msgspec.structs.replace(maker, filled_lots=filled_lots)


def test_ids_count_without_gaps() -> None:
    """Order ids in the exchange, trade ids in each market; a refused order takes none."""
    order_ids: list[int] = []
    trade_ids: dict[str, list[int]] = {}
    for _, _, events in applied(7, 5_000):
        for event in events:
            if isinstance(event, OrderAccepted):
                order_ids.append(event.order.order_id)
            if isinstance(event, TradeExecuted):
                trade_ids.setdefault(event.market, []).append(event.trade_id)
    assert order_ids == list(range(1, len(order_ids) + 1))
    assert len(trade_ids) == 2
    assert all(ids == list(range(1, len(ids) + 1)) for ids in trade_ids.values())


def test_orders_carry_the_stamp_of_the_command_that_changed_them() -> None:
    """Every order in an event has the sequence and the time of that event's command."""
    for exchange, _, events in applied(8, 3_000):
        for event in events:
            if isinstance(event, OrderAccepted | OrderRested | OrderEnded | OrderAmended):
                assert event.order.sequence == exchange.sequence
                assert event.order.updated_at_us == exchange.time_us


def test_filled_value_is_exact_beyond_64_bits() -> None:
    """The largest order at the largest price: 10^33 in units of tick x lot."""
    exchange = new_exchange()
    for command in list(commands(9, 5)):  # the markets and accounts
        exchange.apply(command)
    for side in (Side.SELL, Side.BUY):
        events = exchange.apply(
            PlaceOrder(
                account="anonymous",
                market="BTC-USD",
                side=side,
                type=OrderType.LIMIT,
                time_in_force=TimeInForce.GTC,
                price_ticks=10**15,
                quantity_lots=10**18,
                expires_at_us=0,
                post_only=False,
                self_trade_prevention=None,
                client_order_id="",
            )
        )
    ended = events[-1]
    assert isinstance(ended, OrderEnded)
    assert ended.order.filled_value == str(10**33)


def test_the_next_thing_due_is_the_first_expiry_or_dead_man_switch() -> None:
    """None without one; after each command the earliest there is."""
    assert Exchange().next_due_us() is None
    seen = set()
    for exchange, _, _ in applied(10, 3_000):
        times = [o.expires_at_us for o in exchange.live.by_id.values() if o.expires_at_us]
        times += [at_us for at_us, _ in exchange.live.switches()]
        assert exchange.next_due_us() == min(times, default=None)
        seen.add(exchange.next_due_us())
    assert len(seen) > 20


def test_the_clock_is_moved_by_its_command_only() -> None:
    """And never back."""
    before = 0
    for exchange, command, _ in applied(11, 3_000):
        assert exchange.time_us >= before
        assert exchange.time_us == before or isinstance(command, AdvanceTime)
        before = exchange.time_us
    assert before > 0


def drop_from_book(exchange: Exchange) -> None:
    order = next(iter(exchange.live.by_id.values()))
    exchange.markets[order.market].book.remove(order)


def drop_from_index(exchange: Exchange) -> None:
    exchange.live.remove(next(iter(exchange.live.by_id.values())))


def overfill(exchange: Exchange) -> None:
    order = next(iter(exchange.live.by_id.values()))
    order.filled_lots = order.quantity_lots


def cross(exchange: Exchange) -> None:
    book = exchange.markets["BTC-USD"].book
    buy = next(book.buys.orders())
    book.remove(buy)
    buy.price_ticks = next(book.sells.orders()).price_ticks
    book.append(buy)


def jump_the_queue(exchange: Exchange) -> None:
    ahead, behind = next((o, o.behind) for o in exchange.live.by_id.values() if o.behind)
    ahead.priority = behind.priority + 1


def lose_an_expiry(exchange: Exchange) -> None:
    order = next(o for o in exchange.live.by_id.values() if o.expires_at_us)
    order.expires_at_us += 1


def hand_over(exchange: Exchange) -> None:
    next(o for o in exchange.live.by_id.values() if o.account == "ann").account = "bob"


def forget_a_label(exchange: Exchange) -> None:
    labels = next(
        a.by_client_order_id for a in exchange.live.accounts.values() if a.by_client_order_id
    )
    labels.popitem()


def rewind(exchange: Exchange) -> None:
    exchange.state.order_id = 1


@pytest.mark.parametrize(
    "damage",
    [
        *(drop_from_book, drop_from_index, overfill, cross, jump_the_queue),
        *(lose_an_expiry, hand_over, forget_a_label, rewind),
    ],
)
def test_check_notices_damage(damage: Callable[[Exchange], None]) -> None:
    """The invariants hold in a grown machine, and each kind of damage breaks one."""
    exchange = grown(12, 840)
    exchange.check()
    damage(exchange)
    with pytest.raises(AssertionError):
        exchange.check()


def test_money_that_is_made_or_lost_shows_without_a_walk_over_the_balances() -> None:
    exchange = grown(12, 840)
    ledger = exchange.state.ledger
    assert ledger.sums, "the stream moved money"
    assert ledger.unbalanced() == []
    ledger.balance("ann", "USD").free += 1
    ledger.changes()
    assert ledger.unbalanced() == ["USD"]
    ledger.balance("bob", "USD").free -= 1
    ledger.changes()
    assert ledger.unbalanced() == []


def test_a_restored_ledger_counts_on() -> None:
    exchange = grown(12, 840)
    restored = snapshot.decode(snapshot.encode(exchange))
    before = {asset: total for asset, total in exchange.state.ledger.sums.items() if total}
    assert restored.state.ledger.sums == before
    assert restored.state.ledger.unbalanced() == []


def test_the_workload_helper_makes_rules_of_its_market() -> None:
    """`rules` splits the name, so that scenario files need not say base and quote."""
    made = rules("BTC-USD", notional_min=7)
    assert (made.market, made.base, made.quote, made.notional_min) == ("BTC-USD", "BTC", "USD", 7)
