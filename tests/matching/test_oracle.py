"""The machine against its dumb twin, event by event; and proof that the comparison has teeth."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from typing import get_args

import pytest

from raft_exchange.matching import administration, entry, limits, matcher
from raft_exchange.matching.book import Book, BookSide
from raft_exchange.matching.messages import (
    CommandRefused,
    EndReason,
    Event,
    OrderEnded,
    OrderReplenished,
    RejectCode,
    ReplaceOrder,
    SelfTradePrevention,
    TradeExecuted,
)
from raft_exchange.matching.orders import LiveOrder, LiveOrders
from raft_exchange.matching.state import Market, State
from raft_exchange.matching.triggers import Stops
from tests.support.oracle import Oracle
from tests.support.replaced_legs import replaced_leg
from tests.support.workload import commands, new_exchange

COMMANDS = int(os.environ.get("ORACLE_COMMANDS", "20000"))
CHECKED = 100_000
"""How many commands are followed by `check()`, of those compared."""
SEEDS = 8


def compare(seed: int, count: int) -> None:
    """Drive both with one stream; every event of every command must be equal."""
    exchange, oracle = new_exchange(), Oracle()
    for number, command in enumerate(commands(seed, count)):
        events, expected = exchange.apply(command), oracle.apply(command)
        assert oracle.agrees(events, expected), f"seed {seed}, command {number}: {command}"
        if number < CHECKED // SEEDS:
            exchange.check()
    assert exchange.sequence == count


@pytest.mark.timeout(0 if COMMANDS > 100_000 else 120)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_machine_answers_like_its_dumb_twin(seed: int) -> None:
    """Sorted lists, full scans and copies give the same events for `ORACLE_COMMANDS` in all."""
    compare(seed, COMMANDS // SEEDS)


def test_the_stream_reaches_every_answer() -> None:
    """A comparison proves nothing about what never happens, so everything has to happen."""
    exchange = new_exchange()
    kinds: Counter[type] = Counter()
    codes: Counter[RejectCode] = Counter()
    reasons: Counter[EndReason] = Counter()
    for command in commands(0, 20_000):
        for event in exchange.apply(command):
            kinds[type(event)] += 1
            if isinstance(event, CommandRefused):
                codes[event.code] += 1
            if isinstance(event, OrderEnded):
                reasons[event.reason] += 1
    assert set(kinds) == set(get_args(Event))
    assert set(reasons) == set(EndReason)
    limits_and_sequencer = {
        RejectCode.TOO_MANY_ORDERS,
        RejectCode.DEADLINE_PASSED,
        *(RejectCode.UNAUTHENTICATED, RejectCode.FORBIDDEN, RejectCode.BAD_SIGNATURE),
        *(RejectCode.SIGNATURE_EXPIRED, RejectCode.NONCE_REUSED),
    }
    assert set(codes) == set(RejectCode) - limits_and_sequencer


def test_small_limits_are_refused_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a handful of orders, accounts and markets both say no at the same moment."""
    small = {
        "ORDERS_PER_ACCOUNT_MARKET_MAX": 5,
        "ORDERS_PER_MARKET_MAX": 12,
        "ORDERS_MAX": 15,
        "STOPS_PER_ACCOUNT_MARKET_MAX": 2,
        "STOPS_PER_MARKET_MAX": 4,
        "ICEBERGS_PER_ACCOUNT_MARKET_MAX": 2,
        "ICEBERGS_PER_MARKET_MAX": 3,
        "ACCOUNTS_MAX": 6,
        "MARKETS_MAX": 3,
    }
    for name, value in small.items():
        users = [module for module in (limits, administration, entry) if hasattr(module, name)]
        assert len(users) == 2, name
        for module in users:
            monkeypatch.setattr(module, name, value)
    compare(seed=8, count=5_000)
    exchange = new_exchange()
    answers = (event for command in commands(8, 5_000) for event in exchange.apply(command))
    codes = {event.code for event in answers if isinstance(event, CommandRefused)}
    assert {RejectCode.TOO_MANY_ORDERS, RejectCode.LIMIT_REACHED} <= codes


def test_who_replaces_a_leg_pays_for_what_stands_behind_the_other() -> None:
    """The other leg ends first, and what is held covers what is then met; in every mode."""
    replaced: Counter[SelfTradePrevention | None] = Counter()
    for seed in range(600):
        exchange, oracle = new_exchange(), Oracle()
        for command in replaced_leg(seed):
            events = exchange.apply(command)
            assert oracle.agrees(events, oracle.apply(command)), f"seed {seed}: {command}"
            exchange.check()
            if isinstance(command, ReplaceOrder) and isinstance(events[0], OrderEnded):
                mode = command.order.self_trade_prevention
                replaced[mode] += any(isinstance(event, TradeExecuted) for event in events)
    assert min(replaced[mode] for mode in SelfTradePrevention) > 20


# Each of these breaks one rule. The comparison must notice, or it would prove nothing.


def lifo(self: BookSide, order: LiveOrder) -> None:
    """Join a level at its front."""
    before = list(self.orders())
    for other in before:
        real_side_remove(self, other)
    same = [other for other in before if other.price_ticks == order.price_ticks]
    place = before.index(same[0]) if same else len(before)
    for other in [*before[:place], order, *before[place:]]:
        real_side_append(self, other)


