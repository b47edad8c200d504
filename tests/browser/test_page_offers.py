"""What the page makes of markets and accounts that offer more than the founding ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.test_page import pages_of
from tests.support.coroutines import in_loop
from tests.support.processes import RealCluster

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

ALL_TYPES = ["limit", "market", "stop", "stop_limit"]
FILL = {
    **{"trade_id": "9", "market": "BTC-USD", "price": "100", "quantity": "2", "sequence": 7},
    **{"maker_order_id": "1", "taker_order_id": "2", "taker_side": "buy", "order_id": "2"},
    **{"time": "2026-01-02T03:04:05Z", "side": "buy", "liquidity": "taker"},
    **{"fee": "0.2", "fee_asset": "USD"},
}
ACCOUNT = {"account": "ann", "balances": {"USD": {"free": "800", "held": "50.5"}}, "sequence": 7}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """One node."""
    with RealCluster(tmp_path_factory.mktemp("cluster"), nodes=1) as running:
        yield running


async def pretend(page: Any, path: str, answer: object) -> None:
    async def fulfill(route: Any) -> None:
        await route.fulfill(json=answer)

    await page.route(path, fulfill)


@in_loop
async def test_every_type_that_the_market_takes_is_offered_and_sent_in_its_own_shape(
    cluster: RealCluster,
) -> None:
    async with pages_of(cluster) as (opened, client):
        page = await opened.page(cluster.urls[0])
        types = await page.eval_on_selector_all("#type option", "all => all.map(o => o.value)")
        _, found = await client.call(cluster.nodes[0], "GET", "/v1/markets")
        (market,) = found["markets"]
        stops = {"stop", "stop_limit", "oco"} if "stop" in market["order_types"] else set()
        assert set(types) == {"limit", "market"} | stops
        await pretend(page, "**/v1/markets", {"markets": [market | {"order_types": ALL_TYPES}]})
        await page.reload()
        sent: list[tuple[str, Any]] = []

        async def take(route: Any) -> None:
            sent.append(
                (route.request.url.partition("/v1/")[2], json.loads(route.request.post_data))
            )
            refusal = {"status": 422, "code": "stop_would_trigger", "detail": "no"}
            await route.fulfill(status=422, json=refusal)

        await page.route("**/v1/orders", take)
        await page.route("**/v1/orders/oco", take)
        head = {"market": "BTC-USD", "side": "sell"}
        await page.check("input[name=side][value=sell]")
        for type_, fields, path, body in (
            (
                "stop",
                {"stop_price": "90", "quantity": "1"},
                "orders",
                head | {"type": "stop", "stop_price": "90", "quantity": "1"},
            ),
            (
                "stop_limit",
                {"stop_price": "90", "price": "89", "quantity": "1"},
                "orders",
                head | {"type": "stop_limit", "stop_price": "90", "price": "89", "quantity": "1"},
            ),
            (
                "market",
                {"quantity": "", "quote_quantity": "250"},
                "orders",
                head | {"type": "market", "quote_quantity": "250"},
            ),
            (
                "oco",
                {"price": "110", "stop_price": "90", "quantity": "1"},
                "orders/oco",
                {
                    "limit": head | {"type": "limit", "price": "110", "quantity": "1"},
                    "stop": head | {"type": "stop", "stop_price": "90", "quantity": "1"},
                },
            ),
        ):
            await page.select_option("#type", type_)
            for name, text in fields.items():
                await page.fill(f"#order-{name}", text)
            await page.click("#place:not([aria-disabled])")
            await page.wait_for_selector("#order-fault:not(:empty)")
            assert sent.pop() == (path, body)


@in_loop
async def test_fills_and_balances_are_shown_where_the_exchange_keeps_them(
    cluster: RealCluster,
) -> None:
    async with pages_of(cluster) as (opened, _):
        page = await opened.page(cluster.urls[0] + "/?account=ann", width=1500)
        await pretend(page, "**/v1/fills?*", {"fills": [FILL], "sequence": 7})
        await pretend(page, "**/v1/account", ACCOUNT)
        await page.reload()
        await page.wait_for_selector("#balance-rows tr")
        cells = await page.locator("#balance-rows tr").first.inner_text()
        assert cells.split() == ["USD", "800", "50.5"]
        fill = await page.locator("#fill-rows tr").first.inner_text()
        assert fill.split()[:6] == ["buy", "100", "2", "0.2", "USD", "2"]
