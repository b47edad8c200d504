"""Who has nothing but the messages has books, fills and balances, whichever nodes send them."""

from __future__ import annotations

import os
import random
from itertools import islice

import pytest

from raft_exchange.decoding.decimals import format_lots, format_ticks
from raft_exchange.gateway.account_views import balances_view, fill_view
from raft_exchange.gateway.channels import PRIVATE_KINDS, Channel
from raft_exchange.gateway.streams import Streams
from raft_exchange.marketdata import snapshot
from raft_exchange.marketdata.changes import History
from raft_exchange.marketdata.view import Market, MarketData
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import Event, Side
from tests.support.coroutines import in_loop
from tests.support.stream_reader import BookReader, FakeTransport, fake_reader
from tests.support.workload import ACCOUNTS, MARKETS, commands

COMMANDS = int(os.environ.get("RAFT_EXCHANGE_TEST_STREAM_COMMANDS", "10000"))
MOVES = 5
Entry = tuple[int, int, list[Event]]


class Node:
    """One node's fold of the log, as far as it got, and its hub."""

    def __init__(self, log: list[Entry]) -> None:
        self.log = log
        self.at = 0
        self.view = MarketData()
        self.streams = Streams(self.view)

    def apply(self, count: int = 1) -> None:
        for sequence, time_us, events in self.log[self.at : self.at + count]:
            self.view.apply(sequence, time_us, events)
        self.at = min(len(self.log), self.at + count)

    def reach(self, sequence: int) -> None:
        while self.view.sequence < sequence:
            self.apply()


class Reader:
    """Reads books, trades, candles and all that is somebody's own; moves between nodes."""

    def __init__(self) -> None:
        self.channels = [Channel("book", market) for market in MARKETS]
        self.channels += [Channel("trades", market) for market in MARKETS]
        self.channels += [Channel("candles", market, "5m") for market in MARKETS]
        self.channels += [Channel(kind, name) for kind in PRIVATE_KINDS for name in ACCOUNTS]
        self.books = {market: BookReader() for market in MARKETS}
        self.trades: dict[str, list[str]] = {market: [] for market in MARKETS}
        self.chains: dict[str, int] = {}
        self.live: dict[str, dict[str, object]] = {account: {} for account in ACCOUNTS}
        self.fills: dict[str, list[object]] = {account: [] for account in ACCOUNTS}
        self.balances: dict[str, dict[str, object]] = {account: {} for account in ACCOUNTS}
        self.position: int | None = None
        self.transport = FakeTransport()
        self.resyncs = 0

    def connect(self, node: Node) -> None:
        subscriber, self.transport = fake_reader()
        self.subscriber = subscriber
        node.streams.add(subscriber)
        node.streams.subscribe(subscriber, self.channels, since=self.position)

    def disconnect(self, node: Node) -> None:
        self.read()
        node.streams.drop(self.subscriber)

    def read(self) -> None:
        for event in self.transport.events():
            message = event.data
            if event.kind == "stream":
                self.resyncs += message["type"] == "resync"
            elif event.kind == "book":
                self.books[message["market"]].take(message)
            elif event.kind == "trades":
                self._take_trades(message)
            elif event.kind in PRIVATE_KINDS:
                self._take_private(event.kind, message)
            if event.id is not None:
                self.position = event.id

    def _take_trades(self, message) -> None:
        ids = [trade["trade_id"] for trade in message["trades"]]
        if message["type"] == "trade":
            assert message["previous_sequence"] == self.chains[message["channel"]]
        self.trades[message["market"]] += ids
        self.chains[message["channel"]] = message["sequence"]

    def _take_private(self, kind: str, message) -> None:
        account = message["account"]
        is_snapshot, topic = message["type"] == "snapshot", f"{kind} {account}"
        if is_snapshot:
            {"orders": self.live, "fills": self.fills, "balances": self.balances}[kind][
                account
            ].clear()
        else:
            assert message["previous_sequence"] == self.chains[topic]
        self.chains[topic] = message["sequence"]
        if kind == "fills":
            self.fills[account] += message["fills"]
        elif kind == "balances":
            self.balances[account] |= message["balances"]
        else:
            self._take_orders(self.live[account], message)

    def _take_orders(self, live: dict[str, object], message) -> None:
        for order in message["orders"]:
            live.pop(order["order_id"], None)
            if order["status"] in ("open", "partially_filled", "pending", "triggered"):
                live[order["order_id"]] = order


def rows(market: Market) -> list[list[list[object]]]:
    rules = market.rules
    return [
        [
            [
                format_ticks(ticks, rules.tick_size_e18),
                format_lots(lots, rules.lot_size_e18),
                orders,
            ]
            for ticks, lots, orders in market.depth.levels(side, 10**6)
        ]
        for side in Side
    ]


def shown_fills(view: MarketData, account: str) -> list[object]:
    page, _ = view.fills.page(account, limit=10**9, before=None, market=None)
    return [
        fill
        for _, trade in reversed(page)
        for fill in fill_view(trade, view.markets[trade.executed.market].rules, account)
    ]