def keep_place_when_growing(self: Book, order: LiveOrder) -> None:
    """Give an order that comes back the place it had."""
    if order.priority:
        orders = sorted([*self.own(order.side).orders(), order], key=lambda each: each.priority)
        for other in orders:
            if other is not order:
                self.own(order.side).remove(other)
        for other in orders:
            self.own(order.side).append(other)
        order.shown_lots = min(order.display_lots, order.quantity_lots - order.filled_lots)
    else:
        real_book_append(self, order)


def expire_late(self: LiveOrders, time_us: int) -> list[LiveOrder]:
    """Expire one microsecond after the time instead of at it."""
    return real_due(self, time_us - 1)


def maker_decides(self: matcher.Match, maker: LiveOrder) -> bool:
    """Let the maker's mode decide instead of the taker's."""
    mode = self._taker.self_trade_prevention
    if maker.self_trade_prevention is not SelfTradePrevention.NONE:
        self._taker.self_trade_prevention = maker.self_trade_prevention
    try:
        return real_prevent(self, maker)
    finally:
        self._taker.self_trade_prevention = mode


def no_cascade(state: State, order: LiveOrder, **rest: object) -> None:
    """Elect the stops that the aggressor passes, and none that these pass."""
    events: list[Event] = rest["events"]  # type: ignore[assignment]
    elected = Stops.elected
    calls = []

    def once(self: Stops, lowest_ticks: int, highest_ticks: int) -> list[LiveOrder]:
        calls.append(1)
        return elected(self, lowest_ticks, highest_ticks) if len(calls) == 1 else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stops, "elected", once)
        real_enter(state, order, events=events, shown=rest["shown"])  # type: ignore[arg-type]


def oldest_first(self: Stops, lowest_ticks: int, highest_ticks: int) -> list[LiveOrder]:
    """Let stops enter by age alone."""
    stops = real_elected(self, lowest_ticks, highest_ticks)
    return sorted(stops, key=lambda stop: stop.priority)


def top_up_in_place(self: matcher.Match, maker: LiveOrder, lots: int) -> None:
    """Show the next tranche where the last one stood."""
    maker.shown_lots -= lots
    if not maker.shown_lots:
        maker.shown_lots = min(maker.display_lots, maker.quantity_lots - maker.filled_lots)
        self._events.append(OrderReplenished(maker.view()))


def always_full(self: matcher.Match, maker: LiveOrder) -> None:
    """Top a tranche up before it is used up."""
    maker.shown_lots = min(maker.display_lots, maker.quantity_lots - maker.filled_lots)
    real_fill(self, maker)


def shown_only(taker: LiveOrder, market: Market, leaving: LiveOrder | None) -> bool:
    """Decide fill-or-kill by what the book shows."""
    makers = market.book.opposite(taker.side)
    shown = [maker for maker in makers.orders() if maker.display_lots]
    return real_is_fillable(taker, market, leaving) and not shown


def unsorted(self: LiveOrders, account: str, market: str | None, **side: object) -> list[LiveOrder]:
    """Cancel the newest order first."""
    return real_of_account(self, account, market, **side)[::-1]  # type: ignore[arg-type]


real_side_append, real_side_remove = BookSide.append, BookSide.remove
real_book_append, real_due = Book.append, LiveOrders.due
real_prevent, real_of_account = matcher.Match._prevent, LiveOrders.of_account
real_enter, real_elected = entry.enter, Stops.elected
real_fill, real_is_fillable = matcher.Match._fill, matcher._is_fillable

BROKEN_RULES = {
    "time priority": (BookSide, "append", lifo),
    "growing goes to the back": (Book, "append", keep_place_when_growing),
    "expiry is inclusive": (LiveOrders, "due", expire_late),
    "the taker's mode decides": (matcher.Match, "_prevent", maker_decides),
    "cancel-all is oldest first": (LiveOrders, "of_account", unsorted),
    "fill-or-kill": (matcher, "_is_fillable", lambda *args: True),
    "post-only": (BookSide, "reached_by", lambda side, price_ticks: False),
    "stops elect stops": (entry, "enter", no_cascade),
    "passed furthest first": (Stops, "elected", oldest_first),
    "one leg ends the other": (State, "end_other_leg", lambda *args: None),
    "a new tranche goes to the back": (matcher.Match, "_show_less", top_up_in_place),
    "hidden size counts": (matcher, "_is_fillable", shown_only),
    "a tranche is not topped up": (matcher.Match, "_fill", always_full),
    "a band binds market orders": (matcher, "price_band", lambda *args: (1, 10**15)),
    "filters": (entry, "refuse_new_terms", lambda *args, **terms: None),
}


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_a_broken_rule_is_noticed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is made by the whole machine; then one rule is broken and the twins differ."""
    stream = list(islice(commands(3, 4_000), 4_000))
    where, name, broken = BROKEN_RULES[rule]
    monkeypatch.setattr(where, name, broken)
    exchange, oracle = new_exchange(), Oracle()
    assert not all(
        oracle.agrees(exchange.apply(command), oracle.apply(command)) for command in stream
    )
