"""Server-sent events on a real port, and the hub's bounds with sockets that do not read."""

from __future__ import annotations

import asyncio

import pytest

from raft_exchange.gateway import streams as hub
from raft_exchange.gateway import subscribers
from raft_exchange.gateway.channels import CHANNELS_MAX, Channel
from raft_exchange.gateway.streams import SUBSCRIBERS_MAX, Streams
from raft_exchange.gateway.subscribers import QUEUE_BYTES_MAX
from raft_exchange.marketdata.view import MarketData
from tests.support.coroutines import eventually, in_loop
from tests.support.gateway import Gateway, gateway
from tests.support.stream_reader import BookReader, event_reader, fake_reader

BOOK = "/v1/stream?channels=book:BTC-USD"
ALL = (
    "/v1/stream?channels=book:BTC-USD,trades:BTC-USD,ticker:BTC-USD,candles:BTC-USD:1m,"
    "candles:BTC-USD:1d,orders"
)


async def trade(g: Gateway, price: str = "100") -> None:
    await g.place("sell", price)
    await g.place("buy", price)


@in_loop
async def test_every_channel_begins_with_what_is_there() -> None:
    async with gateway() as g:
        await trade(g, "99.5")
        await g.place("buy", "99", client_order_id="mine")
        async with event_reader(g.port, ALL) as reader:
            assert reader.status == 200
            assert "content-type: text/event-stream" in reader.head.lower()
            book, trades, ticker, minutes, days, orders = await reader.take(6)
        assert [e.kind for e in (book, trades, ticker, minutes, days, orders)] == [
            *("book", "trades", "ticker", "candles", "candles", "orders"),
        ]
        assert (book.data["type"], book.data["bids"]) == ("snapshot", [["99", "1", 1]])
        assert book.data["truncated"] is False
        assert [t["trade_id"] for t in trades.data["trades"]] == ["1"]
        assert (ticker.data["type"], ticker.data["ticker"]["last"]) == ("ticker", "99.5")
        assert (minutes.data["interval"], days.data["interval"]) == ("1m", "1d")
        assert minutes.data["candles"][0]["close"] == "99.5"
        assert [o["client_order_id"] for o in orders.data["orders"]] == ["mine"]


@in_loop
async def test_only_the_last_message_sent_together_carries_an_id() -> None:
    async with gateway() as g, event_reader(g.port, ALL) as reader:
        events = await reader.take(6)
        assert [e.id for e in events] == [None] * 5 + [g.core.exchange.sequence]
        await g.place("buy", "99")
        book, ticker, orders = await reader.take(3)
        assert (book.kind, orders.kind, ticker.kind) == ("book", "orders", "ticker")
        assert [book.id, ticker.id, orders.id] == [None, None, g.core.exchange.sequence]
        assert book.data["bids"] == [["99", "1", 1]]
        assert book.data["sequence"] == orders.data["sequence"] == g.core.exchange.sequence


@in_loop
async def test_the_checksum_is_that_of_the_book_route() -> None:
    async with gateway() as g, event_reader(g.port, BOOK) as reader:
        book = BookReader()
        for event in await reader.take(1):
            book.take(event.data)
        for price in ("99", "98.5", "99"):
            await g.place("buy", price)
            for event in await reader.take(1):
                book.take(event.data)
            shown = (await g.call("GET", "/v1/markets/BTC-USD/book")).body
            assert shown["checksum"] == book.checksum()
            assert [shown["bids"], shown["asks"]] == book.book()


@pytest.mark.parametrize("how", ["header", "parameter"])
@in_loop
async def test_a_reader_resumes_where_it_was(how: str) -> None:
    async with gateway() as g:
        book = BookReader()
        async with event_reader(g.port, BOOK) as reader:
            (first,) = await reader.take(1)
            book.take(first.data)
        await g.place("buy", "99")
        await g.place("buy", "98")
        path = BOOK if how == "header" else f"{BOOK}&from_sequence={first.id}"
        headers = [f"Last-Event-ID: {first.id}"] if how == "header" else []
        async with event_reader(g.port, path, headers) as reader:
            (event,) = await reader.take(1)
            assert event.data["type"] == "delta"
            book.take(event.data)
        assert book.levels("bids") == [["99", "1", 1], ["98", "1", 1]]


@in_loop
async def test_a_reader_that_missed_nothing_is_told_so_at_once() -> None:
    async with gateway() as g:
        sequence = g.core.exchange.sequence
        async with event_reader(g.port, f"{BOOK}&from_sequence={sequence}") as reader:
            (event,) = await reader.take(1)
        assert (event.kind, event.data["type"]) == ("stream", "heartbeat")
        assert (event.id, event.data["sequence"]) == (sequence, sequence)


