"""Which of the announced nodes an RPC client calls, and what it makes of their failures."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

import grape.rpc
from grape.link import Link
from grape.rpc import (
    ErrorCode,
    GrenacheError,
    RemoteError,
    RpcClient,
)
from tests.support.coroutines import eventually, in_loop
from tests.support.fake_grape import FakeGrape, linked
from tests.support.node_modules import LOOPBACK, free_port
from tests.support.rpc_peers import (
    TRANSPORTS,
    Peer,
    peer,
    raw_server,
    says_nothing,
    transport,
)

every_transport = pytest.mark.parametrize("name", TRANSPORTS)


@contextlib.asynccontextmanager
async def announced(count: int) -> AsyncIterator[tuple[FakeGrape, Link, list[Peer]]]:
    """`count` servers of the service `orders`, and a link that finds them."""
    async with contextlib.AsyncExitStack() as stack:
        grape_, link = await stack.enter_async_context(linked())
        peers = [await stack.enter_async_context(peer()) for _ in range(count)]
        grape_.announced["orders"] = [each.destination for each in peers]
        yield grape_, link, peers


@every_transport
@pytest.mark.parametrize("at_once", [1, 16])
@in_loop
async def test_eight_servers_share_800_calls_evenly(name: str, at_once: int) -> None:
    """A stock client is sticky: of its 8 servers 3 got nothing."""
    async with announced(8) as (_, link, peers), transport(name) as to:
        client = RpcClient(link, to, rng=random.Random(1))
        for _ in range(800 // at_once):
            await asyncio.gather(*(client.request("orders", 1) for _ in range(at_once)))
        counts = [len(each.handler.seen) for each in peers]
        assert sum(counts) == 800
        assert counts == [100] * 8


@every_transport
@in_loop
async def test_a_dead_server_is_avoided_after_its_first_failure(name: str) -> None:
    async with announced(7) as (grape_, link, peers), transport(name) as to:
        grape_.announced["orders"].append(f"{LOOPBACK}:{free_port()}")
        client = RpcClient(link, to, rng=random.Random(1), clock_s=lambda: 0.0)
        outcomes: Counter[str] = Counter()
        for _ in range(701):
            try:
                await client.request("orders", 1)
                outcomes["ok"] += 1
            except GrenacheError as error:
                outcomes[error.code] += 1
        assert outcomes == {"ok": 700, ErrorCode.REQUEST_GENERIC: 1}
        assert [len(each.handler.seen) for each in peers] == [100] * 7


@in_loop
async def test_a_second_attempt_goes_to_another_server() -> None:
    async with announced(1) as (grape_, link, peers), transport("http") as to:
        grape_.announced["orders"] += [f"{LOOPBACK}:{free_port()}" for _ in range(2)]
        for seed in range(10):
            client = RpcClient(link, to, rng=random.Random(seed))
            assert await client.request("orders", seed, attempts=3) == {"echo": seed}
        assert len(peers[0].handler.seen) == 10


@in_loop
async def test_a_second_attempt_prefers_an_old_failure_to_the_one_just_seen() -> None:
    """Though the old one, with many failures in a row, is not due for long."""
    async with announced(1) as (grape_, link, peers), transport("http") as to:
        back_again = peers[0].destination
        dead = f"{LOOPBACK}:{free_port()}"
        grape_.announced["orders"].append(dead)
        client = RpcClient(link, to, clock_s=lambda: 0.0)
        for _ in range(5):
            client._destinations.start(back_again)
            client._destinations.finish(back_again, healthy=False)
        assert await client.request("orders", 1, attempts=2) == {"echo": 1}
        assert client._destinations.is_avoided(dead), "it was tried first"


@in_loop
async def test_an_error_of_the_handler_is_not_tried_again_and_no_sign_of_illness() -> None:
    async with announced(1) as (_, link, peers), transport("http") as to:
        client = RpcClient(link, to)
        with pytest.raises(RemoteError):
            await client.request("orders", {"fail": "no"}, attempts=5)
        assert len(peers[0].handler.seen) == 1
        assert not client._destinations.is_avoided(peers[0].destination)


@in_loop
async def test_nobody_announced_is_an_error_of_its_own() -> None:
    async with linked() as (_, link), transport("http") as to:
        client = RpcClient(link, to)
        for asked in (client.request("orders", 1), client.map("orders", 1)):
            with pytest.raises(GrenacheError, match=r"^ERR_GRAPE_LOOKUP_EMPTY") as raised:
                await asked
            assert raised.value.code is ErrorCode.LOOKUP_EMPTY


@every_transport
@in_loop
async def test_map_asks_everyone_and_one_failure_hides_nothing(name: str) -> None:
    """With a stock client the first error fails the whole map."""
    async with announced(3) as (grape_, link, peers), transport(name) as to:
        dead = f"{LOOPBACK}:{free_port()}"
        grape_.announced["orders"].insert(1, dead)
        answers_ = await RpcClient(link, to).map("orders", {"fail": "no"})
        assert [each.destination for each in answers_] == grape_.announced["orders"]
        assert isinstance(answers_[1].error, GrenacheError)
        assert [str(each.error) for each in answers_ if each.destination != dead] == ["no"] * 3
        assert [len(each.handler.seen) for each in peers] == [1, 1, 1]


@in_loop
async def test_map_with_a_limit_asks_so_many() -> None:
    async with announced(5) as (_, link, peers), transport("http") as to:
        client = RpcClient(link, to, rng=random.Random(1))
        assert len(await client.map("orders", 1, limit=2)) == 2
        assert sum(len(each.handler.seen) for each in peers) == 2
        assert len(await client.map("orders", 1, limit=9)) == 5


@in_loop
async def test_one_frozen_server_delays_map_by_the_timeout_only() -> None:
    world = announced(2)
    async with world as (grape_, link, _), transport("http") as to, raw_server(says_nothing) as ice:
        grape_.announced["orders"].append(ice)
        answers_ = await RpcClient(link, to).map("orders", 1, timeout_s=0.3)
        assert [each.result for each in answers_[:2]] == [{"echo": 1}] * 2
        assert isinstance(answers_[2].error, GrenacheError)
        assert answers_[2].error.code is ErrorCode.TIMEOUT


@in_loop
async def test_calls_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.rpc, "CALLS_IN_FLIGHT_MAX", 1)
    async with announced(1) as (_, link, peers), transport("http") as to:
        client = RpcClient(link, to)
        waiting = asyncio.create_task(client.request("orders", "wait"))
        await eventually(lambda: len(peers[0].handler.seen) == 1)
        with pytest.raises(GrenacheError) as raised:
            await client.request("orders", 1)
        assert raised.value.code is ErrorCode.BUSY
        peers[0].handler.go_on.set()
        assert await waiting == {"echo": "wait"}
