"""Sends calls to a cluster: one node at a time, another one when it fails, the same key each time.

Theory of operation. Requests go to the current node. When it does not answer, or says that it
cannot serve now, the next one becomes current; when all have been asked, a pause precedes the next
round, longer each time. That goes on until an answer or the client's patience ends.

A write goes out under one key however often it is sent, so that trying again is always safe. What
the caller is told when patience ends depends on one bit: whether any attempt may have reached the
log. Once it may have, only an answer that comes out of the log (it carries its sequence) settles
the matter.

Reads do not go back in time: after a move to another node, that node is told to catch up first
with what the former one had shown.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn, TypeVar

import aiohttp
import msgspec
from yarl import URL

from raft_exchange.client.call import Call
from raft_exchange.client.calls import get_cluster
from raft_exchange.client.errors import ExchangeError, OutcomeUnknown, RequestRefused, Unavailable
from raft_exchange.client.headers import check_header
from raft_exchange.client.models import Problem
from raft_exchange.client.signing import Signer, SigningKey

T = TypeVar("T")

PATIENCE_S: Final = 10.0
ATTEMPT_S_MAX: Final = 3.0
CONNECT_S_MAX: Final = 1.0
PAUSE_S_MIN: Final = 0.05
PAUSE_S_MAX: Final = 1.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 256

TRANSIENT_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
NOTHING_HAPPENED: Final = frozenset(
    {"no_leader", "overloaded", "read_only", "draining", "behind", "rate_limited", "change_pending"}
)
"""Codes of transient answers that were given before the log. All others leave it open."""
REFUSED_BEFORE_THE_KEY: Final = "unauthenticated"
"""What the log says of a key that is revoked, before it looks at what was done under an idempotency
key: maybe the revocation itself."""


@dataclass(frozen=True)
class Options:
    """How a client works.

    Raises:
        ValueError: `key` or `account` can stand in no header.

    Attributes:
        key: the API key; None where the exchange has none.
        account: whom the client trades as, in an exchange without keys.
        tls: for `https` URLs; None for the system's authorities.
        patience_s: how long a call may take, all attempts together.
        socket: path of a Unix socket that every connection is made to, whatever the URLs say.
        signer: signs each request, in place of `key`.
        cluster_id: the cluster that requests are signed for; asked of a node if it is "".
    """

    key: str | None = None
    account: str | None = None
    tls: ssl.SSLContext | None = None
    patience_s: float = PATIENCE_S
    socket: str | None = None
    signer: Signer | None = None
    cluster_id: str = ""

    def __post_init__(self) -> None:
        check_header("key", self.key, is_secret=True)
        check_header("account", self.account)


def signer_of(
    signing_key: str | os.PathLike[str] | SigningKey | None, key_id: str | None, key: str | None
) -> Signer | None:
    """Return who signs requests with a key pair, or the one in a file; None where there is none.

    Raises:
        ValueError: the file cannot be read; a key pair without its id, or beside a bearer key; an
            id that can stand in no header.
    """
    if (signing_key is None) != (key_id is None):
        raise ValueError("signing_key and key_id go together: the id says whose requests they are")
    if signing_key is None or key_id is None:
        return None
    if key is not None:
        raise ValueError("requests show a key or are signed, not both")
    check_header("key_id", key_id)
    pair = signing_key if isinstance(signing_key, SigningKey) else SigningKey.read(signing_key)
    return Signer(pair, key_id)


def pinned(ca: str | os.PathLike[str] | None) -> ssl.SSLContext | None:
    """Return TLS that trusts the authorities in a PEM file and no other; None where `ca` is.

    Raises:
        ValueError: the file cannot be read, or holds none.
    """
    if ca is None:
        return None
    try:
        tls = ssl.create_default_context(cafile=os.fspath(ca))
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"ca: {os.fspath(ca)!r} holds no PEM certificates: {error}") from error
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    return tls


class _Failed(Exception):
    """An attempt gave no answer. `may_have_happened` is False if nothing was sent."""

    def __init__(self, text: str, *, may_have_happened: bool) -> None:
        super().__init__(text)
        self.may_have_happened = may_have_happened


class Outgoing(msgspec.Struct):
    """A request as it goes to any node; `target` is path and query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None


class _Answer(msgspec.Struct):
    status: int
    headers: Mapping[str, str]
    body: bytes


def _is_base_url(text: str) -> bool:
    try:
        return text.startswith(("http://", "https://")) and URL(text).host is not None
    except ValueError:  # a port that is no number, brackets that do not match
        return False


