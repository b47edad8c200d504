"""A StatefulSet that shrinks and grows: the hook of the chart, run at real nodes under load."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raft_exchange.client import ExchangeClient, NewOrder
from tests.support.coroutines import in_loop
from tests.support.pods import NAME, Pods, cluster_of, ready, running

pytestmark = [pytest.mark.interop, pytest.mark.system]
WAIT_S_MAX = 60.0
ALL = range(5)
KEPT = range(3)


@pytest.mark.timeout(600)
@in_loop
async def test_five_nodes_three_nodes_and_five_again(tmp_path: Path) -> None:
    with running(tmp_path, 5) as pods:
        async with aiohttp.ClientSession() as session:
            await ready(session, pods, ALL)
            before = await ids(session, pods, 0)
            await lead(session, pods, 4)  # so that a leader is among those who go
            await shrinks_without_a_failed_order(session, pods)
            assert await ids(session, pods, 0) == before[:3]
            for ordinal in (4, 3):
                assert await asyncio.to_thread(pods.terminate, ordinal) == 0, pods.log(ordinal)

            await refuses_to_lose_the_quorum(session, pods)
            assert await ids(session, pods, 0) == before[:3]

            await grows_with_the_old_volumes(session, pods, before)


async def shrinks_without_a_failed_order(session: aiohttp.ClientSession, pods: Pods) -> None:
    """Neither at the nodes that stay, asked directly, nor for a client that knows all five."""
    stopped = asyncio.Event()
    work = [
        asyncio.create_task(place_until(stopped, session, pods.url(ordinal))) for ordinal in KEPT
    ]
    work.append(asyncio.create_task(trade_until(stopped, [pods.url(i) for i in reversed(ALL)])))
    await asyncio.sleep(1.0)
    code, told = await pods.scale_down(3, awaited=KEPT)
    await asyncio.sleep(1.0)
    stopped.set()
    placed = await asyncio.gather(*work)
    assert code == 0, told
    gone = [line.split()[1] for line in told.splitlines() if line.startswith("removed rel-")]
    assert [id_.rpartition("-")[0] for id_ in gone] == [f"{NAME}-4", f"{NAME}-3"]
    assert min(placed) > 0, placed


async def refuses_to_lose_the_quorum(session: aiohttp.ClientSession, pods: Pods) -> None:
    """Of three with one away none can go: the other of two alone is no majority."""
    pods.kill(1)
    code, told = await until_seen_away(session, pods)
    assert code == 1, told
    assert "only 1 of 2 voters would be in reach" in told
    pods.start(1)
    await ready(session, pods, KEPT)


async def until_seen_away(session: aiohttp.ClientSession, pods: Pods) -> tuple[int, str]:
    """Ask when the others have noticed; there is a leader again."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        view = await cluster_of(session, pods, 0)
        away = [one["id"] for one in view["members"] if not one["reachable"]]
        if view["leader"] and [id_.rpartition("-")[0] for id_ in away] == [f"{NAME}-1"]:
            return await pods.scale_down(1, awaited=[0])
        assert time.monotonic() < deadline_s, view
        await asyncio.sleep(0.1)


async def grows_with_the_old_volumes(
    session: aiohttp.ClientSession, pods: Pods, before: Sequence[str]
) -> None:
    """The pods that were removed set their data aside, and are members under new ids."""
    for ordinal in (3, 4):
        pods.start(ordinal)
    await ready(session, pods, ALL)
    deadline_s = time.monotonic() + WAIT_S_MAX
    while sum(one["votes"] for one in (await cluster_of(session, pods, 0))["members"]) < 5:
        assert time.monotonic() < deadline_s, pods.log(4)
        await asyncio.sleep(0.1)
    after = await ids(session, pods, 0)
    assert after[:3] == list(before[:3])
    assert not set(after[3:]) & set(before)
    for ordinal in (3, 4):
        assert (pods.data(ordinal) / "aside" / before[ordinal] / "journal").is_dir()
    views = await hashed(session, pods)
    while len({view["sequence"] for view in views}) > 1:
        assert time.monotonic() < deadline_s, views
        views = await hashed(session, pods)
    assert len({view["state_hash"] for view in views}) == 1


async def hashed(session: aiohttp.ClientSession, pods: Pods) -> list[Any]:
    """Return every pod's view with the hash of its state."""
    views = []
    for ordinal in ALL:
        async with session.get(pods.url(ordinal) + "/v1/cluster?hash=now") as answer:
            views.append(json.loads(await answer.text()))
    return views


async def ids(session: aiohttp.ClientSession, pods: Pods, at: int) -> list[str]:
    return sorted(one["id"] for one in (await cluster_of(session, pods, at))["members"])


async def lead(session: aiohttp.ClientSession, pods: Pods, ordinal: int) -> None:
    """Have a pod lead."""
    view: Any = await cluster_of(session, pods, ordinal)
    urls = {one["id"]: one["http_url"] for one in view["members"]}
    if view["leader"] != view["node"]:
        url = f"{urls[view['leader']]}/v1/cluster/leader?to={view['node']}"
        async with session.post(url) as answer:
            assert answer.status == 200, await answer.text()


async def place_until(stopped: asyncio.Event, session: aiohttp.ClientSession, url: str) -> int:
    """Place orders at one node, one after the other; return how many, of which none failed."""
    order = {"market": "BTC-USD", "side": "buy", "type": "limit", "price": "10", "quantity": "1"}
    count = 0
    while not stopped.is_set():
        async with session.post(url + "/v1/orders", json=order) as answer:
            assert answer.status == 201, await answer.text()
        count += 1
    return count


async def trade_until(stopped: asyncio.Event, urls: list[str]) -> int:
    """The same by the client, which goes on at another node when one is no member any more."""
    count = 0
    async with ExchangeClient(urls) as client:
        while not stopped.is_set():
            order = NewOrder(market="BTC-USD", side="sell", price="11", quantity="1")
            placed = await client.place_order(order)
            assert placed.order.status == "open"
            count += 1
    return count
