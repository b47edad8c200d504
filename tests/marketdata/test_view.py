"""The projection is made of events alone, so it can only agree if the events are complete."""

import pytest

from raft_exchange.marketdata.trades import TRADES_PER_MARKET_MAX, Trade, TradeTape
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AdvanceTime,
    AmendOrder,
    CancelOrder,
    ChangeMarket,
    CreateAccount,
    CreateMarket,
    Event,
    MarketStatus,
    OrderStatus,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    TradeExecuted,
)
from raft_exchange.matching.orders import LiveOrder
from tests.support.workload import commands, new_exchange, plain_order, rules


class Twin:
    """A machine, and a projection that sees its events only."""

    def __init__(self) -> None:
        self.exchange = new_exchange()
        self.view = MarketData()

    def run(self, command) -> list[Event]:
        events = self.exchange.apply(command)
        self.view.apply(self.exchange.sequence, self.exchange.time_us, events)
        return events

    def compare(self) -> None:
        exchange, view = self.exchange, self.view
        view.check()
        assert (view.sequence, view.time_us) == (exchange.sequence, exchange.time_us)
        assert view.markets.keys() == exchange.markets.keys()
        assert view.accounts.keys() == exchange.live.accounts.keys()
        for name, market in exchange.markets.items():
            seen = view.markets[name]
            assert (seen.rules, seen.status) == (market.rules, market.status)
            for side in Side:
                queue = [
                    (order.price_ticks, shown(order), order.order_id)
                    for order in market.book.own(side).orders()
                ]
                assert seen.depth.queue(side, 10**6) == queue
        live = {order.order_id: order.view() for order in exchange.live.by_id.values()}
        assert {order.order_id: order for order in view.orders.live_orders()} == live


def shown(order: LiveOrder) -> int:
    """Return how much of an order anybody may see."""
    rest = order.quantity_lots - order.filled_lots
    return order.shown_lots if order.display_lots else rest


def place(side: Side, price_ticks: int, lots: int, *, account=ANONYMOUS, **changes) -> PlaceOrder:
    return plain_order(account, "BTC-USD", side, price_ticks, quantity_lots=lots, **changes)


def twin() -> Twin:
    made = Twin()
    made.run(AdvanceTime(1_000_000))
    made.run(CreateMarket(rules("BTC-USD")))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_a_random_stream_of_events_rebuilds_the_books_and_every_live_order(seed: int) -> None:
    """Each queue, each remaining lot and each view of a live order, after every command."""
    both = Twin()
    for command in commands(seed, 4_000):
        both.run(command)
        both.compare()


@pytest.mark.parametrize(
    "left_out",
    [
        *("TradeExecuted", "OrderRested", "OrderEnded", "OrderAmended", "OrderReduced"),
        *("OrderReplenished", "StopPlaced"),
    ],
)
def test_the_comparison_notices_an_event_that_was_left_out(left_out: str) -> None:
    """Without any one of these kinds of events the projection goes wrong."""
    with pytest.raises((AssertionError, KeyError)):
        _fold_without(left_out)


def _fold_without(left_out: str) -> None:
    both = Twin()
    for command in commands(1, 4_000):
        events = both.exchange.apply(command)
        kept = [event for event in events if type(event).__name__ != left_out]
        both.view.apply(both.exchange.sequence, both.exchange.time_us, kept)
        both.compare()


def test_a_maker_filled_in_part_shows_what_the_machine_shows_at_its_end() -> None:
    """The view of a maker between two fills is inferred from trades; its end proves it right."""
    both = twin()
    both.run(place(Side.SELL, 100, 10))
    both.run(AdvanceTime(2_000_000))
    both.run(place(Side.BUY, 101, 4))
    maker = both.view.orders.get(1)
    assert maker is not None
    assert (maker.filled_lots, maker.filled_value) == (4, "400")
    assert maker.status is OrderStatus.PARTIALLY_FILLED
    assert (maker.updated_at_us, maker.sequence) == (2_000_000, 5)
    both.run(place(Side.BUY, 100, 6))
    maker = both.view.orders.get(1)
    assert maker is not None
    assert (maker.filled_lots, maker.filled_value) == (10, "1000")
    assert maker.status is OrderStatus.FILLED


