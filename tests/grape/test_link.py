"""The link: what it believes of a grape's answers, remembers, repeats, and gives up."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import grape.link
from grape.destinations import DESTINATIONS_PER_NAME_MAX
from grape.envelope import ErrorCode, GrenacheError
from grape.link import (
    ANNOUNCE_GAP_S_MAX,
    ANNOUNCE_INTERVAL_S,
    LOOKUP_EMPTY_FRESH_S_MAX,
    LOOKUP_FRESH_S_MAX,
    LOOKUP_STALE_S_MAX,
    Link,
    announce_wait_s,
)
from tests.support.coroutines import eventually, in_loop, seconds_taken
from tests.support.fake_grape import fake_grape, linked, says, says_text
from tests.support.node_modules import LOOPBACK, free_port


class Clock:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def failure_of(call: Coroutine[Any, Any, Any]) -> GrenacheError:
    with pytest.raises(GrenacheError) as raised:
        await call
    return raised.value


@in_loop
async def test_what_is_announced_is_found() -> None:
    async with linked() as (grape_, link):
        assert await link.announce("orders", 5001) == 1
        assert await link.lookup("orders") == ("127.0.0.1:5001",)
        assert grape_.asked == [("announce", ["orders", 5001]), ("lookup", "orders")]


@in_loop
async def test_a_lookup_is_remembered_for_ten_seconds() -> None:
    clock = Clock()
    async with fake_grape() as grape_, Link([grape_.url], clock_s=clock) as link:
        grape_.announced["orders"] = ["127.0.0.1:1"]
        await link.lookup("orders")
        grape_.announced["orders"] = ["127.0.0.1:2"]
        clock.now_s += LOOKUP_FRESH_S_MAX - 0.001
        assert await link.lookup("orders") == ("127.0.0.1:1",)
        clock.now_s += 0.001
        assert await link.lookup("orders") == ("127.0.0.1:2",)


@in_loop
async def test_an_empty_lookup_is_remembered_for_one_second_only() -> None:
    """A stock link keeps it for ten, and so misses a service that has just started."""
    clock = Clock()
    async with fake_grape() as grape_, Link([grape_.url], clock_s=clock) as link:
        for _ in range(2):
            failure = await failure_of(link.lookup("orders"))
            assert failure.code is ErrorCode.LOOKUP_EMPTY
            assert str(failure).startswith("ERR_GRAPE_LOOKUP_EMPTY")
        assert grape_.count("lookup") == 1
        grape_.announced["orders"] = ["127.0.0.1:1"]
        clock.now_s += LOOKUP_EMPTY_FRESH_S_MAX
        assert await link.lookup("orders") == ("127.0.0.1:1",)


@in_loop
async def test_equal_lookups_in_flight_share_one_request() -> None:
    async with linked() as (grape_, link):
        grape_.announced["orders"] = ["127.0.0.1:1"]
        found = await asyncio.gather(*(link.lookup("orders") for _ in range(20)))
        assert set(found) == {("127.0.0.1:1",)}
        assert grape_.count("lookup") == 1


@in_loop
async def test_one_caller_that_gives_up_does_not_fail_the_others() -> None:
    async with linked() as (grape_, link):
        grape_.announced["orders"] = ["127.0.0.1:1"]
        grape_.hang()
        impatient = asyncio.create_task(link.lookup("orders"))
        patient = asyncio.create_task(link.lookup("orders"))
        await eventually(lambda: grape_.count("lookup") == 1)
        impatient.cancel()
        grape_.go_on()
        assert await patient == ("127.0.0.1:1",)
        assert impatient.cancelled()


@in_loop
async def test_only_addresses_one_can_call_are_found() -> None:
    """A grape bound to 0.0.0.0 publishes that address: calling it would call ourselves."""
    usable = ["10.0.0.1:1", "127.0.0.1:65535"]
    unusable: list[Any] = ["0.0.0.0:1", "224.0.0.1:1", "127.0.0.1:0", "127.0.0.1:65536"]
    unusable += ["host:1", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:\u0661", "::1:1", 7, None, {}]
    async with linked() as (grape_, link):
        grape_.announced["orders"] = unusable + usable + usable
        assert await link.lookup("orders") == tuple(usable)


@in_loop
async def test_a_lookup_never_gives_more_than_the_bound() -> None:
    async with linked() as (grape_, link):
        grape_.announced["orders"] = [f"10.0.{n // 250}.{n % 250}:1" for n in range(1_000)]
        assert len(await link.lookup("orders")) == DESTINATIONS_PER_NAME_MAX


@in_loop
async def test_the_cache_of_lookups_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.link, "LOOKUPS_CACHED_MAX", 2)
    async with linked() as (grape_, link):
        for name in ("a", "b", "c"):
            grape_.announced[name] = ["127.0.0.1:1"]
            await link.lookup(name)
        await link.lookup("c")
        await link.lookup("b")
        assert grape_.count("lookup") == 3, "the two latest were remembered"
        await link.lookup("a")
        assert grape_.count("lookup") == 4, "the oldest was forgotten"


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("lookup", lambda link: link.lookup("orders")),
        ("announce", lambda link: link.announce("orders", 1)),
        ("put", lambda link: link.put("value")),
        ("get", lambda link: link.get("00" * 20)),
    ],
)
@in_loop
async def test_an_error_of_the_grape_is_never_taken_for_success(
    verb: str, call: Callable[[Link], Coroutine[Any, Any, Any]]
) -> None:
    """A grape reports its errors as 200 and a string; a stock link passes them on as success."""
    async with linked() as (grape_, link):
        grape_.scripted[verb] = says("No nodes to query")
        failure = await failure_of(call(link))
        assert failure.code is ErrorCode.GRAPE_REFUSED
        assert failure.detail == "No nodes to query"


@pytest.mark.parametrize("answer", [True, 0, -1, 1.5, "1", None, [1]])
@in_loop
async def test_only_a_positive_integer_is_an_announcement(answer: Any) -> None:
    async with linked() as (grape_, link):
        grape_.scripted["announce"] = says(answer)
        assert (await failure_of(link.announce("orders", 1))).code is ErrorCode.GRAPE_REFUSED


@in_loop
async def test_a_lookup_renews_the_stale_tokens_of_a_grape() -> None:
    """After a restart of its neighbour a real grape fails announcements for up to 5 minutes."""
    async with linked() as (grape_, link):

        def stale_until_looked_up(_: Any) -> Any:
            return says(1 if grape_.count("lookup") else "All queries failed")(_)

        grape_.scripted["announce"] = stale_until_looked_up
        assert await link.announce("orders", 1) == 1
        assert [verb for verb, _ in grape_.asked] == ["announce", "lookup", "announce"]


@in_loop
async def test_a_failing_grape_is_asked_three_times() -> None:
    async with linked() as (grape_, link):
        grape_.scripted["lookup"] = says_text("broken", status=500)
        failure = await failure_of(link.lookup("orders"))
        assert failure.code is ErrorCode.REQUEST_GENERIC
        assert failure.detail == "HTTP 500: broken"
        assert grape_.count("lookup") == 3


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00", "NaN"])
@in_loop
async def test_an_answer_that_is_not_json_is_an_error(text: str) -> None:
    async with linked() as (grape_, link):
        grape_.scripted["lookup"] = says_text(text)
        assert (await failure_of(link.lookup("orders"))).code is ErrorCode.REPLY_INVALID


@in_loop
async def test_a_hanging_grape_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.link, "GRAPE_REQUEST_S_MAX", 0.1)
    async with linked() as (grape_, link):
        grape_.hang()
        failure = await failure_of(link.lookup("orders"))
        assert failure.code is ErrorCode.TIMEOUT
        assert grape_.count("lookup") == 3


@in_loop
async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grape.http_io, "REPLY_BYTES_MAX", 1_000)
    async with linked() as (grape_, link):
        grape_.scripted["lookup"] = says_text("x" * 1_001)
        assert (await failure_of(link.lookup("orders"))).code is ErrorCode.REPLY_SIZE


@in_loop
async def test_lookups_move_on_to_the_next_grape() -> None:
    dead = f"http://{LOOPBACK}:{free_port()}"
    async with fake_grape() as living, Link([dead, living.url + "/"]) as link:
        living.announced["orders"] = ["127.0.0.1:1"]
        assert await link.lookup("orders") == ("127.0.0.1:1",)


@in_loop
async def test_announcements_stay_with_the_first_grape() -> None:
    """Another grape would publish its own address as ours."""
    dead = f"http://{LOOPBACK}:{free_port()}"
    async with fake_grape() as living, Link([dead, living.url]) as link:
        failure = await failure_of(link.announce("orders", 1))
        assert failure.code is ErrorCode.REQUEST_GENERIC
        assert living.asked == []


@in_loop
async def test_a_known_result_outlives_the_grape_for_two_minutes() -> None:
    clock = Clock()
    async with fake_grape() as grape_, Link([grape_.url], clock_s=clock) as link:
        grape_.announced["orders"] = ["127.0.0.1:1"]
        await link.lookup("orders")
        grape_.scripted["lookup"] = says_text("broken", status=500)
        clock.now_s += LOOKUP_STALE_S_MAX - 0.001
        assert await link.lookup("orders") == ("127.0.0.1:1",)
        assert grape_.count("lookup") == 2, "who has a result to fall back on asks once"
        clock.now_s += LOOKUP_FRESH_S_MAX
        assert (await failure_of(link.lookup("orders"))).code is ErrorCode.REQUEST_GENERIC


@in_loop
async def test_an_announcement_is_repeated_until_stopped() -> None:
    async with linked() as (grape_, link):
        announcement = link.start_announcing("orders", 5001, interval_s=0.01)
        await announcement.announced.wait()
        await eventually(lambda: grape_.count("announce") >= 4)
        assert announcement.acknowledged_by == 1
        await link.stop_announcing(announcement)
        count = grape_.count("announce")
        await asyncio.sleep(0.05)
        assert grape_.count("announce") == count


@in_loop
async def test_announcing_goes_on_after_failures_and_says_why() -> None:
    async with linked() as (grape_, link):
        grape_.scripted["announce"] = says("No nodes to query")
        announcement = link.start_announcing("orders", 5001, interval_s=0.01)
        await eventually(lambda: announcement.failure is not None)
        assert announcement.failure == "ERR_GRAPE_REFUSED: No nodes to query"
        assert not announcement.announced.is_set()
        del grape_.scripted["announce"]
        await announcement.announced.wait()
        assert announcement.failure is None


@in_loop
async def test_starting_twice_announces_once() -> None:
    async with linked() as (grape_, link):
        first = link.start_announcing("orders", 5001)
        second = link.start_announcing("orders", 5001)
        assert first is second
        await first.announced.wait()
        assert grape_.count("announce") == 1


def test_waits_between_announcements_differ_and_stay_below_thirty_seconds() -> None:
    rng = random.Random(1)
    waits_s = [
        announce_wait_s(rng, interval_s=ANNOUNCE_INTERVAL_S, failures=0) for _ in range(1_000)
    ]
    assert 0.5 * ANNOUNCE_INTERVAL_S <= min(waits_s) < 0.55 * ANNOUNCE_INTERVAL_S
    assert 0.95 * ANNOUNCE_GAP_S_MAX < max(waits_s) <= ANNOUNCE_GAP_S_MAX
    assert announce_wait_s(rng, interval_s=120.0, failures=0) == ANNOUNCE_GAP_S_MAX


def test_a_failed_announcement_is_repeated_sooner() -> None:
    rng = random.Random(1)
    for failures, mean_s in [(1, 1.0), (2, 2.0), (5, 16.0), (6, 20.0), (10_000, 20.0)]:
        wait_s = announce_wait_s(rng, interval_s=20.0, failures=failures)
        assert 0.5 * mean_s <= wait_s <= 1.5 * mean_s


@in_loop
async def test_closing_fails_the_lookups_in_flight_at_once() -> None:
    async with linked() as (grape_, link):
        grape_.hang()
        waiting = asyncio.create_task(link.lookup("orders"))
        await eventually(lambda: grape_.count("lookup") == 1)
        assert await seconds_taken(link.close()) < 1.0
        assert (await failure_of(_awaited(waiting))).code is ErrorCode.TRANSPORT_CLOSE
        assert (await failure_of(link.lookup("orders"))).code is ErrorCode.TRANSPORT_CLOSE


async def _awaited(task: asyncio.Task[Any]) -> Any:
    return await task


@in_loop
async def test_what_was_put_is_got() -> None:
    target = "6d33adc2b6b2c14c3036feefb7fedbca1a880527"
    item = {"id": "6a" * 20, "token": None, "v": "hello world"}
    async with linked() as (grape_, link):
        grape_.scripted["put"] = says(target)
        grape_.scripted["get"] = says(item)
        assert await link.put({"v": "hello world"}) == target
        assert await link.get(target) == item
        grape_.scripted["get"] = says_text("")
        assert await link.get(target) is None, "a grape says nothing when it has nothing"
