"""A second exchange, as dumb as can be: sorted lists, full scans, copies.

It shares nothing with the real one but the vocabulary and the limits. It keeps the public `Order`
of each live order and its place in the queue, sorts the makers anew before every single trade,
and decides fill-or-kill, and what a market buy costs, by *trying* on a copy. Slow, and easy to
believe.

It tells no `BalanceChanged`: `balances` counts them all anew, and `agrees` compares.
"""

from __future__ import annotations

import re
from copy import copy

from msgspec.structs import replace

from raft_exchange.matching import limits
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AccountCreated,
    AdvanceTime,
    AllCanceled,
    AmendOrder,
    BalanceChanged,
    CancelAll,
    CancelOrder,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateMarket,
    Deposit,
    EndReason,
    Event,
    MarketChanged,
    MarketRules,
    MarketStatus,
    Order,
    OrderAccepted,
    OrderAmended,
    OrderEnded,
    OrderReduced,
    OrderRested,
    OrderStatus,
    OrderType,
    PlaceOrder,
    RejectCode,
    SelfTradePrevention,
    Side,
    TimeAdvanced,
    TimeInForce,
    TradeExecuted,
    TransferMade,
    Withdraw,
)
from tests.support.oracle_funds import Balances, Purse, amount_of, money

_STATUS = {
    "FILLED": OrderStatus.FILLED,
    "CANCELED_BY_OWNER": OrderStatus.CANCELED,
    "REMAINDER_EXPIRED": OrderStatus.EXPIRED,
    "TIME_EXPIRED": OrderStatus.EXPIRED,
    "SELF_TRADE": OrderStatus.CANCELED,
    "AMENDED_DOWN": OrderStatus.CANCELED,
}
_NEVER_RESTS = (TimeInForce.IOC, TimeInForce.FOK)


class _Refused(Exception):
    def __init__(self, code: str, field: str) -> None:
        super().__init__(code, field)
        self.event = CommandRefused(RejectCode(code), field)


def _require(claim: bool, code: str, field: str) -> None:
    if not claim:
        raise _Refused(code, field)


def _rest(order: Order) -> int:
    return order.quantity_lots - order.filled_lots