@in_loop
async def test_a_node_that_is_behind_the_reader_says_so() -> None:
    async with gateway() as g, event_reader(g.port, f"{BOOK}&from_sequence=99999") as reader:
        assert (reader.status, (await reader.body())["code"]) == (503, "behind")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        *(("", "bad_field"), ("?channels=", "bad_field"), ("?channels=depth:BTC-USD", "bad_field")),
        *(("?channels=book", "bad_field"), ("?channels=book:BTC-USD:1m", "bad_field")),
        *(("?channels=candles:BTC-USD:2m", "bad_field"), ("?channels=orders:ann", "bad_field")),
        *(("?channels=fills:BTC-USD", "bad_field"), ("?channels=balances:ann", "bad_field")),
        *(("?channels=book:%00", "bad_field"), ("?channels=book:NO-NO", "unknown_market")),
        ("?channels=" + ",".join(["orders"] * (CHANNELS_MAX + 1)), "bad_field"),
        *(("?channels=orders&from_sequence=x", "bad_field"), ("?channels=orders&x=1", "bad_field")),
    ],
)
@in_loop
async def test_a_wrong_request_is_a_problem_and_no_stream(query: str, code: str) -> None:
    async with gateway() as g:
        assert (await g.call("GET", f"/v1/stream{query}")).code == code


@in_loop
async def test_strangers_get_no_stream() -> None:
    async with gateway() as g:
        for header in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            assert (await g.call("GET", BOOK, **header)).code == "bad_origin"


@in_loop
async def test_orders_are_those_of_the_caller_only() -> None:
    async with gateway() as g:
        order = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": 1, "price": 1}
        path = "/v1/stream?channels=orders"
        async with (
            event_reader(g.port, path, ["X-Account: ann"]) as ann,
            event_reader(g.port, path) as anonymous,
        ):
            await ann.take(1)
            await anonymous.take(1)
            await g.call("POST", "/v1/orders", order, X_Account="bob")
            await g.call("POST", "/v1/orders", order, X_Account="ann")
            await g.place("buy", "2")
            (seen,) = await ann.take(1)
            assert (seen.data["account"], seen.data["orders"][0]["account"]) == ("ann", "ann")
            (seen,) = await anonymous.take(1)
            assert seen.data["orders"][0]["account"] == "anonymous"


@in_loop
async def test_fills_and_balances_are_the_callers_own_as_the_routes_show_them() -> None:
    async with gateway() as g:
        market = {
            **{"market": "BTC-EUR", "base": "BTC", "quote": "EUR", "tick_size": "0.01"},
            **{"lot_size": "0.01", "accounts": "on", "maker_fee": "0.001", "taker_fee": "0.002"},
        }
        assert (await g.call("POST", "/v1/markets", market)).status == 201
        for account, asset, amount in (("ann", "BTC", "100"), ("bob", "EUR", "1000")):
            await g.call("POST", "/v1/accounts", {"account": account})
            body = {"asset": asset, "amount": amount, "id": "d"}
            await g.call("POST", f"/v1/accounts/{account}/deposits", body)
        path = "/v1/stream?channels=fills,balances"
        order = {"market": "BTC-EUR", "type": "limit", "quantity": "2", "price": "100"}
        async with event_reader(g.port, path, ["X-Account: ann"]) as ann:
            fills, balances = await ann.take(2)
            assert (fills.data["type"], fills.data["fills"]) == ("snapshot", [])
            assert balances.data["balances"] == {"BTC": {"free": "100", "held": "0"}}
            await g.call("POST", "/v1/orders", order | {"side": "sell"}, X_Account="ann")
            (held,) = await ann.take(1)
            assert held.data["previous_sequence"] == balances.data["sequence"]
            assert held.data["balances"] == {"BTC": {"free": "98", "held": "2"}}
            await g.call("POST", "/v1/orders", order | {"side": "buy"}, X_Account="bob")
            fills, balances = await ann.take(2)
        shown = (await g.call("GET", "/v1/fills", X_Account="ann")).body["fills"]
        assert (fills.data["type"], fills.data["account"]) == ("fill", "ann")
        assert fills.data["fills"] == shown
        assert [shown[0][name] for name in ("liquidity", "side", "fee")] == ["maker", "sell", "0.2"]
        shown = (await g.call("GET", "/v1/account", X_Account="ann")).body["balances"]
        assert balances.data["balances"] == shown
        assert shown["EUR"] == {"free": "199.8", "held": "0"}
        async with event_reader(g.port, path, ["X-Account: bob"]) as bob:
            fills, balances = await bob.take(2)
        assert [fill["liquidity"] for fill in fills.data["fills"]] == ["taker"]
        assert balances.data["balances"]["BTC"] == {"free": "2", "held": "0"}


