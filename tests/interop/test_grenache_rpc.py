"""RPC with stock Node.js peers, both ways, found through real grapes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from grape.link import Link
from grape.rpc import (
    ErrorCode,
    GrenacheError,
    HttpTransport,
    RemoteError,
    RpcClient,
    RpcServer,
    Transport,
    WebSocketTransport,
    fingerprint,
    listening,
)
from tests.support.certificates import make_certificates
from tests.support.coroutines import in_loop
from tests.support.node_modules import LOOPBACK, RealGrape
from tests.support.node_peer import NodeError, NodePeer, node_peer
from tests.support.rpc_peers import TRANSPORTS, Handler, Peer, peer, transport

pytestmark = pytest.mark.interop

every_transport = pytest.mark.parametrize("name", TRANSPORTS)

# How a stock client is told the same.
NODE_CALLS: dict[str, dict[str, Any]] = {
    "http": {"transport": "http", "opts": {"timeout": 10_000}},
    "http+gzip": {"transport": "http", "opts": {"timeout": 10_000, "compress": True}},
    "websocket": {"transport": "ws", "opts": {"timeout": 10_000}},
}


@contextlib.asynccontextmanager
async def ours_announced(
    grapes: list[RealGrape], service: str, count: int = 1, **bounds: int
) -> AsyncIterator[list[Peer]]:
    """`count` servers of ours, announced at the first grape."""
    async with contextlib.AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link([grapes[0].url]))
        peers = [await stack.enter_async_context(peer(**bounds)) for _ in range(count)]
        for each in peers:
            await link.start_announcing(service, each.port).announced.wait()
        yield peers


@contextlib.asynccontextmanager
async def client_of(grapes: list[RealGrape], to: Transport) -> AsyncIterator[RpcClient]:
    """A client of ours that looks up at the second grape."""
    async with Link([grapes[1].url]) as link:
        try:
            yield RpcClient(link, to)
        finally:
            await to.close()


# A stock client and our server.


@every_transport
@in_loop
async def test_a_stock_client_calls_our_server(name: str, grapes: list[RealGrape]) -> None:
    service = f"ours_{name}"
    payload = {"hello": "żółw", "list": [1, None, True]}
    async with ours_announced(grapes, service) as (ours,), node_peer(grapes[1].url) as node:
        call = {"key": service, **NODE_CALLS[name]}
        assert await node.do("request", payload=payload, **call) == {"echo": payload}
        assert ours.handler.seen[0].key == service
        results = await asyncio.gather(*(node.do("request", payload=n, **call) for n in range(50)))
        assert results == [{"echo": n} for n in range(50)]
        with pytest.raises(NodeError, match=r"^boom$"):
            await node.do("request", payload={"fail": "boom"}, **call)
        with pytest.raises(NodeError, match=r"^ERR_HANDLER$"):
            await node.do("request", payload="break", **call)


@every_transport
@in_loop
async def test_a_stock_client_maps_over_our_servers(name: str, grapes: list[RealGrape]) -> None:
    service = f"ours_map_{name}"
    async with ours_announced(grapes, service, 3) as peers, node_peer(grapes[1].url) as node:
        results = await node.do("map", key=service, payload=7, **NODE_CALLS[name])
        assert results == [{"echo": 7}] * 3
        assert [len(each.handler.seen) for each in peers] == [1, 1, 1]


@in_loop
async def test_our_refusal_reaches_a_stock_client_as_an_error(grapes: list[RealGrape]) -> None:
    """It survives, and can go on calling."""
    ours = ours_announced(grapes, "ours_small", request_bytes_max=1_000)
    async with ours, node_peer(grapes[1].url) as node:
        call = {"key": "ours_small", **NODE_CALLS["http"]}
        with pytest.raises(NodeError, match=r"^ERR_REQUEST_GENERIC: "):
            await node.do("request", payload="x" * 1_000, **call)
        assert await node.do("request", payload=1, **call) == {"echo": 1}


@in_loop
async def test_a_stock_client_survives_our_going_away(grapes: list[RealGrape]) -> None:
    async with node_peer(grapes[1].url) as node:
        async with ours_announced(grapes, "ours_gone"):
            for name in ("http", "websocket"):
                call = {"key": "ours_gone", **NODE_CALLS[name]}
                assert await node.do("request", payload=1, **call) == {"echo": 1}
        with pytest.raises(NodeError, match=r"^ERR_REQUEST_GENERIC: request to .* failed"):
            await node.do("request", payload=1, key="ours_gone", **NODE_CALLS["http"])


@in_loop
async def test_a_stock_client_shows_our_server_its_certificate(
    grapes: list[RealGrape], tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path)
    handler = Handler()
    tls = certificates.server_context()
    async with (
        listening(RpcServer(handler), host=LOOPBACK, tls=tls) as port,
        Link([grapes[0].url]) as link,
        node_peer(grapes[1].url) as node,
    ):
        await link.start_announcing("ours_tls", port).announced.wait()
        secure = certificates.files()
        for call in (NODE_CALLS["http"], NODE_CALLS["websocket"]):
            result = await node.do("request", key="ours_tls", payload=1, secure=secure, **call)
            assert result == {"echo": 1}
        assert [each.certificate_der for each in handler.seen] == [certificates.der] * 2


# Our client and a stock server.


async def serve(node: NodePeer, name: str, service: str, **options: Any) -> int:
    port = await node.do("serve", transport=NODE_CALLS[name]["transport"], key=service, **options)
    assert isinstance(port, int)
    return port


@every_transport
@in_loop
async def test_our_client_calls_a_stock_server(name: str, grapes: list[RealGrape]) -> None:
    service = f"stock_{name}"
    payload = {"hello": "żółw", "list": [1, None, True]}
    async with node_peer(grapes[0].url) as node:
        await serve(node, name, service)
        async with client_of(grapes, TRANSPORTS[name]()) as client:
            expected = {"echo": payload, "key": service, "fingerprint": None}
            assert await client.request(service, payload) == expected
            results = await asyncio.gather(*(client.request(service, n) for n in range(50)))
            assert [each["echo"] for each in results] == list(range(50))
            with pytest.raises(RemoteError, match=r"^boom$") as raised:
                await client.request(service, {"fail": "boom"})
            assert raised.value.result == {"x": 1}


@every_transport
@in_loop
async def test_our_client_spreads_over_stock_servers_and_maps(
    name: str, grapes: list[RealGrape]
) -> None:
    """A stock client with 8 such servers left 3 of them without a call."""
    service = f"stock_many_{name}"
    async with node_peer(grapes[0].url) as node:
        ports = [await serve(node, name, service) for _ in range(8)]
        counted = CountingTransport(TRANSPORTS[name]())
        async with client_of(grapes, counted) as client:
            answers = await client.map(service, 1)
            assert [each.result["echo"] for each in answers] == [1] * 8
            assert sorted(each.destination for each in answers) == sorted(
                f"{LOOPBACK}:{port}" for port in ports
            )
            counted.calls.clear()
            for _ in range(160):
                await client.request(service, 1)
            assert sorted(counted.calls.values()) == [20] * 8


class CountingTransport:
    """A transport that counts the calls to each destination."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.calls: dict[str, int] = {}

    async def request(self, destination: str, key: str, payload: Any, *, timeout_s: float) -> Any:
        self.calls[destination] = self.calls.get(destination, 0) + 1
        return await self._inner.request(destination, key, payload, timeout_s=timeout_s)

    async def close(self) -> None:
        await self._inner.close()


