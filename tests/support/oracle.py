"""A second exchange, as dumb as can be: sorted lists, full scans, copies.

It shares nothing with the real one but the vocabulary and the limits. It keeps the public `Order`
of each live order and its place in the queue, sorts the makers anew before every single trade,
looks at every stop after every order, and decides fill-or-kill, and what a market order costs, by
*trying* on a copy. Slow, and easy to believe.

What becomes of an order is in this one file, long as it is, to be read beside the rules at once.

It tells no `BalanceChanged`: `balances` counts them all anew, and `agrees` compares.
"""

from __future__ import annotations

from copy import copy
from functools import partial

from msgspec.structs import replace

from raft_exchange.matching import limits
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AdvanceTime,
    BalanceChanged,
    CancelAfterElapsed,
    Command,
    EndReason,
    Event,
    MarketRules,
    MarketStatus,
    Order,
    OrderAccepted,
    OrderEnded,
    OrderReduced,
    OrderReplenished,
    OrderRested,
    OrderStatus,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    Side,
    StopElected,
    StopPlaced,
    TimeAdvanced,
    TimeInForce,
    TradeExecuted,
    TransferMade,
)
from tests.support.oracle_desk import Desk
from tests.support.oracle_funds import Balances, Purse, goods, money
from tests.support.oracle_guards import (
    NEVER_RESTS,
    STATUS,
    STOPS,
    Refused,
    in_band,
    require,
    require_in,
    require_legs,
    require_room,
    require_sane,
    require_terms,
    rest,
    waits,
)
from tests.support.oracle_house import HOUSE
from tests.support.oracle_owner import OWNER


