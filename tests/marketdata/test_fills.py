"""The ring of fills: bounded, numbered without gaps, the oldest goes first."""

from __future__ import annotations

from raft_exchange.marketdata.fills import Fills
from raft_exchange.marketdata.trades import Trade
from raft_exchange.matching.messages import Side, TradeExecuted

ACCOUNTS = ("alice", "bob", "carol")


def trade(number: int) -> Trade:
    maker, taker = ACCOUNTS[number % 3], ACCOUNTS[number % 2]  # every sixth has one account only
    executed = TradeExecuted("M", number, 1, 1, Side.BUY, 1, 2, maker, taker)
    return Trade(executed, number, number)


def test_the_oldest_trade_makes_room_also_after_a_restore() -> None:
    fills = Fills(trades_max=7)
    for number in range(1, 60):
        fills.append(trade(number))
        fills.check()
        if number % 20 == 0:
            restored = Fills(trades_max=7)
            restored.restore(fills.oldest_first(), count=fills.count)
            fills = restored
            fills.check()
    assert [kept.sequence for kept in fills.oldest_first()] == list(range(53, 60))
    found, _ = fills.page("carol", limit=10, before=None, market=None)
    assert [fill.number for fill in found] == [59, 56, 53]


def test_an_account_whose_trades_are_all_forgotten_has_none() -> None:
    fills = Fills(trades_max=1)
    fills.append(trade(2))  # carol and alice
    fills.append(trade(3))  # alice and bob
    fills.check()
    assert fills.page("carol", limit=10, before=None, market=None) == ([], None)
