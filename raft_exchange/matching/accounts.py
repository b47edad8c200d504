"""Who owns what: balances, what orders hold of them, and where each fill's money goes.

Rules of this file:

- One scale for every asset, because one asset may be the base of one market and the quote of
  another: a balance counts units of 10^-36. A price is ticks x tick_size_e18, a quantity is
  lots x lot_size_e18, so their product is a whole number of 10^-36 and nothing is ever rounded but
  a fee, which is floored. Such numbers pass 64 bits; they leave as decimal text.
- A balance is `free` and `held`, neither ever negative. `held` is the sum of what the account's
  live orders hold, and each order knows its own part (`LiveOrder.held`).
- A limit buy holds price x rest and the highest fee it can owe; a sell holds its rest; a market
  buy what the book costs when it enters. A fill takes what it costs out of the hold and gives
  back what the better price saved; whatever ends the order gives back the rest.
- `anonymous` has unlimited funds: it holds nothing, what it pays enters the exchange, what it is
  paid leaves it. So `totals` is deposits less withdrawals, in this wider sense, and always equals
  the sum of all balances (`check`).
- Fee rates are those of the moment an order was accepted: a later change binds later orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from raft_exchange.matching.limits import PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from raft_exchange.matching.messages import (
    ANONYMOUS,
    BalanceChanged,
    CommandRefused,
    Event,
    MarketRules,
    RejectCode,
    Side,
)
from raft_exchange.matching.orders import LiveOrder

FEES: Final = "fees"
"""The account that all fees go to; opened with the first market that settles here."""

RATE_ONE_E8: Final = 10**8
UNIT_E18: Final = 10**18


class Balance(msgspec.Struct, eq=False):
    """What an account has of one asset, in units of 10^-36."""

    free: int = 0
    held: int = 0
    summed: int = 0  # how much of it the ledger's `sums` count: all but this command's change


class Ledger:
    """Every balance of every account.

    Attributes:
        totals: what is inside the exchange of each asset, kept as it enters and leaves: O(1) to
            read, and equal to the sum of all balances.
        sums: the sum of all balances of each asset, kept as they change, so that it can be held
            against `totals` at any time between two commands.
        touched: the balances that the present command looked at to change them.
    """

    __slots__ = ("_balances", "sums", "totals", "touched")

    def __init__(self) -> None:
        self._balances: dict[str, dict[str, Balance]] = {}
        self.touched: dict[tuple[str, str], Balance] = {}
        self.totals: dict[str, int] = {}
        self.sums: dict[str, int] = {}

    def balance(self, account: str, asset: str) -> Balance:
        """Return the balance to change it; the change is told at the end of the command. O(1)."""
        balances = self._balances.get(account)
        if balances is None:
            balances = self._balances[account] = {}
        balance = balances.get(asset)
        if balance is None:
            balance = balances[asset] = Balance()
        self.touched[account, asset] = balance
        return balance

    def free(self, account: str, asset: str) -> int:
        """Return what `account` may spend of `asset`; changes nothing. O(1)."""
        balance = self._balances.get(account, {}).get(asset)
        return 0 if balance is None else balance.free

    def credit(self, account: str, asset: str, amount: int) -> None:
        """Give `amount` to an account from inside the exchange; to `anonymous`, it leaves it."""
        assert amount >= 0, amount
        if account == ANONYMOUS:
            self.totals[asset] = self.totals.get(asset, 0) - amount
        else:
            self.balance(account, asset).free += amount

    def enter(self, account: str, asset: str, amount: int) -> None:
        """Bring `amount` into the exchange: a deposit."""
        assert amount > 0, amount
        self.totals[asset] = self.totals.get(asset, 0) + amount
        self.balance(account, asset).free += amount

    def leave(self, account: str, asset: str, amount: int) -> None:
        """Take `amount`, which the account has free, out of the exchange: a withdrawal."""
        assert 0 < amount <= self.free(account, asset), amount
        self.totals[asset] -= amount
        self.balance(account, asset).free -= amount

    def issue(self, asset: str, amount: int) -> None:
        """Bring in what the account with unlimited funds pays."""
        self.totals[asset] = self.totals.get(asset, 0) + amount

    def changes(self) -> list[Event]:
        """Return the balances touched since the last call, first touched first, and forget them."""
        events: list[Event] = []
        sums = self.sums
        for (account, asset), balance in self.touched.items():
            free, held = balance.free, balance.held
            events.append(BalanceChanged(account, asset, str(free), str(held)))
            sums[asset] = sums.get(asset, 0) + free + held - balance.summed
            balance.summed = free + held
        self.touched.clear()
        return events

    def unbalanced(self) -> list[str]:
        """Return the assets of which the balances are not what came in less what left: a bug.

        To ask between two commands. A snapshot holds balances alone, so what was wrong before it
        is right to whoever starts from it. O(assets).
        """
        assets = self.totals.keys() | self.sums.keys()
        return sorted(a for a in assets if self.totals.get(a, 0) != self.sums.get(a, 0))

    def entries(self) -> list[tuple[str, str, Balance]]:
        """Return every balance that is not empty, by account and asset: canonical. O(n log n)."""
        return [
            (account, asset, balance)
            for account, balances in sorted(self._balances.items())
            for asset, balance in sorted(balances.items())
            if balance.free or balance.held
        ]

    def restore(self, account: str, asset: str, balance: Balance) -> None:
        """Put a balance of a snapshot in its place; `totals` and `sums` grow by it."""
        self._balances.setdefault(account, {})[asset] = balance
        balance.summed = balance.free + balance.held
        for counts in (self.totals, self.sums):
            counts[asset] = counts.get(asset, 0) + balance.summed

    def check(self, orders: Iterable[tuple[str, LiveOrder]]) -> None:
        """Assert conservation, and that what is held is held by orders. O(balances + orders).

        Args:
            orders: every live order and the asset in which it holds.
        """
        assert not self.touched, "every change was told"
        held: dict[tuple[str, str], int] = {}
        for asset, order in orders:
            assert order.held >= 0
            assert not order.held or order.account != ANONYMOUS
            held[order.account, asset] = held.get((order.account, asset), 0) + order.held
        sums: dict[str, int] = {}
        for account, asset, balance in self.entries():
            assert balance.free >= 0, "nothing is ever negative"
            assert balance.held == held.pop((account, asset), 0), "an order holds it"
            sums[asset] = sums.get(asset, 0) + balance.free + balance.held
        assert not any(held.values()), "what an order holds is in its account's balance"
        assert sums == {asset: n for asset, n in self.totals.items() if n}, "conservation"
        assert sums == {asset: n for asset, n in self.sums.items() if n}, "the sums are kept"


class Funds:
    """The two assets of one market: holds of its orders, and the settlement of its trades.

    Where `is_on` is False the market settles elsewhere: nothing is held or moved, but fees are
    still computed and told.
    """

    __slots__ = ("_base_unit", "_ledger", "_quote_unit", "base", "is_on", "quote")

    def __init__(self, rules: MarketRules, ledger: Ledger) -> None:
        self.is_on = rules.settles
        self.base = rules.base
        self.quote = rules.quote
        self._ledger = ledger
        self._base_unit = rules.lot_size_e18 * UNIT_E18
        self._quote_unit = rules.tick_size_e18 * rules.lot_size_e18

    def asset(self, side: Side) -> str:
        """Return the asset in which an order of `side` holds and pays."""
        return self.quote if side is Side.BUY else self.base

    def needs(self, order: LiveOrder) -> int:
        """Return what `order` must hold for what is left of it, in units of 10^-36."""
        rest_lots = order.quantity_lots - order.filled_lots
        return self.needs_at(order, price_ticks=order.price_ticks, rest_lots=rest_lots)

    def needs_at(self, order: LiveOrder, *, price_ticks: int, rest_lots: int) -> int:
        """Return what `order` would have to hold with other terms.

        A market buy has no price of its own: it goes on with what it holds. So does a quote-sized
        order, and a stop that will be a market buy holds nothing while it waits.
        """
        if not self.is_on or order.account == ANONYMOUS:
            return 0
        if order.quote_value or (order.side is Side.BUY and not price_ticks):
            return order.held
        if order.side is Side.SELL:
            return rest_lots * self._base_unit
        return self.price_of(order, price_ticks * rest_lots)

    def goods_of(self, order: LiveOrder, lots: int) -> int:
        """Return what a sell of `lots` hands over."""
        return lots * self._base_unit if self.is_on and order.account != ANONYMOUS else 0

    def value_within(self, order: LiveOrder, quote_value: int) -> int:
        """Return how much value (price_ticks x quantity_lots) a quote-sized order may trade.

        A buy spends at most `quote_value`, its fee included: the fee on the sum, which is never
        less than the sum of the fees. A sell sells for at most that, before fees.
        """
        if order.side is Side.SELL:
            return quote_value
        spend = quote_value * self._quote_unit
        cost = ((spend + 1) * RATE_ONE_E8 - 1) // (RATE_ONE_E8 + order.taker_fee_e8)
        return cost // self._quote_unit

    def price_of(self, order: LiveOrder, value: int) -> int:
        """Return what a buy of `value` (price_ticks x quantity_lots) costs `order` at most."""
        if not self.is_on or order.account == ANONYMOUS:
            return 0
        cost = value * self._quote_unit
        rate_e8 = order.maker_fee_e8 if order.price_ticks else 0  # without a price it never rests
        if not order.post_only and order.taker_fee_e8 > rate_e8:
            rate_e8 = order.taker_fee_e8
        return cost + cost * rate_e8 // RATE_ONE_E8

    def refuse_hold(self, order: LiveOrder, amount: int) -> CommandRefused | None:
        """Refuse to let `order` hold `amount` where its owner has less, with what it holds now."""
        if amount > order.held and amount - order.held > self.free(order):
            field = "quote_value" if order.quote_value else "quantity_lots"
            return CommandRefused(RejectCode.INSUFFICIENT_FUNDS, field)
        return None

    def free(self, order: LiveOrder) -> int:
        """Return what the owner of `order` has free of the asset in which it pays. O(1)."""
        return self._ledger.free(order.account, self.asset(order.side))

    def most(self, order: LiveOrder, *, freed: int = 0) -> tuple[int, int]:
        """Return a value (price_ticks x quantity_lots) and lots; beyond either none can pay.

        The owner of `order` has free what it has now and `freed`. A buy pays for the value, a
        sell hands over the lots. O(1).
        """
        free = self.free(order) + freed
        if order.side is Side.BUY:
            return free // self._quote_unit, QUANTITY_LOTS_MAX
        return PRICE_TICKS_MAX * QUANTITY_LOTS_MAX, free // self._base_unit

    def hold(self, order: LiveOrder, amount: int) -> None:
        """Let `order` hold exactly `amount`, more or less than it does; the owner has it. O(1)."""
        more = amount - order.held
        if more:
            balance = self._ledger.balance(order.account, self.asset(order.side))
            balance.free -= more
            balance.held += more
            order.held = amount
            assert balance.free >= 0, "a hold was refused or is covered"

    def release(self, order: LiveOrder) -> None:
        """Give back all that `order` still holds. O(1)."""
        if order.held:
            self.hold(order, 0)

    def settle(
        self, maker: LiveOrder, taker: LiveOrder, *, price_ticks: int, lots: int
    ) -> tuple[int, int]:
        """Move base and quote for one fill, which the orders' `filled_lots` already count.

        Returns:
            The fees of maker and taker, in units of 10^-36 of the quote asset. O(1).
        """
        value = price_ticks * lots * self._quote_unit
        maker_fee = value * maker.maker_fee_e8 // RATE_ONE_E8
        taker_fee = value * taker.taker_fee_e8 // RATE_ONE_E8
        if self.is_on:
            base = lots * self._base_unit
            if taker.side is Side.BUY:
                self._exchange(taker, maker, base, paid=value + taker_fee, got=value - maker_fee)
            else:
                self._exchange(maker, taker, base, paid=value + maker_fee, got=value - taker_fee)
            if maker_fee or taker_fee:
                self._ledger.credit(FEES, self.quote, maker_fee + taker_fee)
        return maker_fee, taker_fee

    def _exchange(
        self, buyer: LiveOrder, seller: LiveOrder, base: int, *, paid: int, got: int
    ) -> None:
        self._pay(buyer, self.quote, paid)
        self._pay(seller, self.base, base)
        self._ledger.credit(buyer.account, self.base, base)
        self._ledger.credit(seller.account, self.quote, got)

    def _pay(self, order: LiveOrder, asset: str, amount: int) -> None:
        ledger = self._ledger
        if order.account == ANONYMOUS:
            ledger.issue(asset, amount)
            return
        assert order.held >= amount, "an order holds what it can owe"
        balance = ledger.balance(order.account, asset)
        balance.held -= amount
        order.held -= amount
        saved = order.held - self.needs(order)
        if saved:
            self.hold(order, order.held - saved)
