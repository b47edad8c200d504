"""A gateway on a real port over the fake core, and a client that hides nothing."""

from __future__ import annotations

import asyncio
import functools
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web, web_app
from yarl import URL

from raft_exchange.gateway.app import make_app
from raft_exchange.gateway.context import Context, Settings
from raft_exchange.gateway.rate_limits import RateLimits
from raft_exchange.gateway.streams import Streams
from raft_exchange.marketdata.orders import FINISHED_ORDERS_MAX
from raft_exchange.metrics import Metrics
from raft_exchange.raft.proof import sign, verify
from tests.support.coroutines import eventually
from tests.support.described import DESCRIBED
from tests.support.fake_core import FakeCore
from tests.support.fake_operations import FakeOperations

LINGERING_S = 0.2
SECRET = b"the cluster secret of the tests"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        """The problem's code; fails the test if the answer is no problem of the right form."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.body["status"] == self.status
        assert {"type", "title", "detail", "request_id"} <= self.body.keys()
        return self.body["code"]


class Gateway:
    """`core`, `operations` and `streams` are behind it, `call` and `raw` are in front of it.

    `served` are method and path of each of its routes.
    """

    def __init__(
        self, core: FakeCore, metrics: Metrics, streams: Streams, *, served: set[tuple[str, str]]
    ) -> None:
        self.core = core
        self.streams = streams
        self.metrics = metrics
        self.served = served
        self.port = 0
        self.operations: FakeOperations
        self.app: web.Application
        self.session = aiohttp.ClientSession()

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request; `body` goes as JSON, or as it is if it is bytes.

        Every answer is held against the OpenAPI document.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        payload = data if data is None else io.BytesIO(data)
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, data=payload, headers=sent) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            answer = Answer(
                response.status,
                response.headers.copy(),
                json.loads(text) if text and is_json else text.decode(),
            )
        if method != "OPTIONS":
            DESCRIBED.check(
                method,
                path,
                status=answer.status,
                content_type=answer.headers.get("Content-Type", ""),
                body=answer.body,
            )
        return answer

    async def raw(self, data: bytes, *, patience_s: float = 10.0) -> bytes:
        """Send bytes on a connection of their own and return the answer.

        The bytes should ask for the connection to be closed; where they may be no whole request,
        the answer is what came within `patience_s`.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = bytearray()
        try:
            writer.write(data)
            async with asyncio.timeout(patience_s):
                while piece := await reader.read(65_536):
                    answer += piece
            return bytes(answer)
        except (ConnectionError, TimeoutError):
            return bytes(answer)
        finally:
            writer.close()

    async def place(self, side: str = "buy", price: object = "100", **fields: object) -> Answer:
        """Place a limit order of 1 unless told otherwise."""
        order = {"market": "BTC-USD", "side": side, "type": "limit", "quantity": "1"}
        return await self.call("POST", "/v1/orders", order | {"price": price} | fields)

    async def close(self) -> None:
        await self.session.close()


def introduce(nonce: str, asked_at: str) -> bytes:
    """What a node would sign."""
    statement = {"asked_at": asked_at}
    return json.dumps({"statement": statement, "nonce": nonce, "proof": ""}).encode()


def derive(*fields: bytes) -> bytes:
    """What every node would derive."""
    return sign(SECRET, "new key", *fields)


@asynccontextmanager
async def gateway(
    *,
    finished_orders_max: int = FINISHED_ORDERS_MAX,
    limits: RateLimits | None = None,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway with one open market, BTC-USD."""
    core = FakeCore(finished_orders_max=finished_orders_max)
    core.open_market()
    metrics = Metrics()
    streams = Streams(core.marketdata)
    core.on_folded = streams.applied
    operations = FakeOperations(core)
    about = Settings(**({"node": "n1"} | settings))
    context = Context(
        *(core, core.marketdata, metrics, about, operations, derive),
        limits=limits or RateLimits(),
    )
    app = make_app(context, introduce, streams, functools.partial(verify, SECRET))
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=1,
        lingering_time=LINGERING_S,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = Gateway(core, metrics, streams, served=served)
    made.operations, made.app = operations, app
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        streams.close()
        await made.close()
        await runner.cleanup()
        # The library still reads, for its lingering time, what clients left unsent.
        await eventually(lambda: not any(map(_is_connection, asyncio.all_tasks())))
        # It also keeps the last thousand applications of a process, each with thousands of metrics.
        web_app._cached_build_middleware.cache_clear()


def _is_connection(task: asyncio.Task[Any]) -> bool:
    return "RequestHandler.start" in repr(task.get_coro())
