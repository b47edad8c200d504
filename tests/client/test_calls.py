"""Every method against a gateway: what goes in, and what typed thing comes out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from raft_exchange.client import (
    ExchangeClient,
    ExchangeClientSync,
    Level,
    NewMarket,
    NewOrder,
    RequestRefused,
    WriteKey,
    administration,
    calls,
)
from tests.support.coroutines import in_loop
from tests.support.fake_core import START_US
from tests.support.gateway import gateway

START = datetime.fromtimestamp(START_US / 1_000_000, UTC)


STOP = {"quantity": "1", "stop_price": "90"}


def order(
    side: str = "buy", price: object = "100", quantity: object = "1", **more: object
) -> NewOrder:
    return NewOrder(market="BTC-USD", side=side, price=price, quantity=quantity, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def exchange(**options: str) -> AsyncIterator[ExchangeClient]:
    # The fake's clock stands in 2023: keys of now have deadlines far ahead of it.
    async with gateway() as g, ExchangeClient(f"http://127.0.0.1:{g.port}", **options) as client:
        yield client


@in_loop
async def test_an_order_trades_in_exact_decimals() -> None:
    async with exchange() as client:
        maker = await client.place_order(order("sell", Decimal("100.25"), Decimal("0.5")))
        assert (maker.order.status, maker.order.is_live) == ("open", True)
        assert maker.order.price == Decimal("100.25")
        assert maker.order.created_at == START
        taker = await client.place_order(order("buy", 101, "0.20"))
        (trade,) = taker.trades
        assert (trade.price, trade.quantity) == (Decimal("100.25"), Decimal("0.2"))
        assert trade.maker_order_id == maker.order.order_id
        assert (taker.order.status, taker.order.is_live) == ("filled", False)
        assert taker.order.average_price == Decimal("100.25")
        (told,) = await client.get_trades("BTC-USD")
        assert told == trade


@in_loop
async def test_an_order_without_a_price_is_a_market_order() -> None:
    async with exchange() as client:
        placed = await client.place_order(NewOrder(market="BTC-USD", side="buy", quantity=1))
        assert (placed.order.type, placed.order.price) == ("market", None)


@in_loop
async def test_every_option_of_an_order_arrives() -> None:
    async with exchange() as client:
        expires_at = datetime.now(UTC) + timedelta(days=1)
        new = order(time_in_force="gtd", expires_at=expires_at, client_order_id="mine")
        placed = (await client.place_order(new)).order
        assert (placed.time_in_force, placed.client_order_id) == ("gtd", "mine")
        assert placed.expires_at == expires_at
        new = order(post_only=True, self_trade_prevention="expire_both")
        placed = (await client.place_order(new)).order
        assert (placed.post_only, placed.self_trade_prevention) == (True, "expire_both")


def test_a_float_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError, match=r"0\.1 is a float"):
        calls.place_order(order(price=0.1))


@in_loop
async def test_a_tiny_quantity_is_written_without_an_exponent() -> None:
    async with exchange() as client:
        placed = await client.place_order(order(quantity=Decimal("1E-8")))
        assert placed.order.quantity == Decimal("0.00000001")


@in_loop
async def test_a_check_refuses_what_would_be_refused_and_places_nothing() -> None:
    async with exchange() as client:
        await client.check_order(order())
        with pytest.raises(RequestRefused, match="off_tick"):
            await client.check_order(order(price="1.001"))
        assert (await client.get_orders()).orders == []


@in_loop
async def test_a_batch_tells_what_became_of_each_order() -> None:
    async with exchange() as client:
        batch = await client.place_orders([order(), order(price="1.001"), order("sell")])
        first, second, third = batch.results
        assert first.order is not None
        assert second.error is not None
        assert (second.order, second.error.code) == (None, "off_tick")
        assert third.trades[0].quantity == 1


@in_loop
async def test_one_of_two_cancels_the_other() -> None:
    async with exchange() as client:
        await client.place_order(order("buy", 100, 2))
        await client.place_order(order("sell", 110, 2))
        pair = await client.place_oco(
            order("sell", 120), NewOrder(market="BTC-USD", side="sell", type="stop", **STOP)
        )
        limit, stop = pair.orders
        assert (limit.type, limit.status) == ("limit", "open")
        assert (stop.type, stop.status, stop.stop_price) == ("stop", "pending", 90)
        await client.cancel_order(limit.order_id)
        assert (await client.get_order(stop.order_id)).status == "canceled"


@in_loop
async def test_an_order_is_replaced_by_another_in_one_step() -> None:
    async with exchange() as client:
        placed = await client.place_order(order())
        await client.place_order(order("sell", 101))
        changed = await client.replace_order(placed.order.order_id, order(price=101))
        assert changed.replaced.status == "canceled"
        assert (changed.order.status, changed.trades[0].price) == ("filled", 101)
        with pytest.raises(RequestRefused, match="not_open"):
            await client.replace_order(placed.order.order_id, order())


@in_loop
async def test_the_dead_man_switch_is_armed_and_disarmed() -> None:
    async with exchange() as client:
        assert (await client.cancel_after(60)).cancel_at == START + timedelta(seconds=60)
        assert (await client.cancel_after(0)).cancel_at is None


@in_loop
async def test_an_order_is_amended_and_canceled() -> None:
    async with exchange() as client:
        placed = await client.place_order(order(client_order_id="mine"))
        amended = await client.amend_order(placed.order.order_id, price=Decimal(99), quantity=2)
        assert (amended.order.price, amended.order.quantity) == (99, 2)
        canceled = await client.cancel_by_client_id("mine")
        assert canceled.order.status == "canceled"
        with pytest.raises(RequestRefused) as caught:
            await client.cancel_order(placed.order.order_id)
        assert caught.value.code == "not_open"


@in_loop
async def test_all_orders_of_a_side_are_canceled() -> None:
    async with exchange() as client:
        await client.place_orders([order(price=n) for n in (98, 99)] + [order("sell", 101)])
        canceled = await client.cancel_orders(market="BTC-USD", side="buy")
        assert [o.price for o in canceled.canceled] == [98, 99]
        assert len((await client.cancel_orders()).canceled) == 1


@in_loop
async def test_orders_come_in_pages() -> None:
    async with exchange() as client:
        await client.place_orders([order(price=n) for n in range(1, 6)])
        page = await client.get_orders(market="BTC-USD", status="open", limit=2)
        prices = [o.price for o in page.orders]
        while page.cursor is not None:
            page = await client.get_orders(limit=2, cursor=page.cursor)
            prices += [o.price for o in page.orders]
        assert prices == [5, 4, 3, 2, 1]
        newest = await client.get_orders(limit=1)
        assert await client.get_order(newest.orders[0].order_id) == newest.orders[0]


@in_loop
async def test_a_book_has_levels_or_orders() -> None:
    async with exchange() as client:
        await client.place_orders([order(price=99), order(price=99, quantity="0.5"), order("sell")])
        book = await client.get_book("BTC-USD")
        assert book.bids == [Level(Decimal(99), Decimal("1.5"), 2)]
        assert book.asks == [Level(Decimal(100), Decimal(1), 1)]
        by_order = await client.get_order_book("BTC-USD", depth=1)
        assert [(o.quantity, o.order_id) for o in by_order.bids] == [(1, "1")]
        assert by_order.sequence == book.sequence


@in_loop
async def test_what_a_market_traded_at_is_told() -> None:
    async with exchange() as client:
        await client.place_orders([order("sell", 100, 2), order("buy", 100, 1)])
        ticker = await client.get_ticker("BTC-USD")
        assert (ticker.bid, ticker.ask, ticker.last, ticker.volume) == (None, 100, 100, 1)
        (candle,) = await client.get_candles(
            "BTC-USD", interval="5m", start=START - timedelta(minutes=5)
        )
        assert (candle.open, candle.close, candle.trades) == (100, 100, 1)
        assert await client.get_candles("BTC-USD", end=START - timedelta(days=1)) == []


@in_loop
async def test_markets_are_opened_and_changed() -> None:
    async with exchange() as client:
        new = NewMarket(market="ETH-USD", base="ETH", quote="USD", tick_size="0.5", lot_size=1)
        opened = await client.create_market(new)
        assert (opened.tick_size, opened.status) == (Decimal("0.5"), "trading")
        changed = await client.change_market("ETH-USD", status="halt", limits={"max_price": 100})
        assert (changed.status, changed.max_price) == ("halt", 100)
        assert await client.get_market("ETH-USD") == changed
        assert [m.market for m in await client.get_markets()] == ["BTC-USD", "ETH-USD"]


@in_loop
async def test_accounts_are_opened_funded_changed_and_frozen() -> None:
    async with exchange() as client:
        opened = await client.create_account("ann")
        assert (opened.account, opened.frozen, opened.balances) == ("ann", False, {})
        paid = await client.deposit("ann", "USD", Decimal("250.5"), transfer_id="d1")
        again = await client.deposit("ann", "USD", Decimal("250.5"), transfer_id="d1")
        assert (paid.repeated, again.repeated) == (False, True)
        assert paid.transfer == again.transfer
        taken = await client.withdraw("ann", "USD", 50, transfer_id="w1")
        assert (taken.transfer.type, taken.transfer.amount) == ("withdrawal", 50)
        assert (await client.get_account_of("ann")).balances["USD"].free == Decimal("200.5")
        limits = {"BTC-USD": {"max_open_orders": 3, "max_quantity": Decimal("1.5")}}
        changed = await client.change_account("ann", frozen=True, maker_fee="0", limits=limits)
        assert (changed.frozen, changed.maker_fee, changed.taker_fee) == (True, 0, None)
        assert changed.limits["BTC-USD"].max_quantity == Decimal("1.5")
        lifted = await client.change_account("ann", frozen=False, limits={"BTC-USD": None})
        assert (lifted.frozen, lifted.limits) == (False, {})


@in_loop
async def test_keys_are_made_listed_and_revoked() -> None:
    async with exchange() as client:
        await client.create_account("ann")
        made = await client.create_key("ann", ["read", "trade"], key_id="k1")
        assert made.bearer is not None
        assert (made.key.id, made.key.scopes) == ("k1", ["read", "trade"])
        assert await client.get_keys("ann") == [made.key]
        revoked = (await client.revoke_key("ann", "k1")).key
        assert revoked.revoked_at is not None
        assert await client.get_keys("ann") == [revoked]


@in_loop
async def test_the_cluster_and_its_clock_are_told() -> None:
    async with exchange() as client:
        cluster = await client.get_cluster()
        assert (cluster.cluster, cluster.role, cluster.members[0].id) == ("test", "leader", "n1")
        assert (await client.get_time()).time == START


@in_loop
async def test_a_write_under_the_same_key_happens_once() -> None:
    async with exchange() as client:
        key = WriteKey.new()
        first = await client.place_order(order(), key=key)
        assert await client.place_order(order(), key=key) == first
        assert len((await client.get_orders()).orders) == 1


@in_loop
async def test_an_account_sees_its_own_orders_only() -> None:
    async with exchange(account="ann") as client:
        placed = await client.place_order(order())
        assert placed.order.account == "ann"


@in_loop
async def test_names_are_quoted_into_paths() -> None:
    async with exchange() as client:
        with pytest.raises(RequestRefused) as caught:
            await client.cancel_by_client_id("a/b?c#d e%")
        assert caught.value.problem.value == "a/b?c#d e%"


@in_loop
async def test_the_blocking_client_gives_the_same() -> None:
    def trade(url: str) -> Decimal:
        with ExchangeClientSync(url) as client:
            client.place_order(order("sell"))
            with pytest.raises(RequestRefused, match="off_tick"):
                client.place_order(order(price="1.001"))
            placed = client.place_order(order("buy"))
            client.close()
            return placed.trades[0].price

    async with gateway() as g:
        assert await asyncio.to_thread(trade, f"http://127.0.0.1:{g.port}") == 100


def test_both_clients_have_a_method_for_every_call() -> None:
    built = {
        name
        for module in (calls, administration)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
    }
    for client in (ExchangeClient, ExchangeClientSync):
        assert built <= set(dir(client))