@in_loop
async def test_every_state_of_an_order_is_told_though_sent_together() -> None:
    async with gateway() as g, event_reader(g.port, "/v1/stream?channels=orders") as reader:
        await reader.take(1)
        await asyncio.gather(*(g.place("sell", quantity="3"), g.place("buy", quantity="1")))
        await g.call("DELETE", "/v1/orders/1")
        statuses: list[str] = []
        while len(statuses) < 4:
            for event in await reader.take(1):
                statuses += [o["status"] for o in event.data["orders"]]
        assert sorted(statuses) == ["canceled", "filled", "open", "partially_filled"]


@in_loop
async def test_readers_of_one_channel_share_one_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway() as g:
        made = []
        real = g.streams._rendering._update
        monkeypatch.setattr(
            g.streams._rendering, "_update", lambda *a, **k: made.append(1) or real(*a, **k)
        )
        readers = [fake_reader() for _ in range(hub.SLICE)]
        for subscriber, _ in readers:
            g.streams.add(subscriber)
            g.streams.subscribe(subscriber, [Channel("book", "BTC-USD")], since=None)
        await g.place("buy", "99")
        g.streams.flush()
        assert made == [1]
        last = [transport.sent[-1] for _, transport in readers]
        assert all(data is last[0] for data in last)


def reader_of_books(streams: Streams):
    subscriber, transport = fake_reader()
    streams.add(subscriber)
    streams.subscribe(subscriber, [Channel("book", "BTC-USD")], since=None)
    return subscriber, transport


@in_loop
async def test_a_reader_that_does_not_read_is_cut_off_with_a_reason_and_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "GRACE_S", 0.01)
    async with gateway() as g:
        slow, frozen = reader_of_books(g.streams)
        _, reading = reader_of_books(g.streams)
        frozen.frozen = True
        frozen.queued_bytes = QUEUE_BYTES_MAX
        await g.place("buy", "99")
        g.streams.flush()
        assert not slow.ended.done()
        await g.place("buy", "98")
        g.streams.flush()
        assert slow.ended.result() == "slow_reader"
        assert frozen.events()[-1].data["reason"] == "slow_reader"
        await eventually(lambda: frozen.aborted)
        await g.place("buy", "97")
        g.streams.flush()
        assert frozen.sent == []
        assert len(reading.events()) == 4
        assert g.streams.figures().cut_off == 1
        assert "raft_exchange_stream_readers_cut_off_total 1.0" in g.metrics.render().decode()


@pytest.mark.parametrize("how", ["dropped", "cut off", "gone"])
@in_loop
async def test_a_reader_that_was_ended_subscribes_to_nothing(how: str) -> None:
    """Its handler may have waited for something while the hub ended it."""
    async with gateway() as g:
        subscriber, transport = fake_reader()
        g.streams.add(subscriber)
        if how == "dropped":
            g.streams.drop(subscriber)
        elif how == "cut off":
            g.streams._cut(subscriber)
        else:
            transport.abort()
        told = len(transport.sent)
        g.streams.subscribe(subscriber, [Channel("book", "BTC-USD")], since=None)
        assert len(transport.sent) == told
        assert (g.streams._groups, g.streams._readers) == ({}, {})