class Oracle:
    """The exchange again. `apply` answers like `Exchange.apply`, event for event."""

    def __init__(self) -> None:
        self.sequence = self.time_us = self.last_order_id = self.last_place = 0
        self.accounts = [ANONYMOUS]
        self.rules: dict[str, MarketRules] = {}
        self.status: dict[str, MarketStatus] = {}
        self.trades: dict[str, int] = {}
        self.last_price: dict[str, int] = {}
        self.live: dict[int, Order] = {}
        self.place: dict[int, int] = {}
        self.switches: dict[str, int] = {}
        self.purse = Purse()
        self.desk = Desk()
        self.told: Balances = {}
        self.transfers: list[TransferMade] = []

    def balances(self) -> Balances:
        return self.purse.balances(self.rules, self.live)

    def agrees(self, events: list[Event], expected: list[Event]) -> bool:
        """Say whether the machine's events are the expected ones, and then tell every balance."""
        told = [event for event in events if isinstance(event, BalanceChanged)]
        if [*expected, *told] != events:
            return False
        now = self.balances()
        changed = {key for key, balance in now.items() if balance != self.told.get(key, (0, 0))}
        self.told = now
        named = {(event.account, event.asset): (event.free, event.held) for event in told}
        return (
            len(named) == len(told)
            and changed <= named.keys()
            and all(
                tuple(map(str, now.get(key, (0, 0)))) == balance for key, balance in named.items()
            )
        )

    def free(self, account: str, asset: str) -> int:
        return self.balances().get((account, asset), (0, 0))[0]

    def apply(self, command: Command) -> list[Event]:
        self.sequence += 1
        handlers = {
            AdvanceTime: self._time,
            **{kind: partial(work, self) for kind, work in (HOUSE | OWNER).items()},
            PlaceOrder: self._place,
            PlaceOco: self._oco,
            ReplaceOrder: self._replace,
        }
        try:
            return handlers[type(command)](command)  # type: ignore[operator,no-any-return]
        except Refused as refused:
            return [refused.event()]

    # Time, accounts, markets

    def _time(self, command: AdvanceTime) -> list[Event]:
        require_in(0, command.time_us, limits.TIME_US_MAX, "time_us")
        self.time_us = max(self.time_us, command.time_us)
        due = [o for o in self.live.values() if o.expires_at_us and o.expires_at_us <= self.time_us]
        due.sort(key=lambda order: (order.expires_at_us, order.order_id))
        events = [TimeAdvanced(self.time_us), *self._end_all(due, EndReason.TIME_EXPIRED)]
        for at_us, account in sorted((at_us, name) for name, at_us in self.switches.items()):
            if at_us <= self.time_us:
                del self.switches[account]
                own = [o for _, o in sorted(self.live.items()) if o.account == account]
                ends = self._end_all(own, EndReason.CANCEL_AFTER)
                events += [*ends, CancelAfterElapsed(account, len(ends))]
        return events

    # Orders

    def _place(self, c: PlaceOrder) -> list[Event]:
        order = self._admit(c)
        self._require_funds(order, self._cost(order))
        return self._accept(order)

    def _oco(self, c: PlaceOco) -> list[Event]:
        require_legs(c)
        legs = []
        for number, leg in enumerate(("stop", "limit")):
            try:
                legs.append(self._admit(getattr(c, leg), besides=number))
            except Refused as refused:
                raise Refused(refused.code, f"{leg}.{refused.field}") from None
        stop, limit = legs
        try:
            self._require_funds(limit, max(self._cost(limit), self._cost(stop)))
        except Refused as refused:
            raise Refused(refused.code, f"limit.{refused.field}") from None
        limit = replace(limit, oco_order_id=stop.order_id)
        stop = replace(stop, oco_order_id=limit.order_id)
        return [*self._accept(stop), *self._accept(limit)]

    def _replace(self, c: ReplaceOrder) -> list[Event]:
        require(c.order.account == c.account, "invalid_combination", "account")
        require_sane(c.order, self.time_us)
        old = self._find(c.account, c.order_id)
        without = self._copy()
        del without.live[old.order_id]
        new = without._admit(c.order)
        cost = without._cost(new)
        without._end(old, EndReason.REPLACED)  # and the other leg, which counted until here
        without._require_funds(new, max(cost, without._cost(new)))
        self.purse.rates[new.order_id] = without.purse.rates[new.order_id]
        return [*self._end(old, EndReason.REPLACED), *self._accept(new)]

    def _admit(self, c: PlaceOrder, besides: int = 0) -> Order:
        """The order that would be, `besides` so many others of the same command."""
        require_sane(c, self.time_us)
        require(c.account in self.accounts, "unknown_account", "account")
        require(not self.desk.of(c.account).frozen, "account_frozen", "account")
        require(c.market in self.rules, "unknown_market", "market")
        rules, mode = self.rules[c.market], c.self_trade_prevention
        require(self.status[c.market] == MarketStatus.TRADING, "market_halted", "market")
        require_terms(rules, c, self.last_price[c.market])
        value = int(c.quote_value) if c.quote_value else c.price_ticks * c.quantity_lots
        self.desk.require_low_risk(c.account, rules, value, c.quantity_lots)
        if c.client_order_id:
            taken = (c.account, c.client_order_id) in [
                (order.account, order.client_order_id) for order in self.live.values()
            ]
            require(not taken, "duplicate_client_order_id", "client_order_id")
        if c.time_in_force not in NEVER_RESTS or c.type in STOPS:
            self.desk.require_few(c.account, rules, self.live.values(), besides)
            require_room(self.live.values(), c, besides)
        if mode is None:
            mode = rules.self_trade_prevention
            if c.account == ANONYMOUS:
                mode = SelfTradePrevention.NONE
        order = Order(
            order_id=self.last_order_id + 1 + besides,
            client_order_id=c.client_order_id,
            account=c.account,
            market=c.market,
            side=c.side,
            type=c.type,
            time_in_force=c.time_in_force,
            price_ticks=c.price_ticks,
            quantity_lots=c.quantity_lots,
            filled_lots=0,
            filled_value="0",
            expires_at_us=c.expires_at_us,
            post_only=c.post_only,
            self_trade_prevention=mode,
            status=OrderStatus.PENDING if c.type in STOPS else OrderStatus.OPEN,
            created_at_us=self.time_us,
            updated_at_us=self.time_us,
            sequence=self.sequence,
            stop_price_ticks=c.stop_price_ticks,
            display_lots=c.display_lots,
            quote_value=c.quote_value,
        )
        self.purse.rates[order.order_id] = self.desk.fees(c.account, rules)
        require(not (c.post_only and self._makers(order)), "would_take", "price_ticks")
        if c.time_in_force == TimeInForce.FOK:
            require(self._would_fill(order), "unfillable", "quantity_lots")
        return order

    def _accept(self, order: Order) -> list[Event]:
        self.last_order_id = max(self.last_order_id, order.order_id)
        entering = self._wait if waits(order) else self._enter
        return [OrderAccepted(order), *entering(order)]

    def _copy(self) -> Oracle:
        other = copy(self)  # shallow, then the things that trading writes to
        other.live, other.place = dict(self.live), dict(self.place)
        other.trades, other.last_price = dict(self.trades), dict(self.last_price)
        other.purse = self.purse.copy()
        return other

    def _cost(self, order: Order) -> int:
        """What an order needs when it comes in."""
        rules = self.rules[order.market]
        by_book = order.quote_value or (order.side == Side.BUY and order.price_ticks == 0)
        if not rules.settles or order.account == ANONYMOUS or not by_book:
            return self.purse.needs(rules, order)
        if waits(order):
            return 0
        trades = [e for e in self._copy()._trade_on(order) if isinstance(e, TradeExecuted)]
        if order.side == Side.SELL:
            return goods(rules, sum(trade.quantity_lots for trade in trades))
        paid = sum((money(rules, t.price_ticks, t.quantity_lots) for t in trades), 0)
        return self.purse.price(rules, order, paid)

    def _require_funds(self, order: Order, needed: int) -> None:
        rules = self.rules[order.market]
        asset = rules.quote if order.side == Side.BUY else rules.base
        field = "quote_value" if order.quote_value else "quantity_lots"
        enough = needed == 0 or needed <= self.free(order.account, asset)
        require(enough, "insufficient_funds", field)

    def _would_fill(self, order: Order) -> bool:
        last = self._copy()._trade_on(order)[-1]
        if not isinstance(last, OrderEnded) or last.reason != EndReason.FILLED:
            return False
        return last.order.quantity_lots == order.quantity_lots

    def _find(self, account: str, order_id: int) -> Order:
        require(account in self.accounts, "unknown_account", "account")
        if order_id in self.live:
            require(self.live[order_id].account == account, "unknown_order", "order_id")
            return self.live[order_id]
        require(not 1 <= order_id <= self.last_order_id, "not_open", "order_id")
        raise Refused("unknown_order", "order_id")

    # Matching

    def _makers(self, taker: Order, last: int = 0) -> list[Order]:
        """Everything `taker` could trade with, in the order in which it would.

        `last` is the last trade before the taker came, 0 for none.
        """
        rules = self.rules[taker.market]
        makers = [
            order
            for order in self.live.values()
            if order.market == taker.market and order.side != taker.side and not waits(order)
        ]
        sign = 1 if taker.side == Side.BUY else -1
        makers.sort(key=lambda order: (order.price_ticks * sign, self.place[order.order_id]))
        if taker.price_ticks:
            return [o for o in makers if o.price_ticks * sign <= taker.price_ticks * sign]
        # Without a price: not dearer, or cheaper, than the band around the last trade allows.
        return [
            order
            for order in makers
            if (order.price_ticks - last) * sign <= 0 or in_band(rules, order.price_ticks, last)
        ]

    def _wait(self, stop: Order) -> list[Event]:
        self._to_the_back(stop)
        return [StopPlaced(stop)]

    def _to_the_back(self, order: Order) -> None:
        self.last_place += 1
        self.place[order.order_id] = self.last_place
        self.live[order.order_id] = order

    def _enter(self, taker: Order) -> list[Event]:
        """The taker's way; then the stops it elects, then those that they elect, and so on."""
        events = generation = self._trade_on(taker)
        while any(isinstance(event, TradeExecuted) for event in generation):
            prices = [e.price_ticks for e in generation if isinstance(e, TradeExecuted)]
            stops = self._passed(taker.market, prices)
            generation = []
            elected = [self._elect(stop, generation) for stop in stops]
            for number, stop in enumerate(elected, 1):
                paid = self._can_pay(stop, elected[number:])
                generation += self._trade_on(stop) if paid else self._end(stop, EndReason.UNFUNDED)
            events = events + generation
        return events

    def _can_pay(self, stop: Order, behind: list[Order]) -> bool:
        """Whether it can take its hold now; those elected with it `behind` it keep theirs."""
        if stop.price_ticks or stop.side == Side.SELL:
            return True
        try:
            cost, held = self._cost(stop), self._copy()
            held.live |= {order.order_id: order for order in behind}
            held._require_funds(stop, cost)
        except Refused:
            return False
        return True

    def _passed(self, market: str, prices: list[int]) -> list[Order]:
        """The stops that trades at these prices elect: passed furthest first, then the oldest."""
        how_far = {}
        for stop in self.live.values():
            if stop.market == market and waits(stop):
                sign = 1 if stop.side == Side.BUY else -1
                how_far[stop.order_id] = max((p - stop.stop_price_ticks) * sign for p in prices)
        passed = [order_id for order_id, far in how_far.items() if far >= 0]
        passed.sort(key=lambda order_id: (-how_far[order_id], self.place[order_id]))
        return [self.live[order_id] for order_id in passed]

    def _elect(self, stop: Order, events: list[Event]) -> Order:
        del self.live[stop.order_id]
        stop = replace(self._touched(stop), status=OrderStatus.TRIGGERED)
        events.append(StopElected(stop))
        events += self._end_other_leg(stop)
        return stop

    def _trade_on(self, taker: Order) -> list[Event]:
        """What a taker does until it rests or has ended."""
        events: list[Event] = []
        last = self.last_price[taker.market]
        while makers := self._makers(taker, last):
            maker = makers[0]
            if taker.quote_value and self._wants(taker, maker) == 0:
                reason = EndReason.FILLED if taker.filled_lots else EndReason.REMAINDER_EXPIRED
                return [*events, *self._end(taker, reason)]
            same = maker.account == taker.account
            if same and taker.self_trade_prevention != SelfTradePrevention.NONE:
                taker, goes_on = self._prevent(maker, taker, events)
                if not goes_on:
                    return [*events, *self._end(taker, EndReason.SELF_TRADE)]
                continue
            taker = self._trade(maker, taker, events)
            most = self.rules[taker.market].quantity_lots_max
            if rest(taker) == 0 and (not taker.quote_value or taker.filled_lots == most):
                return [*events, *self._end(taker, EndReason.FILLED)]
        if taker.time_in_force in NEVER_RESTS or taker.price_ticks == 0:
            return [*events, *self._end(taker, EndReason.REMAINDER_EXPIRED)]
        taker = self._shown_anew(taker)
        self._to_the_back(taker)
        return [*events, OrderRested(taker)]

    def _shown_anew(self, order: Order) -> Order:
        return replace(order, shown_lots=min(order.display_lots, rest(order)))

    def _wants(self, taker: Order, maker: Order) -> int:
        if not taker.quote_value:
            return rest(taker)
        rules, most = self.rules[taker.market], int(taker.quote_value)
        lots = (most - int(taker.filled_value)) // maker.price_ticks
        while taker.side == Side.BUY and lots > 0:
            value = int(taker.filled_value) + lots * maker.price_ticks
            if self.purse.with_fee(rules, taker, value) <= money(rules, most, 1):
                break
            lots -= 1
        return max(min(lots, rules.quantity_lots_max - taker.filled_lots), 0)

    def _trade(self, maker: Order, taker: Order, events: list[Event]) -> Order:
        there = maker.shown_lots if maker.display_lots else rest(maker)
        lots = min(there, self._wants(taker, maker))
        self.trades[maker.market] += 1
        self.last_price[maker.market] = maker.price_ticks
        trade = TradeExecuted(
            market=maker.market,
            trade_id=self.trades[maker.market],
            price_ticks=maker.price_ticks,
            quantity_lots=lots,
            taker_side=taker.side,
            maker_order_id=maker.order_id,
            taker_order_id=taker.order_id,
            maker_account=maker.account,
            taker_account=taker.account,
        )
        rules = self.rules[maker.market]
        fees = [str(fee) for fee in self.purse.fees(rules, trade)]
        trade = replace(trade, maker_fee=fees[0], taker_fee=fees[1])
        self.purse.trade(rules, trade)
        events.append(trade)
        maker = self._filled(maker, trade)
        if maker.display_lots:
            maker = replace(maker, shown_lots=maker.shown_lots - lots)
        self.live[maker.order_id] = maker
        events += [*self._end_other_leg(maker), *self._end_other_leg(taker)]
        if rest(maker) == 0:
            events += self._end(maker, EndReason.FILLED)
        elif maker.display_lots and maker.shown_lots == 0:
            self._to_the_back(self._shown_anew(maker))
            events.append(OrderReplenished(self.live[maker.order_id]))
        taker = self._filled(taker, trade)
        if taker.quote_value:
            return replace(taker, quantity_lots=taker.filled_lots)
        return taker

    def _filled(self, order: Order, trade: TradeExecuted) -> Order:
        return replace(
            self._touched(order),
            filled_lots=order.filled_lots + trade.quantity_lots,
            filled_value=str(int(order.filled_value) + trade.price_ticks * trade.quantity_lots),
            status=OrderStatus.PARTIALLY_FILLED,
        )

    def _prevent(self, maker: Order, taker: Order, events: list[Event]) -> tuple[Order, bool]:
        """What becomes of the taker, and whether it goes on."""
        mode = taker.self_trade_prevention
        if mode == SelfTradePrevention.EXPIRE_TAKER:
            return taker, False
        if mode in (SelfTradePrevention.EXPIRE_MAKER, SelfTradePrevention.EXPIRE_BOTH):
            events += self._end(maker, EndReason.SELF_TRADE)
            return taker, mode == SelfTradePrevention.EXPIRE_MAKER
        assert mode == SelfTradePrevention.DECREMENT
        wanted = self._wants(taker, maker)
        lots = min(rest(maker), wanted)
        if rest(maker) == lots:
            events += self._end(maker, EndReason.SELF_TRADE)
        else:
            smaller = replace(self._touched(maker), quantity_lots=maker.quantity_lots - lots)
            smaller = replace(smaller, shown_lots=min(smaller.shown_lots, rest(smaller)))
            self.live[maker.order_id] = smaller
            events.append(OrderReduced(smaller))
        if wanted == lots:
            return taker, False
        if taker.quote_value:
            less = int(taker.quote_value) - lots * maker.price_ticks
            taker = replace(taker, quote_value=str(less))
        else:
            taker = replace(taker, quantity_lots=taker.quantity_lots - lots)
        events.append(OrderReduced(taker))
        return taker, True

    # Ends

    def _end(self, order: Order, reason: EndReason) -> list[Event]:
        return [self._gone(order, reason), *self._end_other_leg(order)]

    def _end_other_leg(self, order: Order) -> list[Event]:
        if order.oco_order_id not in self.live:
            return []
        return [self._gone(self.live[order.oco_order_id], EndReason.OTHER_LEG)]

    def _gone(self, order: Order, reason: EndReason) -> OrderEnded:
        self.live.pop(order.order_id, None)
        self.place.pop(order.order_id, None)
        ended = replace(self._touched(order), status=STATUS[reason.name], shown_lots=0)
        return OrderEnded(ended, reason)

    def _end_all(self, orders: list[Order], reason: EndReason) -> list[Event]:
        """One after the other; one may take another along."""
        events: list[Event] = []
        for order in orders:
            if order.order_id in self.live:
                events += self._end(order, reason)
        return events

    def _touched(self, order: Order) -> Order:
        return replace(order, updated_at_us=self.time_us, sequence=self.sequence)
