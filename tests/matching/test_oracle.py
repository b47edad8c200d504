"""The machine against its dumb twin, event by event; and proof that the comparison has teeth."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from raft_exchange.matching import administration, entry, limits, matcher
from raft_exchange.matching.book import Book, BookSide
from raft_exchange.matching.messages import (
    CommandRefused,
    EndReason,
    OrderEnded,
    RejectCode,
    SelfTradePrevention,
)
from raft_exchange.matching.orders import LiveOrder, LiveOrders
from tests.support.oracle import Oracle
from tests.support.workload import commands, new_exchange

COMMANDS_PER_SEED = 12_500


def compare(seed: int, count: int) -> None:
    """Drive both with one stream; every event of every command must be equal."""
    exchange, oracle = new_exchange(), Oracle()
    for number, command in enumerate(commands(seed, count)):
        events, expected = exchange.apply(command), oracle.apply(command)
        assert oracle.agrees(events, expected), f"seed {seed}, command {number}: {command}"
        exchange.check()
    assert exchange.sequence == count


@pytest.mark.parametrize("seed", range(8))
def test_the_machine_answers_like_its_dumb_twin(seed: int) -> None:
    """Sorted lists, full scans and copies give the same events for 100,000 commands in all."""
    compare(seed, COMMANDS_PER_SEED)


def test_the_stream_reaches_every_answer() -> None:
    """A comparison proves nothing about what never happens, so everything has to happen."""
    exchange = new_exchange()
    kinds: Counter[type] = Counter()
    codes: Counter[RejectCode] = Counter()
    reasons: Counter[EndReason] = Counter()
    for command in commands(0, COMMANDS_PER_SEED):
        for event in exchange.apply(command):
            kinds[type(event)] += 1
            if isinstance(event, CommandRefused):
                codes[event.code] += 1
            if isinstance(event, OrderEnded):
                reasons[event.reason] += 1
    assert len(kinds) == 13
    assert set(reasons) == set(EndReason)
    limits_and_sequencer = {
        RejectCode.TOO_MANY_ORDERS,
        RejectCode.DEADLINE_PASSED,
    }
    assert set(codes) == set(RejectCode) - limits_and_sequencer


def test_small_limits_are_refused_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a handful of orders, accounts and markets both say no at the same moment."""
    small = {
        "ORDERS_PER_ACCOUNT_MARKET_MAX": 5,
        "ORDERS_PER_MARKET_MAX": 12,
        "ORDERS_MAX": 15,
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


def unsorted(self: LiveOrders, account: str, market: str | None, **side: object) -> list[LiveOrder]:
    """Cancel the newest order first."""
    return real_of_account(self, account, market, **side)[::-1]  # type: ignore[arg-type]


real_side_append, real_side_remove = BookSide.append, BookSide.remove
real_book_append, real_due = Book.append, LiveOrders.due
real_prevent, real_of_account = matcher.Match._prevent, LiveOrders.of_account

BROKEN_RULES = {
    "time priority": (BookSide, "append", lifo),
    "growing goes to the back": (Book, "append", keep_place_when_growing),
    "expiry is inclusive": (LiveOrders, "due", expire_late),
    "the taker's mode decides": (matcher.Match, "_prevent", maker_decides),
    "cancel-all is oldest first": (LiveOrders, "of_account", unsorted),
    "fill-or-kill": (matcher, "_is_fillable", lambda taker, book: True),
    "post-only": (BookSide, "reached_by", lambda side, price_ticks: False),
    "filters": (entry, "refuse_terms", lambda *args, **terms: None),
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
