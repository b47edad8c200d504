"""The projection in a snapshot: what is restored is what was there, and goes on alike."""

from __future__ import annotations

import pytest

from raft_exchange.marketdata import snapshot
from raft_exchange.marketdata.balances import EMPTY
from raft_exchange.marketdata.candles import INTERVALS_US
from raft_exchange.marketdata.orders import OrderRegister
from raft_exchange.marketdata.snapshot import SnapshotError
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import (
    Command,
    CreateAccount,
    CreateMarket,
    Deposit,
    OrderStatus,
    Side,
    Withdraw,
)
from raft_exchange.matching.versions import NewerVersion
from tests.support.workload import commands, new_exchange, rules

COMMANDS = 3_000


class Twin:
    """A machine and its projection."""

    def __init__(self) -> None:
        self.exchange = new_exchange()
        self.view = MarketData()

    def run(self, command: Command) -> None:
        events = self.exchange.apply(command)
        self.view.apply(self.exchange.sequence, self.exchange.time_us, events)

    def restart(self) -> None:
        """Go on with a projection that was restored from this one's bytes."""
        self.view = snapshot.restore(snapshot.encode(self.view), self.exchange)


def everything(view: MarketData) -> object:
    """All that a reader can get from a projection."""
    return (
        view.sequence,
        view.time_us,
        sorted(view.accounts),
        [
            (
                name,
                market.rules,
                market.status,
                market.trades.newest(10**6),
                [market.depth.queue(side, 10**6) for side in Side],
                [market.depth.levels(side, 10**6) for side in Side],
                [market.candles.newest(interval, 10**6) for interval in INTERVALS_US],
                market.day.at(view.time_us),
            )
            for name, market in view.markets.items()
        ],
        [orders_of(view.orders, account) for account in sorted(view.accounts)],
        view.orders.last_id,
        (view.history.floor, view.history.bytes, view.history.oldest_first()),
        (view.recorder.books, view.recorder.trades, view.recorder.orders),
        (view.recorder.fills, view.recorder.balances),
        [view.balances.of(account) for account in sorted(view.accounts)],
        (view.fills.count, view.fills.oldest_first()),
        (view.totals.orders_accepted, view.totals.commands_refused, view.totals.trades),
    )


def orders_of(register: OrderRegister, account: str) -> object:
    labels = {order.client_order_id for order in register.live_orders()}
    return [register.page(account, limit=10**6)] + [
        register.page(account, limit=10**6, client_order_id=label)
        for label in sorted(labels - {""})
    ]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_restored_is_what_was_there(seed: int) -> None:
    both = Twin()
    for command in commands(seed, COMMANDS):
        both.run(command)
    before = everything(both.view)
    both.restart()
    both.view.check()
    assert everything(both.view) == before


@pytest.mark.parametrize("seed", range(3))
def test_bytes_and_answers_do_not_depend_on_how_often_a_node_was_restored(seed: int) -> None:
    """Dicts of a restored projection have another history, which would show here."""
    whole, restored = Twin(), Twin()
    for number, command in enumerate(commands(seed, COMMANDS)):
        whole.run(command)
        restored.run(command)
        if number % 251 == 0:
            restored.restart()
            assert snapshot.encode(restored.view) == snapshot.encode(whole.view)
    assert everything(restored.view) == everything(whole.view)
    assert snapshot.encode(restored.view) == snapshot.encode(whole.view)


def test_a_market_that_a_reader_holds_becomes_the_restored_one() -> None:
    """A request that waited over an install goes on with the new book, not with a dead one."""
    old, new = Twin(), Twin()
    for number, command in enumerate(commands(1, COMMANDS)):
        new.run(command)
        if number < COMMANDS // 2:
            old.run(command)
    held = old.view.markets["BTC-USD"]
    old.view.adopt(snapshot.restore(snapshot.encode(new.view), new.exchange))
    assert everything(old.view) == everything(new.view)
    assert old.view.markets["BTC-USD"] is held


def test_the_last_id_is_known_though_its_order_is_forgotten() -> None:
    """A node must not say "never heard of it" of an id that was given out."""
    register = OrderRegister()
    register.restore([], [], last_id=7)
    assert register.last_id == 7


def test_finished_orders_leave_in_the_order_they_ended() -> None:
    both = Twin()
    for command in commands(2, COMMANDS):
        both.run(command)
    finished = list(both.view.orders.finished_orders())
    assert all(order.status >= OrderStatus.FILLED for order in finished)
    small = OrderRegister(finished_max=5)
    small.restore([], finished, last_id=both.exchange.order_id)
    assert list(small.finished_orders()) == finished[-5:]
    small.check()


def test_bytes_of_another_moment_are_refused() -> None:
    both = Twin()
    for command in commands(1, 500):
        both.run(command)
    early = snapshot.encode(both.view)
    for command in commands(2, 10):
        both.run(command)
    with pytest.raises(SnapshotError, match="a projection at"):
        snapshot.restore(early, both.exchange)


@pytest.mark.parametrize("garbage", [b"", b"\xc0", b"\x95" + b"\xff" * 20, b"\x96\x07"])
def test_garbage_raises_its_own_error_only(garbage: bytes) -> None:
    with pytest.raises(SnapshotError):
        snapshot.restore(garbage, Exchange())


def test_another_format_is_refused() -> None:
    data = bytearray(snapshot.encode(MarketData()))
    assert data[1] == snapshot.FORMAT_VERSION
    data[1] += 1
    with pytest.raises(NewerVersion, match="of version 3; this release reads versions up to 2"):
        snapshot.restore(bytes(data), Exchange())


def test_an_asset_of_which_nothing_is_left_is_still_named_after_a_restart() -> None:
    both = Twin()
    for command in (CreateAccount("ann"), CreateMarket(rules("ETH-USD", settles=True))):
        both.run(command)
    both.run(Deposit("ann", "USD", "5", "in"))
    both.run(Withdraw("ann", "USD", "5", "out"))
    assert both.view.balances.of("ann") == [("USD", EMPTY)]
    both.restart()
    assert both.view.balances.of("ann") == [("USD", EMPTY)]
