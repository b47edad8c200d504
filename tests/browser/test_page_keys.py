"""The page where the exchange asks for keys: entered, used, moved with, revoked, forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.test_page import READY_MS, pages_of, place, text_is, violations
from tests.support.browser import axe
from tests.support.coroutines import in_loop
from tests.support.processes import RealCluster
from tests.system.test_access import FIRST, known, shown

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """Three nodes that ask for keys."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "first.key").write_text(FIRST + "\n")
    settings = {"auth": "required", "admin_key_file": folder / "first.key"}
    with RealCluster(folder, settings=settings) as running:
        yield running


async def made(client: Any, node: Any, account: str, *scopes: str) -> tuple[str, str]:
    """Return a new key of an account, and its id."""
    await known(client, node, FIRST)
    await client.call(node, "POST", "/v1/accounts", {"account": account}, shown(FIRST))
    path = f"/v1/accounts/{account}/keys"
    status, key = await client.call(node, "POST", path, {"scopes": list(scopes)}, shown(FIRST))
    assert status == 201, key
    return key["bearer"], key["key"]["id"]


async def enter(page: Any, key: str) -> None:
    await page.fill("#key", key)
    await page.press("#key", "Enter")


async def signed_in(page: Any, account: str) -> None:
    await text_is(page, "#holder-account", account)
    await page.wait_for_selector("#connection[data-state=live]", timeout=READY_MS)


@in_loop
async def test_a_key_is_asked_for_used_moved_with_and_given_up_when_it_is_revoked(
    cluster: RealCluster,
) -> None:
    async with pages_of(cluster) as (opened, client):
        first, second, _ = cluster.nodes
        key, key_id = await made(client, first, "ann", "read", "trade")
        page = await opened.page(second.url, width=360)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))

        # Without a key: public data, and an honest word at the button.
        assert await page.is_visible("#key-form")
        assert "public data only" in await page.inner_text("#key-note")
        await place(page, "buy", "50", "1")
        assert "takes a key" in await page.inner_text("#order-fault")
        await enter(page, "no-such-key")
        await page.wait_for_selector("#key-fault:not(:empty)")
        assert "does not know this key" in await page.inner_text("#key-fault")
        assert await page.evaluate("document.activeElement.id") == "key"
        assert "POST" not in sent
        await page.evaluate(axe().read_text())
        await violations(page)

        # With one: an account, its orders, and the same at another node.
        await enter(page, key)
        await signed_in(page, "ann")
        assert await page.inner_text("#holder-scopes") == "read, trade"
        await place(page, "buy", "50", "1")
        await page.wait_for_selector("#order-rows tr")
        cluster.kill(second)
        await page.wait_for_function(
            "gone => { const { state, origin } = document.querySelector('#connection').dataset;"
            "return state === 'live' && origin !== gone; }",
            arg=second.url,
            timeout=READY_MS,
        )
        await place(page, "buy", "51", "1")
        await page.wait_for_selector("#order-rows tr:nth-child(2)", timeout=READY_MS)
        kept = await page.evaluate("[localStorage.length, document.cookie, location.search]")
        assert kept == [0, "", ""]

        # Revoked: told next to the field, and nothing of the account is left; the rest goes on.
        await known(client, first, FIRST)
        path = f"/v1/accounts/ann/keys/{key_id}"
        assert (await client.call(first, "DELETE", path, headers=shown(FIRST)))[0] == 200
        await page.wait_for_selector("#key-fault:not(:empty)", timeout=READY_MS)
        assert "was revoked" in await page.inner_text("#key-fault")
        await page.wait_for_selector("#no-orders:not([hidden])")
        assert await page.locator("#order-rows tr, #fill-rows tr").count() == 0
        assert await page.evaluate("Object.values(sessionStorage)") == []
        await page.wait_for_selector("#connection[data-state=live]", timeout=READY_MS)
        await page.wait_for_selector("#bids tr:not([hidden])")


@in_loop
async def test_a_page_says_what_its_key_may_not_do_and_forgets_it(cluster: RealCluster) -> None:
    async with pages_of(cluster) as (opened, client):
        key, _ = await made(client, cluster.nodes[0], "eve", "read")
        page = await opened.page(cluster.urls[0])
        await page.keyboard.press("k")
        await page.keyboard.type(key)
        await page.keyboard.press("Enter")
        await signed_in(page, "eve")
        await page.wait_for_selector("#no-orders:not([hidden])")
        await place(page, "sell", "50", "1")
        assert "may not trade" in await page.inner_text("#order-fault")
        await page.click("#forget")
        await page.wait_for_selector("#key-form:not([hidden])")
        assert await page.evaluate("Object.values(sessionStorage)") == []