def test_a_level_sums_its_orders_and_goes_with_the_last_of_them() -> None:
    both = twin()
    both.run(place(Side.BUY, 100, 10))
    both.run(place(Side.BUY, 100, 5))
    both.run(place(Side.BUY, 99, 1))
    depth = both.view.markets["BTC-USD"].depth
    assert depth.levels(Side.BUY, 10) == [(100, 15, 2), (99, 1, 1)]
    both.run(AmendOrder(ANONYMOUS, 1, None, 4))
    assert depth.levels(Side.BUY, 10) == [(100, 9, 2), (99, 1, 1)]
    both.run(CancelOrder(ANONYMOUS, 1, ""))
    both.run(CancelOrder(ANONYMOUS, 2, ""))
    assert depth.levels(Side.BUY, 10) == [(99, 1, 1)]


def test_both_sides_are_listed_best_first_and_cut_at_the_count() -> None:
    both = twin()
    for price in (98, 100, 99):
        both.run(place(Side.BUY, price, 1))
        both.run(place(Side.SELL, price + 10, 1))
    depth = both.view.markets["BTC-USD"].depth
    assert [level[0] for level in depth.levels(Side.BUY, 2)] == [100, 99]
    assert [level[0] for level in depth.levels(Side.SELL, 2)] == [108, 109]


def test_self_trade_prevention_that_shrinks_a_maker_keeps_its_place() -> None:
    both = twin()
    both.run(CreateAccount("ann"))
    both.run(place(Side.SELL, 100, 10, account="ann"))
    both.run(place(Side.SELL, 100, 10))
    shrinks = SelfTradePrevention.DECREMENT
    both.run(place(Side.BUY, 100, 4, account="ann", self_trade_prevention=shrinks))
    assert both.view.markets["BTC-USD"].depth.queue(Side.SELL, 9) == [(100, 6, 1), (100, 10, 2)]


def test_changed_rules_and_status_are_seen() -> None:
    both = twin()
    both.run(ChangeMarket("BTC-USD", MarketStatus.HALT, None, None, None, 7, None, None))
    market = both.view.markets["BTC-USD"]
    assert market.status is MarketStatus.HALT
    assert market.rules.quantity_lots_max == 7


def test_totals_count_what_was_accepted_refused_and_traded() -> None:
    both = twin()
    both.run(place(Side.SELL, 100, 10))
    both.run(place(Side.BUY, 100, 3))
    both.run(CancelOrder(ANONYMOUS, 99, ""))
    totals = both.view.totals
    assert totals.orders_accepted[Side.SELL, OrderType.LIMIT] == 1
    assert totals.orders_accepted[Side.BUY, OrderType.LIMIT] == 1
    assert totals.trades == 1
    assert {code: n for code, n in totals.commands_refused.items() if n} == {"unknown_order": 1}


def test_a_sequence_number_is_never_folded_twice() -> None:
    """Exactly once is the caller's promise; a broken one stops the fold at once."""
    both = twin()
    with pytest.raises(AssertionError):
        both.view.apply(both.view.sequence, 2_000_000, ())


def test_a_repeated_result_moves_the_sequence_and_nothing_else() -> None:
    both = twin()
    both.run(place(Side.SELL, 100, 10))
    both.exchange.count_command()
    both.view.apply(both.exchange.sequence, both.exchange.time_us, ())
    both.compare()


def test_trades_are_kept_newest_last_with_the_command_that_made_them() -> None:
    both = twin()
    both.run(place(Side.SELL, 100, 10))
    for _ in range(3):
        both.run(place(Side.BUY, 100, 1))
    tape = both.view.markets["BTC-USD"].trades
    newest = tape.newest(2)
    assert [trade.executed.trade_id for trade in newest] == [3, 2]
    assert newest[0].sequence == both.exchange.sequence
    assert [trade.executed.trade_id for trade in tape.newest(9, before=3)] == [2, 1]


def test_the_tape_forgets_its_oldest_trades() -> None:
    tape = TradeTape()
    for trade_id in range(1, TRADES_PER_MARKET_MAX + 3):
        executed = TradeExecuted("M", trade_id, 1, 1, Side.BUY, 1, 2, "ann", "bob")
        tape.append(Trade(executed, 0, trade_id))
    assert len(tape) == TRADES_PER_MARKET_MAX
    assert tape.newest(TRADES_PER_MARKET_MAX)[-1].executed.trade_id == 3