class Nodes:
    """The nodes of a cluster in the order they are tried; one of them is current."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(dict.fromkeys(url.rstrip("/") for url in urls))
        if not self._urls:
            raise ValueError("the URL of at least one node is needed")
        for url in self._urls:
            if not _is_base_url(url):
                raise ValueError(f"{url!r} is no http(s) URL of a node, as http://host:8081")
        self._at = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def all(self) -> Sequence[str]:
        """All of them, in the order they are tried."""
        return self._urls

    @property
    def current(self) -> str:
        """The node that is asked next."""
        return self._urls[self._at]

    def failed(self, url: str) -> None:
        """Go on to the next node, unless another call has already left `url`."""
        if url == self.current:
            self._at = (self._at + 1) % len(self._urls)


class Sender:
    """Sends calls until they have an answer. Close it when done."""

    def __init__(self, urls: Sequence[str], options: Options) -> None:
        self.nodes = Nodes(urls)
        self.options = options
        self._session: aiohttp.ClientSession | None = None
        self._sequence = 0
        self._shown_by = ""
        self._cluster_id = options.cluster_id

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections, opened by the first call."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers(),
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        options = self.options
        if options.socket is not None:
            return aiohttp.UnixConnector(options.socket, limit=CONNECTIONS_MAX)
        return aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX, limit_per_host=0, ssl=options.tls or True
        )

    def _headers(self) -> dict[str, str]:
        headers = {}
        if self.options.key is not None:
            headers["Authorization"] = f"Bearer {self.options.key}"
        if self.options.account is not None:
            headers["X-Account"] = self.options.account
        return headers

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        if self._session is not None:
            await self._session.close()

    async def send(self, call: Call[T]) -> T:
        """Return a call's result.

        Raises:
            RequestRefused: the exchange refused it.
            Unavailable: nobody took it in time; nothing happened.
            OutcomeUnknown: a write that may have taken effect.
        """
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self.options.patience_s
        attempts, pause_s, may_have_happened = 0, PAUSE_S_MIN, False
        signature: dict[str, str] = {}
        while True:
            url = self.nodes.current
            left_s = max(give_up_s - loop.time(), PAUSE_S_MIN)
            try:
                outgoing = self._outgoing(url, call)
                if call.key is None or not may_have_happened:
                    signature = await self.sign(outgoing)
                # Else it is asked what became of the request that was signed before.
                answer = await self._ask(
                    url, outgoing, signature, within_s=min(left_s, ATTEMPT_S_MAX)
                )
                return self._read(url, call, answer, may_have_happened=may_have_happened)
            except _Failed as failure:
                trouble = failure
                may_have_happened |= failure.may_have_happened
            self.nodes.failed(url)
            attempts += 1
            if attempts % len(self.nodes) == 0:
                if loop.time() + pause_s >= give_up_s:
                    break
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
        _give_up(call, f"{trouble} ({attempts} attempts)", may_have_happened=may_have_happened)

    async def sign(self, outgoing: Outgoing) -> dict[str, str]:
        """Return the headers by which a request is signed now; none where requests are not.

        Raises:
            ExchangeError: no node says which cluster this is.
        """
        signer = self.options.signer
        if signer is None:
            return {}
        if not self._cluster_id:
            self._cluster_id = await self._ask_cluster_id()
        return signer.headers(
            self._cluster_id,
            outgoing.method,
            outgoing.target,
            idempotency_key=outgoing.headers.get("Idempotency-Key", ""),
            body=outgoing.body or b"",
        )

    async def _ask_cluster_id(self) -> str:
        own = self.options
        unsigned = Sender(self.nodes.all, replace(own, signer=None))
        try:
            return (await unsigned.send(get_cluster())).cluster_id
        finally:
            await unsigned.close()

    def _outgoing(self, url: str, call: Call[T]) -> Outgoing:
        headers = dict(call.headers)
        if call.key is not None:
            headers["Idempotency-Key"] = call.key.name
            headers["X-Deadline"] = call.key.deadline.isoformat()
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        query = dict(call.query)
        if call.takes_min_sequence and self._sequence and self._shown_by != url:
            query["min_sequence"] = str(self._sequence)
        body = None if call.body is None else msgspec.json.encode(call.body)
        target = URL(call.path, encoded=True).with_query(query).raw_path_qs
        return Outgoing(call.method, target, headers, body)

    async def _ask(
        self, url: str, outgoing: Outgoing, signature: Mapping[str, str], *, within_s: float
    ) -> _Answer:
        timeout = aiohttp.ClientTimeout(total=within_s, connect=CONNECT_S_MAX)
        try:
            async with self.session.request(
                outgoing.method,
                URL(url + outgoing.target, encoded=True),
                data=outgoing.body,
                headers={**outgoing.headers, **signature},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return _Answer(response.status, response.headers, await _body(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _Failed(f"{url}: {error}", may_have_happened=False) from None
        except TimeoutError:
            text = f"{url}: no answer within {within_s:g} s"
            raise _Failed(text, may_have_happened=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Failed(f"{url}: {error!r}", may_have_happened=True) from None

    def _read(self, url: str, call: Call[T], answer: _Answer, *, may_have_happened: bool) -> T:
        sequence = _sequence(answer)
        if sequence is not None and sequence >= self._sequence:
            self._sequence, self._shown_by = sequence, url
        if answer.status < 300:
            try:
                return call.decode(answer.body)
            except msgspec.DecodeError as error:
                text = f"{url}: the answer cannot be read: {error}"
                raise _Failed(text, may_have_happened=True) from None
        problem = _problem(answer)
        if answer.status in TRANSIENT_STATUSES:
            happened = problem.code not in NOTHING_HAPPENED
            raise _Failed(f"{url}: {problem.code}: {problem.detail}", may_have_happened=happened)
        is_open = sequence is None or problem.code == REFUSED_BEFORE_THE_KEY
        if may_have_happened and call.key is not None and is_open:
            # This attempt was refused unseen, but an earlier one may be in the log.
            raise OutcomeUnknown(f"{problem.code}: {problem.detail}", call.key)
        raise RequestRefused(problem, sequence=sequence)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _sequence(answer: _Answer) -> int | None:
    text = answer.headers.get("X-Sequence", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _problem(answer: _Answer) -> Problem:
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except msgspec.DecodeError:  # not one of ours: a proxy's
        detail = f"HTTP status {answer.status}"
        return Problem(code="not_an_answer", status=answer.status, detail=detail)


def _give_up(call: Call[T], text: str, *, may_have_happened: bool) -> NoReturn:
    error: ExchangeError = Unavailable(text)
    if call.key is not None and may_have_happened:
        error = OutcomeUnknown(text, call.key)
    raise error