def assert_private(reader: Reader, view: MarketData) -> None:
    """What was folded is what the routes show, with at least one fill and balance."""
    for account in ACCOUNTS:
        assert reader.fills[account] == shown_fills(view, account)
        assert reader.balances[account] == balances_view(view.balances.of(account))
    assert any(reader.fills.values())
    assert any(reader.balances.values())


def logged(seed: int, count: int) -> tuple[list[Entry], dict[tuple[str, int], int]]:
    """Return a log, and a hash of each book after each sequence that changed it."""
    log: list[Entry] = []
    books: dict[tuple[str, int], int] = {}
    exchange, view = Exchange(), MarketData()
    for command in commands(seed, count):
        events = exchange.apply(command)
        log.append((exchange.sequence, exchange.time_us, events))
        view.apply(*log[-1])
        for market in view.recorder.books:
            if view.recorder.books[market] == exchange.sequence:
                books[market, exchange.sequence] = hash(repr(rows(view.markets[market])))
    return log, books


@in_loop
async def test_a_folded_book_is_the_book_over_moves_between_nodes_that_flush_differently() -> None:
    """After every message: an unbroken chain, the checksum, and each level of the true book."""
    log, truth = logged(1, COMMANDS)
    rng = random.Random(1)
    nodes = [Node(log) for _ in range(3)]
    for node in nodes:
        node.apply(20)  # the markets are open
    here, reader = nodes[0], Reader()
    reader.connect(here)
    moves = set(rng.sample(range(COMMANDS // 10, COMMANDS - 10), MOVES))
    for step in range(20, COMMANDS):
        for node in nodes:
            node.reach(log[step][0] - rng.randrange(0, 40))
            if rng.random() < 0.3:
                node.streams.flush()
        reader.read()
        for market, book in reader.books.items():
            if book.sequence:
                assert hash(repr(book.book())) == truth[market, book.sequence]
        if step in moves:
            reader.disconnect(here)
            here = rng.choice([node for node in nodes if node is not here])
            here.reach(reader.position or 0)  # a node that is behind has it wait
            reader.connect(here)
    here.apply(COMMANDS)
    here.streams.flush()
    reader.disconnect(here)
    assert reader.resyncs == 0
    for market, book in reader.books.items():
        seen = here.view.markets[market]
        assert book.book() == rows(seen)
        assert reader.trades[market] == [str(n) for n in range(1, len(reader.trades[market]) + 1)]
        assert reader.trades[market][-1] == str(seen.trades.newest(1)[0].executed.trade_id)
    live = {str(order.order_id) for order in here.view.orders.live_orders()}
    assert {order_id for orders in reader.live.values() for order_id in orders} == live
    assert_private(reader, here.view)
    assert sum(book.messages for book in reader.books.values()) > COMMANDS / 20


@in_loop
async def test_a_node_restored_from_a_snapshot_resumes_a_reader_of_another_node() -> None:
    log, _ = logged(2, 600)
    first = Node(log)
    first.apply(20)
    reader = Reader()
    reader.connect(first)
    first.apply(280)
    first.streams.flush()
    reader.disconnect(first)
    first.apply(100)
    exchange = Exchange()
    for command in islice(commands(2, 600), 400):
        exchange.apply(command)
    second = Node(log)
    second.view.adopt(snapshot.restore(snapshot.encode(first.view), exchange))
    second.at = 400
    reader.connect(second)
    second.apply(200)
    second.streams.flush()
    reader.disconnect(second)
    assert reader.resyncs == 0
    assert_private(reader, second.view)
    assert reader.books["BTC-USD"].book() == rows(second.view.markets["BTC-USD"])


@in_loop
async def test_a_reader_is_told_to_start_over_when_a_snapshot_jumps_over_the_history() -> None:
    log, _ = logged(3, 600)
    behind, ahead = Node(log), Node(log)
    behind.apply(50)
    reader = Reader()
    reader.connect(behind)
    ahead.apply(600)
    exchange = Exchange()
    for command in commands(3, 600):
        exchange.apply(command)
    restored = snapshot.restore(snapshot.encode(ahead.view), exchange)
    restored.history = History(changes_max=10)
    restored.history.restore(0, ahead.view.history.oldest_first())
    behind.view.adopt(restored)
    behind.streams.flush()
    reader.disconnect(behind)
    assert reader.resyncs == 1
    assert reader.books["BTC-USD"].book() == rows(behind.view.markets["BTC-USD"])


@pytest.mark.parametrize("kept", [3, 0])
@in_loop
async def test_what_is_forgotten_is_said_and_followed_by_snapshots(kept: int) -> None:
    """A resume is only gap-free or announced: never silently short."""
    log, _ = logged(4, 300)
    node = Node(log)
    node.view.history._changes_max = kept
    node.apply(300)
    reader = Reader()
    reader.connect(node)
    reader.read()
    assert reader.position is not None
    reader.position -= 100
    reader.connect(node)
    events = reader.transport.events()
    assert (events[0].kind, events[0].data["type"]) == ("stream", "resync")
    assert events[0].data["reason"] == "too_old"
    assert {e.data["type"] for e in events[1:]} == {"snapshot"}
    assert len(events) == 1 + len(reader.channels)
