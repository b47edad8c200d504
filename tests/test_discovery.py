"""Asking whoever is announced goes on, whatever strangers answer; a bug of ours is seen."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from raft_exchange.candidates import ASKED_AT_ONCE_MAX, Sighting
from raft_exchange.discovery import Discovery
from raft_exchange.introduction import believe
from raft_exchange.raft.formation import Statement
from tests.support.forming import statement
from tests.support.virtual_time import run_virtually

GOOD = "http://10.0.0.1:8081"
LIARS = [f"http://10.6.6.{number}:8081" for number in range(2 * ASKED_AT_ONCE_MAX)]


class Announced:
    """A network of liars, whose answers are `lie`, and after a minute of one honest node."""

    def __init__(self, lie: bytes | Exception) -> None:
        self.lie = lie
        self.asked = Counter[str]()

    async def announce(self) -> None: ...

    async def lookup(self) -> list[str]:
        is_late = asyncio.get_running_loop().time() > 60
        return [*LIARS, GOOD] if is_late else LIARS

    async def ask(self, url: str) -> Statement:
        self.asked[url] += 1
        await asyncio.sleep(0.01)
        if url == GOOD:
            return statement("n2")
        if isinstance(self.lie, Exception):
            raise self.lie
        return believe(self.lie, nonce="ab" * 16, cluster="exchange", secret=b"x" * 16)


@pytest.mark.parametrize("lie", [b'{"x":' + b"[" * 30_000, b"", KeyError("a bug of ours")])
def test_lies_of_any_kind_keep_nobody_from_being_asked(lie: bytes | Exception) -> None:
    async def life() -> None:
        network = Announced(lie)
        discovery = Discovery(network, own_id="n1", peer_age_s=20.0)
        running = asyncio.create_task(discovery.run())
        await asyncio.sleep(90)
        assert [one.id for one in discovery.statements()] == ["n2"]
        assert all(network.asked[url] > 2 for url in LIARS)
        assert discovery.bounds_used()["discovery_questions"] < 1
        assert discovery.figures().answers["malformed"] > len(LIARS)
        running.cancel()
        await asyncio.wait([running])

    run_virtually(life())


def test_a_bug_in_reading_an_answer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def life() -> None:
        discovery = Discovery(Announced(KeyError("no key")), own_id="n1", peer_age_s=20.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await discovery.run()

    run_virtually(life())
    (first, *_) = (one for one in caplog.records if one.levelno == logging.ERROR)
    assert "this is a bug: KeyError('no key')" in first.getMessage()


def test_a_bug_in_what_is_done_with_a_proved_answer_ends_the_search_loudly() -> None:
    def listen(sighting: Sighting) -> None:
        raise AssertionError(f"a bug of ours, at {sighting.url}")

    async def life() -> None:
        discovery = Discovery(Announced(b""), own_id="n1", peer_age_s=20.0)
        discovery.add_listener(listen)
        with pytest.raises(AssertionError, match="a bug of ours"):
            async with asyncio.timeout(90):  # its turn comes by lot
                await discovery.run()

    run_virtually(life())
