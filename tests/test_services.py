"""Which services of a node are announced, and when."""

from __future__ import annotations

import asyncio

from grape import Grape
from grape.link import Link
from raft_exchange.services import Services
from tests.support.coroutines import in_loop
from tests.support.grapes import grapes


async def found(grape: Grape, name: str, count: int) -> list[tuple[str, int]]:
    """Wait until so many peers of a service are known."""
    peers: list[tuple[str, int]] = []
    async with asyncio.timeout(30):
        while len(peers) != count:
            await asyncio.sleep(0.01)
            peers = await grape.lookup(name)
    return peers


@in_loop
async def test_the_leaders_services_are_announced_while_it_leads() -> None:
    leads = False
    async with grapes(2, peer_age_ms=1_000) as (one, other):
        services = Services(
            Link([one.api_url]),
            {"a": 1_111, "b": 2_222},
            leader_ports={"c": 3_333},
            is_leader=lambda: leads,
            interval_s=0.2,
        )
        async with services:
            assert [port for _, port in await found(other, "a", 1)] == [1_111]
            assert [port for _, port in await found(other, "b", 1)] == [2_222]
            assert await other.lookup("c") == []
            leads = True
            assert [port for _, port in await found(other, "c", 1)] == [3_333]
            leads = False
            await found(other, "c", 0)
            assert len(await other.lookup("a")) == 1
        await found(other, "a", 0)