class Oracle:
    """The exchange again. `apply` answers like `Exchange.apply`, event for event."""

    def __init__(self) -> None:
        self.sequence = self.time_us = self.last_order_id = self.last_place = 0
        self.accounts = [ANONYMOUS]
        self.rules: dict[str, MarketRules] = {}
        self.status: dict[str, MarketStatus] = {}
        self.trades: dict[str, int] = {}
        self.live: dict[int, Order] = {}
        self.place: dict[int, int] = {}
        self.purse = Purse()
        self.told: Balances = {}
        self.transfers: list[TransferMade] = []

    def agrees(self, events: list[Event], expected: list[Event]) -> bool:
        """Say whether the machine's events are the expected ones, and then tell every balance."""
        told = [event for event in events if isinstance(event, BalanceChanged)]
        if [*expected, *told] != events:
            return False
        now = self.purse.balances(self.rules, self.live.values())
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

    def apply(self, command: Command) -> list[Event]:
        self.sequence += 1
        handlers = {
            AdvanceTime: self._time,
            CreateAccount: self._account,
            CreateMarket: self._market,
            ChangeMarket: self._change,
            Deposit: self._transfer,
            Withdraw: self._transfer,
            PlaceOrder: self._place,
            AmendOrder: self._amend,
            CancelOrder: self._cancel,
            CancelAll: self._cancel_all,
        }
        try:
            return handlers[type(command)](command)  # type: ignore[operator,no-any-return]
        except _Refused as refused:
            return [refused.event]

    # Time, accounts, markets

    def _time(self, command: AdvanceTime) -> list[Event]:
        _require(0 <= command.time_us <= limits.TIME_US_MAX, "out_of_range", "time_us")
        self.time_us = max(self.time_us, command.time_us)
        due = [o for o in self.live.values() if o.expires_at_us and o.expires_at_us <= self.time_us]
        due.sort(key=lambda order: (order.expires_at_us, order.order_id))
        return [TimeAdvanced(self.time_us), *(self._end(o, EndReason.TIME_EXPIRED) for o in due)]

    def _account(self, command: CreateAccount) -> list[Event]:
        _require(_is_name(command.account), "bad_field", "account")
        _require(command.account not in self.accounts, "already_exists", "account")
        _require(len(self.accounts) < limits.ACCOUNTS_MAX, "limit_reached", "account")
        self.accounts.append(command.account)
        return [AccountCreated(command.account)]

    def _market(self, command: CreateMarket) -> list[Event]:
        name = command.rules.market
        _require_rules(command.rules)
        _require(name not in self.rules, "already_exists", "market")
        _require(len(self.rules) < limits.MARKETS_MAX, "limit_reached", "market")
        self.rules[name], self.trades[name] = command.rules, 0
        self.status[name] = MarketStatus.TRADING
        opened = MarketChanged(command.rules, MarketStatus.TRADING)
        if command.rules.settles and "fees" not in self.accounts:
            self.accounts.append("fees")
            return [opened, AccountCreated("fees")]
        return [opened]

    def _transfer(self, c: Deposit | Withdraw) -> list[Event]:
        _require(
            re.fullmatch(r"[ -~]{1,64}", c.transfer_id) is not None, "bad_field", "transfer_id"
        )
        amount = amount_of(c.amount)
        _require(amount > 0, "out_of_range", "amount")
        _require(c.account in self.accounts, "unknown_account", "account")
        _require(c.account != ANONYMOUS, "invalid_combination", "account")
        comes = isinstance(c, Deposit)
        now = self.sequence, self.time_us
        made = TransferMade(c.account, c.asset, c.amount, c.transfer_id, comes, *now)
        for earlier in self.transfers[-limits.TRANSFERS_REMEMBERED_MAX :]:
            if (earlier.account, earlier.transfer_id) == (c.account, c.transfer_id):
                then = earlier.first_sequence, earlier.first_time_us
                again = replace(made, first_sequence=then[0], first_time_us=then[1])
                _require(again == earlier, "idempotency_mismatch", "transfer_id")
                return [earlier]
        known = [asset for rules in self.rules.values() for asset in (rules.base, rules.quote)]
        _require(c.asset in known, "bad_field", "asset")
        units = amount
        if comes:
            inside = self.purse.inside.get(c.asset, 0)
            _require(inside + amount <= 10**72, "limit_reached", "amount")
        else:
            _require(self._free(c.account, c.asset) >= units, "insufficient_funds", "amount")
            units = -units
        self.purse.give(c.account, c.asset, units)
        self.purse.inside[c.asset] = self.purse.inside.get(c.asset, 0) + units
        self.transfers.append(made)
        return [made]

    def _free(self, account: str, asset: str) -> int:
        balances = self.purse.balances(self.rules, self.live.values())
        return balances.get((account, asset), (0, 0))[0]

    def _change(self, command: ChangeMarket) -> list[Event]:
        _require(command.market in self.rules, "unknown_market", "market")
        old = self.rules[command.market]
        stp = command.self_trade_prevention
        new = replace(
            old,
            price_ticks_min=_or(command.price_ticks_min, old.price_ticks_min),
            price_ticks_max=_or(command.price_ticks_max, old.price_ticks_max),
            quantity_lots_min=_or(command.quantity_lots_min, old.quantity_lots_min),
            quantity_lots_max=_or(command.quantity_lots_max, old.quantity_lots_max),
            notional_min=_or(command.notional_min, old.notional_min),
            self_trade_prevention=old.self_trade_prevention if stp is None else stp,
            maker_fee_e8=_or(command.maker_fee_e8, old.maker_fee_e8),
            taker_fee_e8=_or(command.taker_fee_e8, old.taker_fee_e8),
        )
        _require_rules(new)
        self.rules[command.market] = new
        if command.status is not None:
            self.status[command.market] = command.status
        return [MarketChanged(new, self.status[command.market])]

    # Orders

    def _place(self, c: PlaceOrder) -> list[Event]:
        _require_sane(c, self.time_us)
        _require(c.account in self.accounts, "unknown_account", "account")
        _require(c.market in self.rules, "unknown_market", "market")
        rules, mode = self.rules[c.market], c.self_trade_prevention
        _require(self.status[c.market] == MarketStatus.TRADING, "market_halted", "market")
        _require_terms(rules, c.type, c.price_ticks, c.quantity_lots)
        if c.client_order_id:
            taken = (c.account, c.client_order_id) in [
                (order.account, order.client_order_id) for order in self.live.values()
            ]
            _require(not taken, "duplicate_client_order_id", "client_order_id")
        if c.time_in_force not in _NEVER_RESTS:
            self._require_room(c.account, c.market)
        if mode is None:
            mode = rules.self_trade_prevention
            if c.account == ANONYMOUS:
                mode = SelfTradePrevention.NONE
        order = Order(
            order_id=self.last_order_id + 1,
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
            status=OrderStatus.OPEN,
            created_at_us=self.time_us,
            updated_at_us=self.time_us,
            sequence=self.sequence,
        )
        self.purse.note_rates(order.order_id, rules)
        _require(not (c.post_only and self._makers(order)), "would_take", "price_ticks")
        if c.time_in_force == TimeInForce.FOK:
            _require(self._would_fill(order), "unfillable", "quantity_lots")
        self._require_funds(order)
        self.last_order_id += 1
        return [OrderAccepted(order), *self._enter(order)]

    def _require_funds(self, order: Order) -> None:
        rules = self.rules[order.market]
        if not rules.settles or order.account == ANONYMOUS:
            return
        asset = rules.quote if order.side == Side.BUY else rules.base
        if order.type == OrderType.MARKET and order.side == Side.BUY:
            trades = [e for e in self._trial()._enter(order) if isinstance(e, TradeExecuted)]
            paid = sum((money(rules, t.price_ticks, t.quantity_lots) for t in trades), 0)
            needed = self.purse.price(rules, order, paid)
        else:
            needed = self.purse.needs(rules, order)
        before = self.live.get(order.order_id)
        held = 0 if before is None else self.purse.needs(rules, before)
        enough = needed <= self._free(order.account, asset) + held
        _require(enough, "insufficient_funds", "quantity_lots")

    def _trial(self) -> Oracle:
        trial = copy(self)  # shallow, then what trading writes to
        trial.live, trial.place = dict(self.live), dict(self.place)
        trial.trades, trial.purse = dict(self.trades), self.purse.copy()
        return trial

    def _would_fill(self, order: Order) -> bool:
        last = self._trial()._enter(order)[-1]
        if not isinstance(last, OrderEnded) or last.reason != EndReason.FILLED:
            return False
        return last.order.quantity_lots == order.quantity_lots

    def _require_room(self, account: str, market: str) -> None:
        in_market = [order for order in self.live.values() if order.market == market]
        own = [order for order in in_market if order.account == account]
        _require(len(own) < limits.ORDERS_PER_ACCOUNT_MARKET_MAX, "too_many_orders", "")
        _require(len(in_market) < limits.ORDERS_PER_MARKET_MAX, "limit_reached", "")
        _require(len(self.live) < limits.ORDERS_MAX, "limit_reached", "")

    def _amend(self, c: AmendOrder) -> list[Event]:
        if c.price_ticks is not None:
            _require(0 < c.price_ticks <= limits.PRICE_TICKS_MAX, "out_of_range", "price_ticks")
        if c.quantity_lots is not None:
            good = 0 < c.quantity_lots <= limits.QUANTITY_LOTS_MAX
            _require(good, "out_of_range", "quantity_lots")
        order = self._find(c.account, c.order_id)
        trading = self.status[order.market] == MarketStatus.TRADING
        _require(trading, "market_halted", "market")
        new = replace(
            order,
            price_ticks=_or(c.price_ticks, order.price_ticks),
            quantity_lots=_or(c.quantity_lots, order.quantity_lots),
            updated_at_us=self.time_us,
            sequence=self.sequence,
        )
        if new.quantity_lots <= order.filled_lots:
            return [self._end(order, EndReason.AMENDED_DOWN)]
        if (new.price_ticks, new.quantity_lots) != (order.price_ticks, order.quantity_lots):
            _require_terms(self.rules[order.market], order.type, new.price_ticks, new.quantity_lots)
            _require(not (order.post_only and self._makers(new)), "would_take", "price_ticks")
            self._require_funds(new)
        if new.price_ticks == order.price_ticks and new.quantity_lots <= order.quantity_lots:
            self.live[order.order_id] = new
            return [OrderAmended(new, True)]
        del self.live[order.order_id]
        return [OrderAmended(new, False), *self._enter(new)]

    def _cancel(self, c: CancelOrder) -> list[Event]:
        if c.order_id != 0:
            return [self._end(self._find(c.account, c.order_id), EndReason.CANCELED_BY_OWNER)]
        _require(c.account in self.accounts, "unknown_account", "account")
        for order in self.live.values():
            if order.account == c.account and order.client_order_id == c.client_order_id != "":
                return [self._end(order, EndReason.CANCELED_BY_OWNER)]
        raise _Refused("unknown_order", "client_order_id")

    def _cancel_all(self, c: CancelAll) -> list[Event]:
        _require(c.account in self.accounts, "unknown_account", "account")
        _require(c.market is None or c.market in self.rules, "unknown_market", "market")
        chosen = [
            order
            for order_id, order in sorted(self.live.items())
            if order.account == c.account
            and c.market in (None, order.market)
            and c.side in (None, order.side)
        ]
        ends = [self._end(order, EndReason.CANCELED_BY_OWNER) for order in chosen]
        return [*ends, AllCanceled(len(ends))]

    def _find(self, account: str, order_id: int) -> Order:
        _require(account in self.accounts, "unknown_account", "account")
        if order_id in self.live:
            _require(self.live[order_id].account == account, "unknown_order", "order_id")
            return self.live[order_id]
        _require(not 1 <= order_id <= self.last_order_id, "not_open", "order_id")
        raise _Refused("unknown_order", "order_id")

    # Matching

    def _makers(self, taker: Order) -> list[Order]:
        """Everything `taker` could trade with, in the order in which it would."""
        makers = [
            order
            for order in self.live.values()
            if order.market == taker.market and order.side != taker.side
        ]
        if taker.side == Side.BUY:
            makers.sort(key=lambda order: (order.price_ticks, self.place[order.order_id]))
            return [o for o in makers if taker.type or o.price_ticks <= taker.price_ticks]
        makers.sort(key=lambda order: (-order.price_ticks, self.place[order.order_id]))
        return [o for o in makers if taker.type or o.price_ticks >= taker.price_ticks]

    def _enter(self, taker: Order) -> list[Event]:
        events: list[Event] = []
        none = SelfTradePrevention.NONE
        while makers := self._makers(taker):
            maker = makers[0]
            if maker.account == taker.account and taker.self_trade_prevention != none:
                taker, goes_on = self._prevent(maker, taker, events)
                if not goes_on:
                    events.append(self._end(taker, EndReason.SELF_TRADE))
                    return events
                continue
            taker = self._trade(maker, taker, events)
            if _rest(taker) == 0:
                events.append(self._end(taker, EndReason.FILLED))
                return events
        if taker.time_in_force in _NEVER_RESTS:
            events.append(self._end(taker, EndReason.REMAINDER_EXPIRED))
            return events
        self.last_place += 1
        self.place[taker.order_id] = self.last_place
        self.live[taker.order_id] = taker
        return [*events, OrderRested(taker)]

    def _trade(self, maker: Order, taker: Order, events: list[Event]) -> Order:
        lots = min(_rest(maker), _rest(taker))
        self.trades[maker.market] += 1
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
        maker = self.live[maker.order_id] = self._filled(maker, trade)
        if _rest(maker) == 0:
            events.append(self._end(maker, EndReason.FILLED))
        return self._filled(taker, trade)

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
            events.append(self._end(maker, EndReason.SELF_TRADE))
            return taker, mode == SelfTradePrevention.EXPIRE_MAKER
        assert mode == SelfTradePrevention.DECREMENT
        lots = min(_rest(maker), _rest(taker))
        if _rest(maker) == lots:
            events.append(self._end(maker, EndReason.SELF_TRADE))
        else:
            smaller = replace(self._touched(maker), quantity_lots=maker.quantity_lots - lots)
            self.live[maker.order_id] = smaller
            events.append(OrderReduced(smaller))
        if _rest(taker) == lots:
            return taker, False
        taker = replace(taker, quantity_lots=taker.quantity_lots - lots)
        events.append(OrderReduced(taker))
        return taker, True

    def _end(self, order: Order, reason: EndReason) -> OrderEnded:
        self.live.pop(order.order_id, None)
        self.place.pop(order.order_id, None)
        return OrderEnded(replace(self._touched(order), status=_STATUS[reason.name]), reason)

    def _touched(self, order: Order) -> Order:
        return replace(order, updated_at_us=self.time_us, sequence=self.sequence)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) is not None and len(text) <= 32


