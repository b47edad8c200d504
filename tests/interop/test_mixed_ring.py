"""One ring of two real Node.js grapes and two of ours: everything is found in every direction."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grape import Grape, GrapeSettings, sign_item
from tests.support.coroutines import in_loop
from tests.support.grapes import join, started
from tests.support.node_modules import (
    LOOPBACK,
    READY_S_MAX,
    RealGrape,
    ask,
    free_port,
    node_command,
    real_grapes,
    running,
)

pytestmark = pytest.mark.interop

PRIVATE_KEY = bytes(range(32))
NAMES = ["x", "rpc_test", "n" * 20, "n" * 21, "n" * 200, "usługa_żółwia"]
VERIFYING_GRAPE = Path(__file__).parent / "verifying_grape.js"


@contextlib.asynccontextmanager
async def mixed_ring() -> AsyncIterator[list[str]]:
    """The URLs of two real grapes and two of ours; each of ours joined through real ones."""
    with contextlib.ExitStack() as processes:
        real = await asyncio.to_thread(processes.enter_context, real_grapes(2))
        async with contextlib.AsyncExitStack() as stack:
            ours: list[Grape] = []
            for grape in real:
                one = await started(GrapeSettings(api_port=0, bootstrap=[grape.address]))
                stack.push_async_callback(one.stop)
                ours.append(one)
            yield [grape.url for grape in real] + [grape.api_url for grape in ours]
            await asyncio.to_thread(check_alive, real)


@contextlib.asynccontextmanager
async def verifying_grape(bootstrap: str = "") -> AsyncIterator[RealGrape]:
    """A real grape that verifies mutable items, once it answers."""
    ports = free_port(), free_port()
    program = [*node_command(VERIFYING_GRAPE), *map(str, ports), bootstrap]
    with contextlib.ExitStack() as processes:
        process = await asyncio.to_thread(processes.enter_context, running(program))
        real = RealGrape(*ports, process)
        async with asyncio.timeout(READY_S_MAX):
            answer = None
            while answer != []:
                with contextlib.suppress(OSError):
                    answer = await asked(real.url, "lookup", "nobody")
        yield real


def check_alive(real: list[RealGrape]) -> None:
    """Assert that nothing we sent ended a real grape: some datagrams do."""
    for grape in real:
        assert grape.process.poll() is None


async def asked(url: str, verb: str, data: Any) -> Any:
    return await asyncio.to_thread(ask, url, verb, data)


@in_loop
async def test_services_announced_anywhere_are_found_everywhere() -> None:
    """All 16 directions, for names of every length and of more than ASCII."""
    async with mixed_ring() as urls:
        misses = []
        for (i, name), (a, b) in itertools.product(
            enumerate(NAMES), itertools.product(range(4), repeat=2)
        ):
            port = 1_000 + 100 * i + 10 * a + b
            # Each direction has a name of its own, of the same length.
            service = name[:-1] + "abcdefghijklmnop"[4 * a + b]
            stored = await asked(urls[a], "announce", [service, port])
            found = await asked(urls[b], "lookup", service)
            if not isinstance(stored, int) or stored < 1 or found != [f"{LOOPBACK}:{port}"]:
                misses.append((service, a, b, stored, found))
        assert misses == []


@in_loop
async def test_items_put_anywhere_are_got_everywhere() -> None:
    async with mixed_ring() as urls:
        for a, b in itertools.product(range(4), repeat=2):
            text = f"value {a} {b} żółć"
            target = await asked(urls[a], "put", {"v": text})
            assert isinstance(target, str)
            assert len(target) == 40
            assert (await asked(urls[b], "get", target))["v"] == text


def mutable(v: str, seq: int, salt: str, **more: Any) -> dict[str, Any]:
    item = sign_item(PRIVATE_KEY, v.encode(), seq=seq, salt=salt.encode())
    found = {"v": v, "k": item.k.hex(), "sig": item.sig.hex(), "seq": seq, **more}
    return found | {"salt": salt} if salt else found


@in_loop
async def test_mutable_items_pass_between_all_that_verify() -> None:
    """One real grape with a verifier and two of ours: every writer, every reader, every refusal."""
    async with verifying_grape() as real, contextlib.AsyncExitStack() as stack:
        urls = [real.url]
        bootstrap = [real.address]
        for _ in range(2):
            one = await started(GrapeSettings(api_port=0, bootstrap=bootstrap))
            stack.push_async_callback(one.stop)
            bootstrap.append(join(one.dht_address))
            urls.append(one.api_url)
        for a, salt in itertools.product(range(3), ["", "salt"]):
            seq = 100 * (a + 1)
            target = await asked(urls[a], "put", mutable("v1", seq, salt))
            assert isinstance(target, str)
            for b in range(3):
                request = {"hash": target, "cache": False} | ({"salt": salt} if salt else {})
                found = await asked(urls[b], "get", request)
                assert (found["v"], found["seq"]) == ("v1", seq), (a, b, salt)
                with pytest.raises(OSError, match="302"):
                    await asked(urls[b], "put", mutable("v0", seq - 1, salt))
                with pytest.raises(OSError, match="301"):
                    await asked(urls[b], "put", mutable("v9", seq + 9, salt, cas=7))
        await asyncio.to_thread(check_alive, [real])


@in_loop
async def test_a_restarted_real_grape_finds_what_it_forgot() -> None:
    """Ours keeps what was announced through it, so the restarted one learns it by asking."""
    async with contextlib.AsyncExitStack() as stack:
        ours = await started(GrapeSettings(api_port=0))
        stack.push_async_callback(ours.stop)
        async with verifying_grape(bootstrap=join(ours.dht_address)):
            assert await ours.announce("svc", 1337) == 1
        async with verifying_grape(bootstrap=join(ours.dht_address)) as reborn:
            assert await asked(reborn.url, "lookup", "svc") == [f"{LOOPBACK}:1337"]
            assert await ours.announce("svc", 1337) == 1
