"""The whole projection: everything a node answers reads from, folded from events alone.

Theory of operation. The state machine never answers a question; its events do. `apply` folds the
events of one command, in order, and nothing else ever changes this state, so that equal streams
give equal views and a view that can answer proves that the stream is complete.

- A maker that trades without being filled has no event of its own: its new view follows from the
  trade (`filled_lots`, `filled_value`, status, time, sequence), as the machine computed it.
- A stop that waits is live and in no queue. So is an order amended out of its place, or a stop
  just elected, until it rests or ends, all within one command. Nobody reads in between: folding
  does not yield.
- An iceberg stands in its queue with what it shows.
- Results that repeat an earlier one under an idempotency key were folded when they happened; the
  caller passes no events for them, only their position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

from raft_exchange.marketdata.balances import Balances
from raft_exchange.marketdata.candles import Candles
from raft_exchange.marketdata.changes import History, Recorder
from raft_exchange.marketdata.depth import Depth
from raft_exchange.marketdata.fills import Fills
from raft_exchange.marketdata.keys import KeyRegister
from raft_exchange.marketdata.orders import (
    FINISHED_ORDERS_MAX,
    OrderRegister,
    displayed_lots,
    filled_further,
)
from raft_exchange.marketdata.ticker import RollingDay
from raft_exchange.marketdata.totals import Totals
from raft_exchange.marketdata.trades import Trade, TradeTape
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AccountChanged,
    AccountCreated,
    AccountSettings,
    AllCanceled,
    BalanceChanged,
    CancelAfterElapsed,
    CancelAfterSet,
    CommandRefused,
    Event,
    KeyChanged,
    MarketChanged,
    MarketRules,
    MarketStatus,
    Order,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderReplenished,
    OrderRested,
    OrderStatus,
    Side,
    StopElected,
    StopPlaced,
    TimeAdvanced,
    TradeExecuted,
    TransferMade,
)


class Market:
    """One market: its rules, status, book, last trades, candles and rolling day."""

    __slots__ = ("candles", "day", "depth", "rules", "status", "trades")

    def __init__(self, rules: MarketRules, status: MarketStatus) -> None:
        self.rules = rules
        self.status = status
        self.depth = Depth()
        self.trades = TradeTape()
        self.candles = Candles()
        self.day = RollingDay(self.candles)

    def adopt(self, other: Market) -> None:
        """Become what the other one is."""
        self.rules, self.status = other.rules, other.status
        self.depth, self.trades = other.depth, other.trades
        self.candles, self.day = other.candles, other.day


class MarketData:
    """Markets, accounts and orders as of `sequence`, at logged time `time_us`."""

    def __init__(self, *, finished_orders_max: int = FINISHED_ORDERS_MAX) -> None:
        self.sequence = 0
        self.time_us = 0
        self.markets: dict[str, Market] = {}
        self.accounts: dict[str, AccountSettings] = {ANONYMOUS: AccountSettings()}
        self.keys = KeyRegister()
        self.balances = Balances()
        self.fills = Fills()
        self.orders = OrderRegister(finished_max=finished_orders_max)
        self.totals = Totals()
        self.history = History()
        self.recorder = Recorder()

    def apply(self, sequence: int, time_us: int, events: Sequence[Event]) -> None:
        """Fold what the command at `sequence` did. O(events x log book).

        Args:
            sequence: grows with every call, without gaps unless a snapshot was restored.
            time_us: the logged time of the command's entry.
            events: empty for a result that repeats an earlier one.
        """
        assert sequence > self.sequence, (sequence, self.sequence)
        self.sequence = sequence
        self.time_us = time_us
        for event in events:
            fold = _FOLDS[type(event)]
            if fold is not None:
                fold(self, event)
        change = self.recorder.take(sequence, time_us)
        if change is not None:
            self.history.append(change)

    def sizes_of(self, market: str) -> tuple[int, int]:
        """Return tick and lot size of a market, in units of 10^-18; they never change."""
        rules = self.markets[market].rules
        return rules.tick_size_e18, rules.lot_size_e18

    def adopt(self, restored: MarketData) -> None:
        """Become what a snapshot says; a market that somebody holds stays the same object."""
        for name, market in restored.markets.items():
            held = self.markets.get(name)
            if held is not None:
                held.adopt(market)
                restored.markets[name] = held
        self.sequence, self.time_us = restored.sequence, restored.time_us
        self.markets, self.accounts = restored.markets, restored.accounts
        self.fills = restored.fills
        self.balances, self.keys = restored.balances, restored.keys
        self.orders, self.totals = restored.orders, restored.totals
        self.history, self.recorder = restored.history, restored.recorder

    def check(self) -> None:
        """Assert every invariant. O(orders): tests call it after each step."""
        self.orders.check()
        self.fills.check()
        self.history.check()
        resting: dict[int, int] = {}
        for market in self.markets.values():
            market.depth.check()
            market.candles.check()
            for side in Side:
                resting |= {i: lots for _, lots, i in market.depth.queue(side, 10**9)}
        live = {
            order.order_id: displayed_lots(order)
            for order in self.orders.live_orders()
            if order.status is not OrderStatus.PENDING
        }
        assert resting == live, "the queues hold the live orders, with what they show"

    def _accept(self, event: OrderAccepted) -> None:
        order = event.order  # the view changes by what follows
        self.totals.orders_accepted[order.side, order.type] += 1

    def _refuse(self, event: CommandRefused) -> None:
        self.totals.commands_refused[event.code] += 1

    def _change_balance(self, event: BalanceChanged) -> None:
        self.balances.keep(event)
        self.recorder.balance(event.account, event.asset)

    def _create_account(self, event: AccountCreated) -> None:
        self.accounts[event.account] = AccountSettings()

    def _change_account(self, event: AccountChanged) -> None:
        self.accounts[event.account] = event.settings

    def _change_key(self, event: KeyChanged) -> None:
        self.keys.keep(event.account, event.key)

    def _trade(self, event: TradeExecuted) -> None:
        self.totals.trades += 1
        market = self.markets[event.market]
        trade = Trade(event, self.time_us, self.sequence)
        market.trades.append(trade)
        self.fills.append(trade)
        maker = self.orders.live(event.maker_order_id)
        assert maker is not None, event.maker_order_id
        market.depth.reduce(maker.order_id, maker.side, maker.price_ticks, event.quantity_lots)
        market.candles.trade(
            event.price_ticks, event.quantity_lots, time_us=self.time_us, sequence=self.sequence
        )
        self.recorder.trade(event)
        self.recorder.touch(event.market, maker.side, maker.price_ticks)
        if maker.filled_lots + event.quantity_lots < maker.quantity_lots:
            self._keep_live(
                filled_further(maker, event, time_us=self.time_us, sequence=self.sequence)
            )

    def _keep_live(self, order: Order) -> None:
        self.orders.keep_live(order)
        self.recorder.order(order)

    def _stop(self, event: StopPlaced | StopElected) -> None:
        self._keep_live(event.order)

    def _rest(self, event: OrderRested) -> None:
        self._join(event.order)

    def _join(self, order: Order) -> None:
        self._keep_live(order)
        self.recorder.touch(order.market, order.side, order.price_ticks)
        depth = self.markets[order.market].depth
        depth.rest(order.order_id, order.side, order.price_ticks, displayed_lots(order))

    def _end(self, event: OrderEnded) -> None:
        order = event.order
        before = self.orders.live(order.order_id)
        if before is not None:
            depth = self.markets[order.market].depth
            if depth.remove(before.order_id, before.side, before.price_ticks):
                self.recorder.touch(before.market, before.side, before.price_ticks)
        self.orders.finish(order)
        self.recorder.order(order)

    def _amend(self, event: OrderAmended) -> None:
        order = event.order
        before = self.orders.live(order.order_id)
        assert before is not None, order.order_id
        depth = self.markets[order.market].depth
        if event.kept_place:
            self._shrink(before, order)
        elif depth.remove(order.order_id, before.side, before.price_ticks):
            self.recorder.touch(before.market, before.side, before.price_ticks)
        self._keep_live(order)

    def _replenish(self, event: OrderReplenished) -> None:
        order = event.order
        self.markets[order.market].depth.remove(order.order_id, order.side, order.price_ticks)
        self._join(order)

    def _shrink(self, before: Order, order: Order) -> None:
        depth = self.markets[order.market].depth
        if depth.holds(order.order_id, order.side, order.price_ticks):
            fewer = displayed_lots(before) - displayed_lots(order)
            depth.reduce(order.order_id, order.side, order.price_ticks, fewer)
            self.recorder.touch(order.market, order.side, order.price_ticks)

    def _reduce(self, event: OrderReduced) -> None:
        order = event.order
        before = self.orders.live(order.order_id)
        if before is None:
            return  # a new taker: it is known once it rests or ends
        self._shrink(before, order)
        self._keep_live(order)

    def _change_market(self, event: MarketChanged) -> None:
        market = self.markets.get(event.rules.market)
        if market is None:
            self.markets[event.rules.market] = Market(event.rules, event.status)
        else:
            market.rules, market.status = event.rules, event.status


_FOLDS: Final[dict[type[Event], Callable[[MarketData, Any], None] | None]] = {
    TradeExecuted: MarketData._trade,
    OrderAccepted: MarketData._accept,
    OrderRested: MarketData._rest,
    OrderEnded: MarketData._end,
    OrderAmended: MarketData._amend,
    OrderReduced: MarketData._reduce,
    OrderReplenished: MarketData._replenish,
    StopPlaced: MarketData._stop,
    StopElected: MarketData._stop,
    BalanceChanged: MarketData._change_balance,
    MarketChanged: MarketData._change_market,
    AccountCreated: MarketData._create_account,
    AccountChanged: MarketData._change_account,
    KeyChanged: MarketData._change_key,
    CommandRefused: MarketData._refuse,
    TimeAdvanced: None,
    AllCanceled: None,  # the ends that precede it say it
    TransferMade: None,  # the balance that follows says it
    CancelAfterSet: None,  # a switch is nobody's to see; the ends it causes are
    CancelAfterElapsed: None,
}
"""How each kind of event changes the view; None: not at all."""
assert _FOLDS.keys() == set(get_args(Event)), "every event is folded"
