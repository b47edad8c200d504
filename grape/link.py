"""The Grenache link: look services up and announce them through a grape's HTTP API.

Rules:

1. A grape reports its own errors as HTTP 200 with a JSON string. Every answer is therefore checked
   for its type; anything else is GRAPE_REFUSED with the grape's words.
2. Lookups are cached for 10 s, empty ones for 1 s; equal lookups in flight share one request. While
   no grape answers, a result up to 2 minutes old is given: the DHT itself is no fresher.
3. The grape publishes *its* IP address as ours. Only the first grape, which must share our address,
   is told to announce; lookups move on to the next grape when one fails.
4. Announcements lapse after `maxAge` (2 minutes at a real grape) and cannot be taken back. They are
   repeated at random intervals of at most 30 s, so that nodes started together drift apart.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from grape.destinations import usable_destinations
from grape.envelope import ErrorCode, GrenacheError, decode_json, encode_json, new_rid
from grape.http_io import new_session, post

logger = logging.getLogger(__name__)

# A grape whose contacts are dead answers after 2.0 to 2.5 s; less would hide its answer.
GRAPE_REQUEST_S_MAX: Final = 3.0
TRIES_MAX: Final = 3

LOOKUP_FRESH_S_MAX: Final = 10.0
LOOKUP_EMPTY_FRESH_S_MAX: Final = 1.0
LOOKUP_STALE_S_MAX: Final = 120.0
LOOKUPS_CACHED_MAX: Final = 2_500
LOOKUPS_IN_FLIGHT_MAX: Final = 256

ANNOUNCE_INTERVAL_S: Final = 20.0
ANNOUNCE_GAP_S_MAX: Final = 30.0
ANNOUNCE_RETRY_S_MIN: Final = 1.0
ANNOUNCEMENTS_MAX: Final = 64
SERVICE_NAME_BYTES_MAX: Final = 256

# A grape keeps the tokens of its contacts for 5 minutes, even when they have restarted since; one
# lookup of the name renews them.
STALE_TOKENS: Final = "All queries failed"

assert ANNOUNCE_INTERVAL_S * 1.5 <= ANNOUNCE_GAP_S_MAX
assert LOOKUP_EMPTY_FRESH_S_MAX <= LOOKUP_FRESH_S_MAX <= LOOKUP_STALE_S_MAX


@dataclass(eq=False)
class Announcement:
    """One service kept announced until `Link.stop_announcing` or `Link.close`."""

    name: str
    port: int
    acknowledged_by: int = 0
    """How many grapes stored the last successful announcement."""
    failure: str | None = None
    """Why the last announcement failed; None when it succeeded."""
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the service was announced for the first time."""


@dataclass(slots=True)
class _Found:
    destinations: tuple[str, ...]
    fresh_until_s: float
    stale_until_s: float


