"""The page in a real browser, on a cluster of real nodes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser, axe, browser
from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

SEEN_MS_MAX = 500
READY_MS = 30_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """Three nodes for the tests that kill none; each trades as an account of its own."""
    with RealCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@asynccontextmanager
async def pages_of(cluster: RealCluster) -> AsyncIterator[tuple[Browser, Client]]:
    async with browser() as opened, Client(cluster) as client:
        await client.ready()
        yield opened, client


async def place(page: Any, side: str, price: str, quantity: str) -> None:
    await page.check(f"input[name=side][value={side}]")
    await page.fill("#order-price", price)
    await page.fill("#order-quantity", quantity)
    await page.click("#place:not([aria-disabled])")  # the one before is answered


async def text_is(page: Any, selector: str, text: str) -> None:
    """Wait until an element says exactly this."""
    await page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent.trim() === text",
        arg=[selector, text],
        timeout=READY_MS,
    )


async def shown_trades(page: Any) -> list[str]:
    found: list[str] = await page.eval_on_selector_all(
        "#trade-rows tr", "rows => rows.map(row => row.dataset.trade)"
    )
    return found


@in_loop
async def test_a_trade_made_at_one_node_s_page_is_seen_at_another_s(cluster: RealCluster) -> None:
    """Five trades; the median from the click to the row on the other page."""
    async with pages_of(cluster) as (opened, _):
        first = await opened.page(cluster.urls[0] + "/?account=seen1")
        third = await opened.page(cluster.urls[2] + "/?account=seen3")
        taken_ms = []
        for number in range(5):
            await place(third, "sell", "10000", f"0.{number + 1}")
            await first.wait_for_function(
                f"() => document.querySelector('#asks tr:not([hidden]) td')?.textContent"
                f" === '0.{number + 1}'",
                timeout=READY_MS,
            )
            before = await shown_trades(third)
            seen = asyncio.create_task(
                third.wait_for_function(
                    "before => { const row = document.querySelector('#trade-rows tr');"
                    "return row && row.dataset.trade !== before ? Date.now() : 0; }",
                    arg=before[0] if before else "",
                    polling="raf",
                    timeout=READY_MS,
                )
            )
            await first.fill("#order-price", "10000")
            await first.fill("#order-quantity", f"0.{number + 1}")
            clicked_ms = await first.evaluate(
                "() => { const now = Date.now(); document.querySelector('#place').click();"
                " return now; }"
            )
            taken_ms.append(await (await seen).json_value() - clicked_ms)
        print(f"from a click at one node to the row at another: {taken_ms} ms")
        assert statistics.median(taken_ms) <= SEEN_MS_MAX
        await third.wait_for_function(
            "() => document.querySelectorAll('#fill-rows tr').length === 5", timeout=READY_MS
        )


@in_loop
async def test_a_page_whose_node_is_killed_goes_on_at_another_without_gap_or_repeat(
    tmp_path: Path,
) -> None:
    with RealCluster(tmp_path) as cluster:
        async with pages_of(cluster) as (opened, client):
            first, second, third = cluster.nodes
            page = await opened.page(second.url + "/?account=mover")
            await place(page, "buy", "50", "1")
            await page.wait_for_selector("#order-rows tr")
            for number in range(10):
                await trade(client, third, number)
            cluster.kill(second)
            for number in range(10, 30):
                await trade(client, first if number % 2 else third, number)
            await page.wait_for_function(
                "() => document.querySelectorAll('#trade-rows tr').length === 30",
                timeout=READY_MS,
            )
            assert await shown_trades(page) == [str(number) for number in range(30, 0, -1)]
            facts = await page.eval_on_selector("#connection", "shown => ({...shown.dataset})")
            assert facts["origin"] in (first.url, third.url)
            assert (facts["gaps"], facts["repeats"], facts["resyncs"]) == ("0", "0", "0")
            assert await page.get_attribute("#book-check", "data-mismatches") == "0"
            await place(page, "buy", "51", "1")
            await page.wait_for_selector("#order-rows tr:nth-child(2)", timeout=READY_MS)
            assert await page.locator("#order-rows tr").count() == 2


async def trade(client: Client, node: Any, number: int) -> None:
    """Make one trade of its own price; a write that finds no leader is tried again."""
    for side in ("sell", "buy"):
        deadline_s = time.monotonic() + 30
        key = {"Idempotency-Key": f"{side}-{number}"}
        order = {"market": "BTC-USD", "side": side, "type": "limit", "quantity": "1"}
        while True:
            body = order | {"price": str(100 + number)}
            status, answer = await client.call(node, "POST", "/v1/orders", body, key)
            if status == 201:
                break
            assert status == 503, answer
            assert time.monotonic() < deadline_s, answer
            await asyncio.sleep(0.05)


@in_loop
async def test_an_order_is_amended_and_canceled_by_mouse(cluster: RealCluster) -> None:
    async with pages_of(cluster) as (opened, client):
        page = await opened.page(cluster.urls[0] + "/?account=mouse")
        await place(page, "buy", "60", "2")
        await page.wait_for_selector("#bids tr.own[data-price='60']")  # marked in the ladder
        await page.click("#order-rows tr >> text=Amend")
        await page.fill("#amend-price", "61.5")
        await page.fill("#amend-quantity", "1")
        await page.click("#amend-form button[type=submit]")
        await text_is(page, "#order-rows td:nth-child(4)", "61.5")
        await text_is(page, "#order-rows td:nth-child(5)", "1")
        await page.click("#order-rows tr >> text=Cancel")
        await page.wait_for_selector("#no-orders:not([hidden])")
        await page.wait_for_selector("#book tr.own", state="detached")
        _, found = await client.call(
            cluster.nodes[1], "GET", "/v1/orders", headers={"X-Account": "mouse"}
        )
        (order,) = found["orders"]
        assert (order["status"], order["price"], order["quantity"]) == ("canceled", "61.5", "1")


@in_loop
async def test_an_order_is_placed_amended_and_canceled_by_keyboard_alone(
    cluster: RealCluster,
) -> None:
    async with pages_of(cluster) as (opened, _):
        page = await opened.page(cluster.urls[1] + "/?account=keys")
        keys = page.keyboard
        await keys.press("s")
        await keys.type("20000")
        await keys.press("Tab")
        await keys.type("3")
        await keys.press("Enter")
        await page.wait_for_selector("#order-rows tr")
        await page.evaluate("document.activeElement.blur()")
        await keys.press("o")
        await keys.press("Enter")
        await page.wait_for_selector("#amend[open]")
        await keys.type("20001")
        await keys.press("Enter")
        await text_is(page, "#order-rows td:nth-child(4)", "20001")
        await page.wait_for_selector("#amend", state="hidden")
        await keys.press("Delete")
        await page.wait_for_selector("#no-orders:not([hidden])")
        await keys.press("l")
        assert await page.evaluate("document.activeElement.tagName") in ("TR", "SECTION", "BODY")
        await keys.press("?")
        assert await page.locator("#help").is_visible()
        await keys.press("Escape")
        assert not await page.locator("#help").is_visible()


@pytest.mark.parametrize(
    ("price", "quantity", "field", "words"),
    [
        ("100.001", "1", "price", "In steps of 0.01."),
        ("", "1", "price", "Price is missing."),
        ("1e3", "1", "price", "A decimal number such as 100.25."),
        ("100", "0", "quantity", "Above 0."),
        ("100", "0.000000001", "quantity", "In steps of 0.00000001."),
        ("99999999999999", "1", "price", "At most 10000000000000."),
    ],
)
@in_loop
async def test_what_the_market_s_rules_forbid_is_said_next_to_the_field(
    cluster: RealCluster, price: str, quantity: str, field: str, words: str
) -> None:
    async with pages_of(cluster) as (opened, _):
        page = await opened.page(cluster.urls[0] + "/?account=wrong")
        sent = []
        page.on("request", lambda request: sent.append(request.method))
        await place(page, "buy", price, quantity)
        assert await page.inner_text(f"#order-{field}-fault") == words
        assert await page.get_attribute(f"#order-{field}", "aria-invalid") == "true"
        assert await page.evaluate("document.activeElement.id") == f"order-{field}"
        assert "POST" not in sent


@in_loop
async def test_an_order_whose_answer_is_lost_is_asked_for_again_elsewhere_and_placed_once(
    cluster: RealCluster,
) -> None:
    async with pages_of(cluster) as (opened, client):
        page = await opened.page(cluster.urls[0] + "/?account=lost")
        asked = []

        async def lose_the_answer(route: Any) -> None:
            request = route.request
            if request.method != "POST":
                return await route.continue_()
            asked.append((request.url, request.headers["idempotency-key"]))
            if len(asked) > 1:
                return await route.continue_()
            assert (await route.fetch()).status == 201
            await route.abort("connectionreset")

        await page.route("**/v1/orders", lose_the_answer)
        await place(page, "buy", "70", "1")
        await page.wait_for_selector("#order-rows tr")
        await page.wait_for_selector("#place:not([aria-disabled])")
        (first_url, first_key), (second_url, second_key) = asked
        assert first_key == second_key
        assert first_url != second_url
        assert await page.inner_text("#order-fault") == ""
        _, found = await client.call(
            cluster.nodes[2], "GET", "/v1/orders", headers={"X-Account": "lost"}
        )
        assert len(found["orders"]) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@in_loop
async def test_the_page_is_accessible(cluster: RealCluster, width: int, scheme: str) -> None:
    """By axe-core, with an order, a fill, a fault, and each dialog open."""
    checker = axe()
    async with pages_of(cluster) as (opened, client):
        page = await opened.page(
            f"{cluster.urls[0]}/?account=axe-{width}-{scheme}", width=width, scheme=scheme
        )
        await place(page, "sell", "30000", "0.9")
        await page.wait_for_selector("#order-rows tr")
        await client.place(cluster.nodes[1], "buy", "30000", "0.5")
        await page.wait_for_selector("#fill-rows tr")
        await place(page, "buy", "0.001", "1")
        source = checker.read_text()
        await page.evaluate(source)
        await violations(page)
        await page.click("#order-rows tr >> text=Amend")
        await violations(page)
        await page.keyboard.press("Escape")
        await page.click("#help-open")
        await violations(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.keyboard.press("Escape")
        await page.click("#cancel-all")
        await page.wait_for_selector("#no-orders:not([hidden])")


async def violations(page: Any) -> None:
    found = await page.evaluate(
        "async () => (await axe.run()).violations.map(one =>"
        " [one.id, one.nodes.map(node => node.html + ' ' + node.failureSummary)])"
    )
    assert found == []


@in_loop
async def test_a_halted_market_and_a_new_one_are_told_without_a_reload(
    tmp_path: Path,
) -> None:
    with RealCluster(tmp_path, nodes=1) as cluster:
        async with pages_of(cluster) as (opened, client):
            (node,) = cluster.nodes
            page = await opened.page(node.url)
            await client.call(node, "PATCH", "/v1/markets/BTC-USD", {"status": "halt"})
            new = {"market": "ETH-USD", "base": "ETH", "quote": "USD"}
            grid = {"tick_size": "0.5", "lot_size": "0.1"}
            await client.call(node, "POST", "/v1/markets", new | grid)
            await text_is(page, "#market-status", "Halted: no orders are taken.")
            await place(page, "buy", "10", "1")
            await page.wait_for_selector("#order-fault:not(:empty)")
            await page.select_option("#market", "ETH-USD")
            assert await page.inner_text("#market-status") == ""
            await place(page, "buy", "10.5", "1.5")
            await page.wait_for_selector("#order-rows tr")
            await page.wait_for_selector("#bids tr:not([hidden])")
            assert await page.inner_text("#bids tr:not([hidden]) th") == "10.5"


@in_loop
async def test_a_page_of_a_draining_node_moves_before_it_is_gone(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        async with pages_of(cluster) as (opened, client):
            first, second, _ = cluster.nodes
            page = await opened.page(first.url)
            await trade(client, second, 0)
            await page.wait_for_selector("#trade-rows tr")
            assert await asyncio.to_thread(cluster.terminate, first) == 0
            await trade(client, second, 1)
            await page.wait_for_selector("#trade-rows tr:nth-child(2)", timeout=READY_MS)
            assert await shown_trades(page) == ["2", "1"]
            facts = await page.eval_on_selector("#connection", "shown => ({...shown.dataset})")
            assert facts["origin"] != first.url
            assert (facts["gaps"], facts["repeats"], facts["resyncs"]) == ("0", "0", "0")