def _require_rules(rules: MarketRules) -> None:
    for field in ("market", "base", "quote"):
        _require(_is_name(getattr(rules, field)), "bad_field", field)
    _require(rules.base != rules.quote, "invalid_combination", "quote")
    for field in ("tick_size_e18", "lot_size_e18"):
        good = 1 <= getattr(rules, field) <= limits.SIZE_E18_MAX
        _require(good, "out_of_range", field)
    for noun, largest in (("price_ticks", 10**15), ("quantity_lots", 10**18)):
        for field in (noun + "_min", noun + "_max"):
            _require(1 <= getattr(rules, field) <= largest, "out_of_range", field)
    _require(0 <= rules.notional_min < 2**63, "out_of_range", "notional_min")
    for field in ("maker_fee_e8", "taker_fee_e8"):
        _require(0 <= getattr(rules, field) <= 10**7, "out_of_range", field)
    for noun in ("price_ticks", "quantity_lots"):
        ordered = getattr(rules, noun + "_min") <= getattr(rules, noun + "_max")
        _require(ordered, "invalid_combination", noun + "_max")


def _require_sane(c: PlaceOrder, time_us: int) -> None:
    printable = re.fullmatch(r"[ -~]{0,64}", c.client_order_id) is not None
    _require(printable, "bad_field", "client_order_id")
    _require(1 <= c.quantity_lots <= limits.QUANTITY_LOTS_MAX, "out_of_range", "quantity_lots")
    immediate = c.time_in_force in _NEVER_RESTS
    if c.type == OrderType.MARKET:
        _require(c.price_ticks == 0, "invalid_combination", "price_ticks")
        _require(immediate, "invalid_combination", "time_in_force")
    else:
        _require(1 <= c.price_ticks <= limits.PRICE_TICKS_MAX, "out_of_range", "price_ticks")
    _require(not (immediate and c.post_only), "invalid_combination", "post_only")
    if c.time_in_force == TimeInForce.GTD:
        _require(c.expires_at_us != 0, "invalid_combination", "expires_at_us")
        good = time_us < c.expires_at_us <= limits.TIME_US_MAX
        _require(good, "out_of_range", "expires_at_us")
    else:
        _require(c.expires_at_us == 0, "invalid_combination", "expires_at_us")


def _require_terms(rules: MarketRules, type_: OrderType, price: int, lots: int) -> None:
    in_range = rules.quantity_lots_min <= lots <= rules.quantity_lots_max
    _require(in_range, "out_of_range", "quantity_lots")
    if type_ == OrderType.LIMIT:
        in_range = rules.price_ticks_min <= price <= rules.price_ticks_max
        _require(in_range, "out_of_range", "price_ticks")
        _require(price * lots >= rules.notional_min, "min_notional", "quantity_lots")