@every_transport
@in_loop
async def test_a_stock_server_that_forgets_costs_the_timeout(
    name: str, grapes: list[RealGrape]
) -> None:
    service = f"stock_forgets_{name}"
    async with node_peer(grapes[0].url) as node:
        await serve(node, name, service)
        async with client_of(grapes, TRANSPORTS[name]()) as client:
            with pytest.raises(GrenacheError) as raised:
                await client.request(service, "forget", timeout_s=0.5)
            assert raised.value.code is ErrorCode.TIMEOUT
            assert (await node.event())[0] == "forgotten"


@every_transport
@in_loop
async def test_the_death_of_a_stock_server_fails_its_calls_at_once(
    name: str, grapes: list[RealGrape]
) -> None:
    """A stock client would wait for its sweep of ten seconds, or for ever."""
    service = f"stock_dies_{name}"
    async with transport(name) as to, contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(node_peer(grapes[0].url))
        destination = f"{LOOPBACK}:{await serve(node, name, service)}"
        call = to.request(destination, service, "forget", timeout_s=30.0)
        waiting = asyncio.create_task(call)
        assert (await node.event())[0] == "forgotten"
        await stack.aclose()
        with pytest.raises(GrenacheError) as raised:
            await waiting
        assert raised.value.code in {ErrorCode.REQUEST_GENERIC, ErrorCode.TRANSPORT_CLOSE}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("http", lambda tls: HttpTransport(tls=tls)),
        ("websocket", lambda tls: WebSocketTransport(tls=tls)),
    ],
)
@in_loop
async def test_our_client_shows_a_stock_server_its_certificate(
    name: str, make: Callable[..., Transport], grapes: list[RealGrape], tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path)
    service = f"stock_tls_{name}"
    async with node_peer(grapes[0].url) as node:
        await serve(node, name, service, secure=certificates.files())
        async with client_of(grapes, make(certificates.client_context())) as client:
            result = await client.request(service, 1)
            assert result["fingerprint"] == fingerprint(certificates.der)


# The link.


@in_loop
async def test_a_stock_link_finds_what_ours_announces_and_the_other_way(
    grapes: list[RealGrape],
) -> None:
    async with Link([grapes[0].url]) as link, node_peer(grapes[1].url) as node:
        assert await link.announce("link_ours", 4321) >= 1
        assert await node.do("lookup", key="link_ours") == ["127.0.0.1:4321"]
        port = await serve(node, "http", "link_stock")
        assert await link.lookup("link_stock") == (f"127.0.0.1:{port}",)


@in_loop
async def test_what_our_link_puts_at_one_grape_it_gets_at_another(
    grapes: list[RealGrape],
) -> None:
    async with Link([grapes[0].url]) as first, Link([grapes[1].url]) as second:
        target = await first.put({"v": "hello world"})
        assert target == "6d33adc2b6b2c14c3036feefb7fedbca1a880527", "sha1 of 11:hello world"
        item = await second.get(target)
        assert item is not None
        assert item["v"] == "hello world"
        assert await second.get("00" * 20) is None
        with pytest.raises(GrenacheError, match=r"^ERR_GRAPE_REFUSED: opts\.v not given$"):
            await first.put({})