class Link:
    """A client of one or more grapes. Use it as an async context manager, or call `close`."""

    def __init__(
        self,
        grape_urls: Sequence[str],
        *,
        rng: random.Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        assert grape_urls, "a link needs a grape"
        self._grape_urls = [url.rstrip("/") for url in grape_urls]
        self._rng = rng or random.Random()
        self._clock_s = clock_s
        self._session: aiohttp.ClientSession | None = None
        self._preferred = 0
        self._cache: OrderedDict[str, _Found] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._announcers: dict[tuple[str, int], tuple[Announcement, asyncio.Task[None]]] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def lookup(self, name: str) -> tuple[str, ...]:
        """The `ip:port` of every node that announces `name`, never empty.

        Raises:
            GrenacheError: LOOKUP_EMPTY when nobody does; TIMEOUT, REQUEST_GENERIC or GRAPE_REFUSED
                when no grape would say; BUSY, TRANSPORT_CLOSE.
        """
        _check_name(name)
        found = self._cache.get(name)
        if found is not None and self._clock_s() < found.fresh_until_s:
            self._cache.move_to_end(name)
            destinations = found.destinations
        else:
            destinations = await self._shared_lookup(name)
        if not destinations:
            raise GrenacheError(ErrorCode.LOOKUP_EMPTY, name)
        return destinations

    async def announce(self, name: str, port: int) -> int:
        """Announce `name` on `port` at our grape's IP address, once.

        Returns:
            How many grapes stored it, at least 1.

        Raises:
            GrenacheError: GRAPE_REFUSED with the grape's words, TIMEOUT, REQUEST_GENERIC.
        """
        _check_name(name)
        assert 0 < port <= 65_535, "a real grape dies of some other ports"
        answer = await self._ask("announce", [name, port], grape_urls=self._grape_urls[:1])
        if answer == STALE_TOKENS:
            await self._ask("lookup", name, grape_urls=self._grape_urls[:1])
            answer = await self._ask("announce", [name, port], grape_urls=self._grape_urls[:1])
        if type(answer) is not int or answer < 1:
            raise GrenacheError(ErrorCode.GRAPE_REFUSED, str(answer))
        return answer

    async def put(self, item: str | Mapping[str, Any]) -> str:
        """Store `item` (BEP 44) in the DHT and return its target, 40 hex digits. Asked once.

        Args:
            item: the value, or `{v, k, sig, seq, salt, cas}` as the grape's `/put` takes it.

        Raises:
            GrenacheError: GRAPE_REFUSED with the grape's words, TIMEOUT, REQUEST_GENERIC.
        """
        answer = await self._ask("put", item, grape_urls=self._grape_urls[:1], tries=1)
        if not isinstance(answer, str) or not _is_target(answer):
            raise GrenacheError(ErrorCode.GRAPE_REFUSED, str(answer))
        return answer

    async def get(self, target: str | Mapping[str, Any]) -> dict[str, Any] | None:
        """The item stored under `target`, as the grape's `/get` gives it; None if there is none.

        Raises:
            GrenacheError: GRAPE_REFUSED with the grape's words, TIMEOUT, REQUEST_GENERIC.
        """
        answer = await self._ask("get", target, grape_urls=self._grape_urls[:1], tries=1)
        if answer is None or isinstance(answer, dict):
            return answer
        raise GrenacheError(ErrorCode.GRAPE_REFUSED, str(answer))

    def start_announcing(
        self, name: str, port: int, *, interval_s: float = ANNOUNCE_INTERVAL_S
    ) -> Announcement:
        """Announce now and again until told to stop; a second start gives the first announcement.

        `interval_s` is the mean time between two: see `announce_wait_s`.
        """
        _check_name(name)
        assert 0 < port <= 65_535, "a real grape dies of some other ports"
        assert not self._closed, "the link is open"
        known = self._announcers.get((name, port))
        if known is not None:
            return known[0]
        assert len(self._announcers) < ANNOUNCEMENTS_MAX, "announcements are bounded"
        announcement = Announcement(name, port)
        task = asyncio.create_task(
            self._keep_announcing(announcement, interval_s=interval_s), name=f"announce {name}"
        )
        self._announcers[name, port] = (announcement, task)
        return announcement

    async def stop_announcing(self, announcement: Announcement) -> None:
        """Announce it no more. Others find it until it lapses: the DHT takes nothing back."""
        known = self._announcers.pop((announcement.name, announcement.port), None)
        if known is not None:
            await _end([known[1]])

    async def close(self) -> None:
        """Stop announcing, fail every lookup in flight with TRANSPORT_CLOSE, free the sockets."""
        self._closed = True
        tasks = [task for _, task in self._announcers.values()]
        await _end([*tasks, *self._lookups.values()])
        self._announcers.clear()
        self._cache.clear()
        if self._session is not None:
            await self._session.close()

    async def _shared_lookup(self, name: str) -> tuple[str, ...]:
        task = self._lookups.get(name)
        if task is None:
            if len(self._lookups) >= LOOKUPS_IN_FLIGHT_MAX:
                raise GrenacheError(ErrorCode.BUSY, f"{LOOKUPS_IN_FLIGHT_MAX} lookups in flight")
            task = asyncio.create_task(self._fresh_lookup(name), name=f"lookup {name}")
            self._lookups[name] = task
            task.add_done_callback(lambda ended: self._lookup_ended(name, ended))
        try:
            # Shielded: one caller that gives up must not fail the others.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise GrenacheError(ErrorCode.TRANSPORT_CLOSE, "the link was closed") from None
            raise

    def _lookup_ended(self, name: str, task: asyncio.Task[tuple[str, ...]]) -> None:
        del self._lookups[name]
        if not task.cancelled():
            task.exception()  # all who waited may have given up: it was seen

    async def _fresh_lookup(self, name: str) -> tuple[str, ...]:
        known = self._cache.get(name)
        has_stale = known is not None and self._clock_s() < known.stale_until_s
        try:
            # Who has something to fall back on does not wait for a hanging grape three times.
            tries = 1 if has_stale and len(self._grape_urls) == 1 else TRIES_MAX
            answer = await self._ask("lookup", name, grape_urls=self._grape_urls, tries=tries)
            if not isinstance(answer, list):
                raise GrenacheError(ErrorCode.GRAPE_REFUSED, str(answer))
        except GrenacheError:
            if known is None or not has_stale:
                raise
            known.fresh_until_s = self._clock_s() + LOOKUP_FRESH_S_MAX
            return known.destinations
        return self._remember(name, usable_destinations(answer))

    def _remember(self, name: str, destinations: tuple[str, ...]) -> tuple[str, ...]:
        now_s = self._clock_s()
        fresh_s = LOOKUP_FRESH_S_MAX if destinations else LOOKUP_EMPTY_FRESH_S_MAX
        stale_s = LOOKUP_STALE_S_MAX if destinations else 0.0
        self._cache[name] = _Found(destinations, now_s + fresh_s, now_s + stale_s)
        self._cache.move_to_end(name)
        if len(self._cache) > LOOKUPS_CACHED_MAX:
            self._cache.popitem(last=False)
        return destinations

    async def _keep_announcing(self, announcement: Announcement, *, interval_s: float) -> None:
        failures = 0
        while True:
            try:
                acknowledged_by = await self.announce(announcement.name, announcement.port)
            except GrenacheError as error:
                failures += 1
                if announcement.failure is None:
                    logger.warning("cannot announce %s: %s", announcement.name, error)
                announcement.failure = str(error)
            else:
                failures = 0
                announcement.failure = None
                announcement.acknowledged_by = acknowledged_by
                announcement.announced.set()
            wait_s = announce_wait_s(self._rng, interval_s=interval_s, failures=failures)
            await asyncio.sleep(wait_s)

    async def _ask(
        self, verb: str, data: Any, *, grape_urls: Sequence[str], tries: int = TRIES_MAX
    ) -> Any:
        """The grape's JSON answer, None for an empty one; the next grape is asked on failure."""
        body = encode_json({"rid": new_rid(), "data": data})
        failure: GrenacheError | None = None
        for _ in range(tries):
            if self._closed:
                raise GrenacheError(ErrorCode.TRANSPORT_CLOSE, "the link was closed")
            if self._session is None:
                self._session = new_session()
            url = grape_urls[self._preferred % len(grape_urls)]
            try:
                return await _ask_once(self._session, f"{url}/{verb}", body)
            except GrenacheError as error:
                failure = error
                self._preferred = (self._preferred + 1) % len(self._grape_urls)
        assert failure is not None, "at least one try was made"
        raise failure


def announce_wait_s(rng: random.Random, *, interval_s: float, failures: int) -> float:
    """How long to wait before the next announcement: 0.5 to 1.5 times `interval_s`, 30 s at most.

    After a failure the mean wait is 1 s, and doubles with each of `failures` in a row up to
    `interval_s`.
    """
    mean_s = interval_s
    if failures:
        mean_s = min(interval_s, ANNOUNCE_RETRY_S_MIN * 2.0 ** min(failures - 1, 16))
    return min(ANNOUNCE_GAP_S_MAX, mean_s * rng.uniform(0.5, 1.5))


async def _ask_once(session: aiohttp.ClientSession, url: str, body: bytes) -> Any:
    headers = {"Content-Type": "application/json"}
    status, text = await post(session, url, body, headers=headers, timeout_s=GRAPE_REQUEST_S_MAX)
    if status != 200:
        detail = f"HTTP {status}: {text.decode(errors='replace')}"
        raise GrenacheError(ErrorCode.REQUEST_GENERIC, detail)
    if not text:
        return None
    try:
        return decode_json(text)
    except ValueError as error:
        raise GrenacheError(ErrorCode.REPLY_INVALID, str(error)) from None


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _check_name(name: str) -> None:
    assert name, "a service has a name"
    assert len(name.encode()) <= SERVICE_NAME_BYTES_MAX, "a service name is bounded"


def _is_target(text: str) -> bool:
    return len(text) == 40 and all(digit in "0123456789abcdef" for digit in text)
