"""The HTTP face: every row of what real grapes answer, over real HTTP, and hostile clients."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import ClientError

import grape.api
from grape import Grape, parse_address, sign_item
from tests.support.coroutines import in_loop, seconds_taken
from tests.support.grapes import grapes, post, post_body

PRIVATE_KEY = bytes(range(32))
ITEM = sign_item(PRIVATE_KEY, b"v1", seq=1)
MUTABLE = {"v": "v1", "k": ITEM.k.hex(), "sig": ITEM.sig.hex(), "seq": 1}
NO_K = {key: value for key, value in MUTABLE.items() if key != "k"}
ALL_FAILED = '"All queries failed"'


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in MUTABLE.items() if key != field}


def signed(v: str, seq: int, **more: Any) -> dict[str, Any]:
    """The data of a valid mutable put."""
    item = sign_item(PRIVATE_KEY, v.encode(), seq=seq, salt=more.get("salt", "").encode())
    return {"v": v, "k": item.k.hex(), "sig": item.sig.hex(), "seq": seq, **more}


# What the arguments alone decide: (verb, data, status, body).
ROWS: list[tuple[str, Any, int, str]] = [
    ("nothing", "x", 200, '"ERR_REQ_NOTFOUND"'),
    ("", "x", 200, '"ERR_REQ_NOTFOUND"'),
    ("lookup/", "x", 200, '"ERR_REQ_NOTFOUND"'),
    ("lookup?x=1", "x", 200, '"ERR_REQ_NOTFOUND"'),
    ("LOOKUP", "x", 200, '"ERR_REQ_NOTFOUND"'),
    ("lookup", "", 200, '"ERR_GRAPE_LOOKUP"'),
    ("lookup", None, 200, '"ERR_GRAPE_LOOKUP"'),
    ("lookup", 5, 200, '"ERR_GRAPE_LOOKUP"'),
    ("lookup", ["x"], 200, '"ERR_GRAPE_LOOKUP"'),
    ("lookup", "nobody", 200, "[]"),
    ("Lookup", "nobody", 200, "[]"),
    ("announce", "svc", 200, '"ERR_GRAPE_ANNOUNCE"'),
    ("announce", None, 200, '"ERR_GRAPE_ANNOUNCE"'),
    ("announce", {"0": "svc"}, 200, '"ERR_GRAPE_ANNOUNCE"'),
    ("announce", [], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", ["svc"], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", ["svc", "1337"], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", ["svc", 13.5], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", ["svc", True], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", ["svc", -1], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", ["svc", 70_000], 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("announce", [5, 1337], 500, "ERR_GRAPE_ANNOUNCE"),
    ("announce", [None, 1337], 500, "ERR_GRAPE_ANNOUNCE"),
    ("announce", ["svc", 1337], 200, "1"),
    ("announce", ["svc", 1337.0], 200, "1"),
    ("announce", ["svc", 0], 200, "1"),
    ("announce", ["svc", 1337, "more"], 200, "1"),
    ("announce", ["", 1337], 200, "1"),
    ("put", None, 500, "ERR_GRAPE_PUT"),
    ("put", {}, 200, '"opts.v not given"'),
    ("put", 5, 200, '"opts.v not given"'),
    ("put", ["v"], 200, '"opts.v not given"'),
    ("put", {"v": None}, 200, '"opts.v not given"'),
    ("put", {"v": "x" * 1_000}, 200, '"v must be less than 1000 bytes in put()"'),
    ("put", {"v": "😀" * 500}, 200, '"v must be less than 1000 bytes in put()"'),
    ("put", {"v": [0] * 1_000}, 200, '"v must be less than 1000 bytes in put()"'),
    ("put", {"v": "ż" * 999}, 200, ALL_FAILED),  # 1,998 bytes: everyone refuses
    ("put", {"v": 1.5}, 200, '"ERR_GRAPE_VALUE"'),
    ("put", {"v": [[1.5]]}, 200, '"ERR_GRAPE_VALUE"'),
    ("put", {"v": 10**30}, 200, '"ERR_GRAPE_VALUE"'),
    ("put", {"v": "hello world"}, 200, '"6d33adc2b6b2c14c3036feefb7fedbca1a880527"'),
    ("put", "hello world", 200, '"6d33adc2b6b2c14c3036feefb7fedbca1a880527"'),
    ("put", NO_K | {"v": "hello world"}, 200, '"6d33adc2b6b2c14c3036feefb7fedbca1a880527"'),
    ("put", MUTABLE | {"k": "00"}, 200, '"opts.k ed25519 public key must be 32 bytes"'),
    ("put", MUTABLE | {"k": "no hex"}, 200, '"opts.k ed25519 public key must be 32 bytes"'),
    ("put", MUTABLE | {"k": 5}, 200, '"opts.k ed25519 public key must be 32 bytes"'),
    (
        "put",
        without("sig"),
        200,
        '"opts.sign function or options.sig signature is required for mutable put"',
    ),
    ("put", without("seq"), 200, '"opts.seq not provided for a mutable update"'),
    ("put", MUTABLE | {"seq": "1"}, 200, '"opts.seq not an integer"'),
    ("put", MUTABLE | {"seq": None}, 200, '"opts.seq not an integer"'),
    ("put", MUTABLE | {"seq": 1.5}, 200, '"opts.seq not an integer"'),
    ("put", MUTABLE | {"cas": "1"}, 200, '"opts.cas must be an integer if provided"'),
    ("put", MUTABLE | {"salt": "s" * 65}, 200, '"opts.salt is > 64 bytes long"'),
    ("put", MUTABLE | {"sig": "00" * 64}, 200, ALL_FAILED),
    ("put", MUTABLE | {"sig": "00"}, 200, ALL_FAILED),
    ("put", MUTABLE | {"v": "v2"}, 200, ALL_FAILED),
    ("get", None, 500, "ERR_GRAPE_GET"),
    ("get", {}, 200, '"ERR_GRAPE_GENERIC"'),
    ("get", 5, 200, '"ERR_GRAPE_GENERIC"'),
    ("get", ["00"], 200, '"ERR_GRAPE_GENERIC"'),
    ("get", "no hex", 200, ""),
    ("get", "00", 200, ""),
    ("get", " " * 40, 200, ""),
    ("get", "ż" * 40, 200, ""),
    ("get", "00" * 20, 200, ""),
    ("get", {"hash": "00" * 20, "salt": "", "cache": False}, 200, ""),
]

# What the body as a whole decides: (body, status, answer).
BODIES: list[tuple[bytes, int, str]] = [
    (b"", 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b"garbage", 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b"{", 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b"NaN", 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b"\xff\xfe", 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b'{"data":"\\ud800"}', 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b"null", 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b"[" * 8_000, 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    (b'"abc"', 200, '"ERR_GRAPE_LOOKUP"'),
    (b"[]", 200, '"ERR_GRAPE_LOOKUP"'),
    (b"{}", 200, '"ERR_GRAPE_LOOKUP"'),
    (b'{"data":"' + b"x" * 8_181 + b'"}', 200, "[]"),  # 8,192 bytes in all
    (b'{"data":"' + b"x" * 8_182 + b'"}', 413, "ERR_GRAPE_PAYLOAD_SIZE"),
]


@in_loop
async def test_arguments_are_answered_as_real_grapes_answer() -> None:
    """Each row on one grape of two; a row is compared with its verb and data in the message."""
    async with grapes(2) as (grape, _):
        for verb, data, status, body in ROWS:
            assert (verb, data, *await post(grape, verb, data)) == (verb, data, status, body)


@in_loop
async def test_bodies_are_answered_as_real_grapes_answer() -> None:
    async with grapes(1) as (grape,):
        for body, status, answer in BODIES:
            assert (body, *await post_body(grape, "/lookup", body)) == (body, status, answer)


@in_loop
async def test_method_and_content_type_do_not_matter_but_a_body_is_needed() -> None:
    async with grapes(1) as (grape,):
        for method in ("POST", "PUT", "GET", "OPTIONS", "DELETE"):
            answer = await post_body(grape, "/lookup", b'{"data":"x"}', method=method)
            assert answer == (200, "[]")
            answer = await post_body(grape, "/lookup", b"", method=method)
            assert answer == (500, "ERR_GRAPE_PAYLOAD_INVALID")
        assert await post_body(grape, "/lookup", b"", method="HEAD") == (500, "")


@in_loop
async def test_found_peers_are_answered_as_addresses() -> None:
    async with grapes(2) as (first, second):
        assert await post(first, "announce", ["rpc_test", 1337]) == (200, "1")
        for grape in (first, second):
            assert await post(grape, "lookup", "rpc_test") == (200, '["127.0.0.1:1337"]')


@in_loop
async def test_at_most_a_hundred_peers_are_answered_in_no_order() -> None:
    async with grapes(2) as (first, second):
        for port in range(1, 131):
            await first.announce("svc", port)
        one, two = [json.loads((await post(second, "lookup", "svc"))[1]) for _ in range(2)]
        assert len(one) == len(set(one)) == 100
        assert one != two


@in_loop
async def test_items_are_answered_with_holder_and_token() -> None:
    async with grapes(2) as (first, second):
        target = "6d33adc2b6b2c14c3036feefb7fedbca1a880527"
        await post(first, "put", {"v": "hello world"})
        own = {"id": first.node_id.hex(), "token": None, "v": "hello world"}
        assert await post(first, "get", target) == (200, json.dumps(own, separators=(",", ":")))
        status, body = await post(first, "get", {"hash": target, "cache": False})
        found = json.loads(body)
        assert (status, found["id"], found["v"]) == (200, second.node_id.hex(), "hello world")
        assert len(found["token"]) == 40
        status, body = await post(second, "get", {"hash": target, "salt": ""})
        assert json.loads(body) == {"id": second.node_id.hex(), "token": None, "v": "hello world"}


@in_loop
async def test_mutable_items_are_verified_ordered_and_compared() -> None:
    async with grapes(2) as (first, second):
        status, target = await post(first, "put", signed("v1", 1))
        assert (status, target) == (200, f'"{ITEM.target.hex()}"')
        found = json.loads((await post(second, "get", ITEM.target.hex()))[1])
        assert found == {"id": second.node_id.hex(), "token": None, **MUTABLE}
        old = (302, '"302 sequence number less than current"')
        assert await post(second, "put", signed("v1", 1)) == old
        mismatch = (301, '"301 CAS mismatch, re-read and try again"')
        assert await post(second, "put", signed("v2", 2, cas=7)) == mismatch
        assert (await post(second, "put", signed("v2", 2, cas=1)))[0] == 200
        assert json.loads((await post(first, "get", ITEM.target.hex()))[1])["v"] == "v2"


@in_loop
async def test_salted_items_need_their_salt_elsewhere() -> None:
    async with grapes(2) as (first, second):
        _, body = await post(first, "put", signed("v1", 1, salt="foo"))
        target = json.loads(body)
        request = {"hash": target, "cache": False}
        assert await post(second, "get", request) == (200, "")
        found = json.loads((await post(second, "get", request | {"salt": "foo"}))[1])
        assert (found["v"], found["salt"]) == ("v1", "foo")


@in_loop
async def test_keys_and_salts_may_be_written_as_lists_of_bytes() -> None:
    async with grapes(1) as (grape,):
        data = signed("v1", 1, salt="foo")
        listed = {key: list(bytes.fromhex(data[key])) for key in ("k", "sig")}
        assert (await post(grape, "put", data | listed | {"salt": "[102,111,111]"}))[0] == 200
        texts = {key: json.dumps(value) for key, value in listed.items()}
        assert (await post(grape, "put", data | texts))[0] == 302


@in_loop
async def test_values_of_other_types_come_back() -> None:
    async with grapes(2) as (first, second):
        for v, back in [
            (5, "5"),
            (True, "1"),
            (["a", 1, None], ["a", 1]),
            ({"b": 1, "a": ["x"]}, {"a": ["x"], "b": 1}),
            ("", ""),
            ([2**60], [str(2**60)]),
        ]:
            target = json.loads((await post(first, "put", {"v": v}))[1])
            assert json.loads((await post(second, "get", target))[1])["v"] == back


@asynccontextmanager
async def connection(grape: Grape) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """A TCP connection to the HTTP port."""
    host, port = parse_address(grape.api_url.removeprefix("http://"))
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError, ClientError):
            await writer.wait_closed()


async def raw(grape: Grape, request: bytes) -> bytes:
    """Send bytes to the HTTP port and read until it is closed."""
    async with connection(grape) as (reader, writer):
        writer.write(request)
        return await reader.read()


@in_loop
async def test_headers_are_the_four_that_grapes_send() -> None:
    async with grapes(1) as (grape,):
        body = b'{"data":"x"}'
        request = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
        async with connection(grape) as (reader, writer):
            writer.write(request + b"\r\n" + body)
            head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
            content = await reader.readexactly(2)
        status, *headers = head.split(b"\r\n")
        assert status == b"HTTP/1.1 200 OK"
        assert headers[0].startswith(b"Date: ")
        assert headers[1:] == [
            b"Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"Content-Length: 2",
        ]
        assert content == b"[]"
        answer = await raw(grape, request + b"Connection: close\r\n\r\n" + body)
        assert b"\r\nConnection: close\r\n" in answer


@in_loop
async def test_an_oversized_upload_is_cut() -> None:
    """Neither an announced nor an unannounced size makes the grape read on."""
    async with grapes(1) as (grape,):
        announced = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        chunks = b"POST /lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for request in (announced, chunks + b"4000\r\n" + b"x" * 0x4000 + b"\r\n"):
            assert await seconds_taken(raw(grape, request)) < 5.0
            assert b"413" in (await raw(grape, request)).partition(b"\r\n")[0]


@in_loop
async def test_a_body_that_never_ends_is_not_waited_for() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grape.api, "BODY_S_MAX", 0.05)
        async with grapes(1) as (one,):
            head = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            answer = await raw(one, head + b"{")
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert answer.endswith(b"ERR_GRAPE_PAYLOAD_INVALID")


@in_loop
async def test_a_compressed_body_is_not_unpacked() -> None:
    async with grapes(1) as (grape,):
        request = b"POST /lookup HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        answer = await raw(grape, request + b"Content-Length: 4\r\nConnection: close\r\n\r\nabcd")
        assert answer.endswith(b"ERR_GRAPE_PAYLOAD_INVALID")


@in_loop
async def test_the_connections_are_bounded() -> None:
    """Beyond the bound a connection is ended unheard; room comes back when others close."""
    async with grapes(1, api_connections_max=3) as (one,), AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connection(one)) for _ in range(3)]
        async with connection(one) as (reader, _):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        assert one.holdings().shares["api_connections"] == 1
        idle[0][1].close()
        async with asyncio.timeout(5.0):
            answer = None
            while answer is None:
                with suppress(OSError, ClientError):
                    answer = await post(one, "lookup", "x")
        assert answer == (200, "[]")
