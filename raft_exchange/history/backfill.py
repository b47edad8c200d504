"""Mending holes from a peer: what this node did not see applied, or could not write in time.

A hole is asked for page by page, oldest first, one question at a time, of one peer after the
other. Questions and pages are proved with the cluster's secret and a nonce: rows of strangers are
not believed. A hole that no peer covers is asked for again later, ever more rarely.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import msgspec

from raft_exchange.history.recorder import Recorder
from raft_exchange.history.rows import PAGE_ROWS_MAX, Page, is_sound
from raft_exchange.history.store import Interval

PATH: Final = "/v1/history"
PAGE_TYPE: Final = "application/vnd.raft-exchange.history+msgpack"
NONCE_HEADER: Final = "X-Nonce"
PROOF_HEADER: Final = "X-Proof"
NONCE_BYTES: Final = 16
PAGE_BYTES_MAX: Final = 64 * 1024 * 1024
LOOK_S: Final = 1.0
REST_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 10.0
WRITE_S_MAX: Final = 30.0

Prove = Callable[..., bytes]
"""`prove(purpose, *fields)` gives the proof of a holder of the cluster's secret."""

logger = logging.getLogger(__name__)
_decoder: Final = msgspec.msgpack.Decoder(Page)


def question_fields(nonce: str, first: int, limit: int) -> tuple[bytes, bytes, bytes]:
    """Return what the proof of a question for a page covers."""
    return nonce.encode(), str(first).encode(), str(limit).encode()


class Backfill:
    """Looks for holes in what `recorder` covers, and mends them."""

    def __init__(
        self,
        recorder: Recorder,
        cluster_id: str,
        *,
        peers: Callable[[], Sequence[str]],
        prove: Prove,
        tls: ssl.SSLContext,
    ) -> None:
        self._recorder = recorder
        self._cluster_id = cluster_id
        self._peers = peers
        self._prove = prove
        self._tls = tls
        self.pages = 0

    async def run(self) -> None:
        """Mend what there is to mend, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        connector = aiohttp.TCPConnector(ssl=self._tls)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            rest_s = LOOK_S
            while True:
                hole = self._recorder.hole()
                if hole is not None and await self._mend(session, hole):
                    rest_s = LOOK_S
                    continue
                await asyncio.sleep(rest_s)
                rest_s = LOOK_S if hole is None else min(2 * rest_s, REST_S_MAX)

    async def _mend(self, session: aiohttp.ClientSession, hole: Interval) -> bool:
        """Fill the beginning of the hole; return whether anything of it was filled."""
        pages = []
        for url in self._peers():
            try:
                page = await self._ask(session, url, hole[0])
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                logger.info("history: %s gives no page: %s", url, error)
                continue
            page = _within(page, hole)
            if page.last < page.first:
                continue
            pages.append(page)
            if page.first == hole[0]:
                break
        if not pages:
            return False
        page = min(pages, key=lambda page: page.first)
        written = asyncio.wrap_future(self._recorder.fill(page))
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await written
        except Exception as error:
            logger.warning("history: a page of a peer could not be written: %s", error)
            return False
        self.pages += 1
        return True

    async def _ask(self, session: aiohttp.ClientSession, url: str, first: int) -> Page:
        nonce = secrets.token_hex(NONCE_BYTES)
        proof = self._prove("history question", *question_fields(nonce, first, PAGE_ROWS_MAX))
        query = {"from_sequence": str(first), "limit": str(PAGE_ROWS_MAX)}
        headers = {"Accept": PAGE_TYPE, NONCE_HEADER: nonce, PROOF_HEADER: proof.hex()}
        async with session.get(url + PATH, params=query, headers=headers) as answer:
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            body = await answer.content.read(PAGE_BYTES_MAX + 1)
            while len(body) <= PAGE_BYTES_MAX and (more := await answer.content.readany()):
                body += more
            given = answer.headers.get(PROOF_HEADER, "")
        if len(body) > PAGE_BYTES_MAX:
            raise ValueError(f"more than {PAGE_BYTES_MAX} bytes")
        expected = self._prove("history page", nonce.encode(), body).hex()
        if not secrets.compare_digest(expected, given):
            raise ValueError("the page has no proof of the cluster's secret")
        return self._checked(_decoder.decode(body), first)

    def _checked(self, page: Page, first: int) -> Page:
        if page.cluster_id != self._cluster_id:
            raise ValueError(f"a page of cluster {page.cluster_id}, not {self._cluster_id}")
        if page.first < first or not is_sound(page):
            raise ValueError("a page that contradicts itself")
        return page


def _within(page: Page, hole: Interval) -> Page:
    last = min(page.last, hole[1])
    return Page(page.cluster_id, page.first, last, [r for r in page.rows if r.sequence <= last])