@in_loop
async def test_a_first_snapshot_over_the_bound_cuts_nobody_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a reader asked for does not count against it until it has taken all of it."""
    monkeypatch.setattr(subscribers, "QUEUE_BYTES_MAX", 1_000)
    async with gateway() as g:
        for price in range(1, 90):
            await g.place("buy", str(price))
        subscriber, transport = fake_reader()
        transport.frozen = True
        g.streams.add(subscriber)
        g.streams.subscribe(subscriber, [Channel("book", "BTC-USD")], since=None)
        assert transport.queued_bytes > 1_000
        await g.place("buy", "99")
        g.streams.flush()
        assert not subscriber.ended.done()


@in_loop
async def test_what_a_reader_asked_for_and_took_allows_it_nothing_more() -> None:
    async with gateway() as g:
        subscriber, transport = fake_reader()
        transport.frozen = True
        g.streams.add(subscriber)
        for _ in range(5):
            transport.queued_bytes = 1
            g.streams.subscribe(subscriber, [Channel("book", "BTC-USD")], since=None)
        asked_bytes = transport.queued_bytes
        transport.queued_bytes = QUEUE_BYTES_MAX + asked_bytes
        assert not subscriber.is_slow
        transport.queued_bytes += 1
        assert subscriber.is_slow


@in_loop
async def test_all_queues_together_are_bounded_the_fullest_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "ALL_QUEUES_BYTES_MAX", 1_000)
    async with gateway() as g:
        (light, a), (heavy, b) = reader_of_books(g.streams), reader_of_books(g.streams)
        a.queued_bytes, b.queued_bytes = 400, 700
        g.streams._sweep()
        assert (light.ended.done(), heavy.ended.done()) == (False, True)


@in_loop
async def test_readers_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SUBSCRIBERS_MAX", 2)
    assert SUBSCRIBERS_MAX > 2
    async with gateway() as g:
        async with event_reader(g.port, BOOK) as one, event_reader(g.port, BOOK) as two:
            await one.take(1)
            await two.take(1)
            assert (await g.call("GET", BOOK)).code == "overloaded"
            shown = g.metrics.render().decode()
            assert 'raft_exchange_stream_subscribers{transport="sse"} 2.0' in shown
        g.streams._sweep()
        await eventually(lambda: g.streams.figures().subscribers["sse"] == 0)
        async with event_reader(g.port, BOOK) as again:
            await again.take(1)


@in_loop
async def test_a_node_that_stops_says_so_and_then_ends_the_stream() -> None:
    async with gateway() as g, event_reader(g.port, BOOK) as reader:
        await reader.take(1)
        g.streams.going_away()
        (event,) = await reader.take(1)
        assert event.data == {"type": "going_away", "sequence": g.core.exchange.sequence}
        assert (await g.call("GET", BOOK)).code == "draining"
        g.streams.close()
        assert await reader.next() is None


@in_loop
async def test_a_quiet_stream_has_a_heartbeat_with_the_last_sequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(hub, "SWEEP_S", 0.01)
    async with gateway() as g, event_reader(g.port, BOOK) as reader:
        await reader.take(1)
        g.core.advance(1)
        while True:
            (event,) = await reader.take(1)
            assert event.data["type"] == "heartbeat"
            if event.id == event.data["sequence"] == g.core.exchange.sequence:
                break


@in_loop
@pytest.mark.parametrize("served_by", ["time", "somebody who subscribes"])
async def test_many_readers_are_served_a_slice_at_a_time(
    monkeypatch: pytest.MonkeyPatch, served_by: str
) -> None:
    """Others have the loop in between; who subscribes meanwhile finds everybody served."""
    monkeypatch.setattr(hub, "FLUSH_S", 3_600)
    monkeypatch.setattr(hub, "SLICE", 3)
    monkeypatch.setattr(hub, "SLICE_PAUSE_S", 0.001 if served_by == "time" else 3_600)
    async with gateway() as g:
        readers = [reader_of_books(g.streams)[1] for _ in range(10)]
        await g.place("buy", "99")
        g.streams.flush()
        assert [len(transport.sent) for transport in readers] == [2] * 3 + [1] * 7
        if served_by != "time":
            await asyncio.sleep(0)
            assert [len(transport.sent) for transport in readers] == [2] * 3 + [1] * 7
            reader_of_books(g.streams)
        await eventually(lambda: [len(transport.sent) for transport in readers] == [2] * 10)


@in_loop
async def test_the_more_readers_there_are_the_less_often_they_are_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "READER_S", 0.05)
    async with gateway() as g:
        loop = asyncio.get_running_loop()
        _, transport = reader_of_books(g.streams)
        for _ in range(3):
            reader_of_books(g.streams)
        g.streams.flush()
        flushed_at_s, told = loop.time(), len(transport.sent)
        await g.place("buy", "99")
        await eventually(lambda: len(transport.sent) > told)
        assert loop.time() - flushed_at_s >= 4 * 0.05 - 0.01


@in_loop
async def test_changes_within_a_flush_are_one_message() -> None:
    async with gateway() as g:
        _, transport = reader_of_books(g.streams)
        transport.events()
        g.streams.flush()
        for price in ("99", "98", "99"):
            await g.place("buy", price)
        await eventually(lambda: bool(transport.sent))
        g.streams.flush()
        events = transport.events()
        assert 1 <= len(events) <= 3
        assert events[-1].data["sequence"] == g.core.exchange.sequence


@in_loop
async def test_a_node_whose_state_differs_ends_its_streams_and_says_nothing_more() -> None:
    async with gateway() as g, event_reader(g.port, BOOK) as reader:
        await reader.take(1)
        g.streams.end_all("state_divergence")
        assert await reader.next() is None
        async with event_reader(g.port, BOOK) as again:  # where the guard lets one in
            await again.take(1)


@in_loop
async def test_a_hub_without_readers_does_nothing() -> None:
    view = MarketData()
    streams = Streams(view)
    streams.applied()
    assert streams._flush_timer is None
    streams.going_away()
    streams.close()
