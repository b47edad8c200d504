"""Whatever bytes arrive: a 4xx that names the fault, never a 500, never half an order."""

import asyncio
import json
import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.decoding.account_schema import change_account, key_terms, transfer
from raft_exchange.decoding.errors import Problem
from raft_exchange.decoding.fields import decode_object, known_fields
from raft_exchange.decoding.market_schema import change_market, market_rules
from raft_exchange.decoding.order_schema import ORDER_FIELDS, amend_order, place_order
from tests.support.coroutines import in_loop
from tests.support.gateway import Gateway, gateway
from tests.support.workload import rules

ORDER: Final = b'{"market":"BTC-USD","side":"buy","type":"limit","quantity":"1","price":"100"}'
DIGITS: Final = b"1" * 50_000

BODIES: Final = [
    *(b"", b" ", b"{", b"}", b"[]", b"1", b'"x"', b"null", b"true", b"\x00", b"\xff\xfe{}"),
    *(b"\xef\xbb\xbf" + ORDER, ORDER[:-1], ORDER + b"x", ORDER + ORDER, ORDER[:20] + b"\xc3"),
    ORDER.replace(b'"1"', b"NaN"),
    ORDER.replace(b'"1"', b"Infinity"),
    ORDER.replace(b'"1"', b"-Infinity"),
    ORDER.replace(b'"1"', b"1e999999"),
    ORDER.replace(b'"1"', b"-1e-999999"),
    ORDER.replace(b'"1"', DIGITS),
    ORDER.replace(b'"1"', b"0." + DIGITS),
    ORDER.replace(b'"1"', b'"%s"' % DIGITS),
    ORDER.replace(b'"1"', b"1e" + DIGITS),
    ORDER.replace(b'"1"', b"01"),
    ORDER.replace(b'"1"', b"0x1"),
    ORDER.replace(b'"1"', b'"\\u0000"'),
    ORDER.replace(b'"1"', b'"\\ud800"'),
    ORDER.replace(b'"1"', b'"\x01"'),
    ORDER.replace(b'"1"', b"[" * 30_000 + b"]" * 30_000),
    ORDER.replace(b'"1"', b'{"a":' * 9_000 + b"1" + b"}" * 9_000),
    ORDER.replace(b'"side"', b'"price"'),
    ORDER.replace(b'"side"', b'"\\u0073ide":"sell","side"'),
    ORDER.replace(b'"side"', b'"\\ud800"'),
    ORDER.replace(b'"side"', b'""'),
    ORDER.replace(b"BTC-USD", b"BTC-USD\\u0000"),
    ORDER.replace(b"BTC-USD", b"x" * 60_000),
    b'{"orders":' + b"[" * 30_000,
]


@in_loop
async def test_a_body_that_is_no_order_is_refused() -> None:
    async with gateway() as g:
        for body in BODIES:
            for path in ("/v1/orders", "/v1/orders/batch"):
                answer = await g.call("POST", path, body)
                found = (answer.status, answer.code)
                assert found in {(400, "bad_json"), (400, "bad_field")}, body[:200]
        assert not g.core.submitted


@in_loop
async def test_a_million_digits_are_refused_in_no_time() -> None:
    """Python reads a long integer in quadratic time; we never ask it to."""
    async with gateway() as g:
        body = b'{"orders":[{"quantity":%s}]}' % (b"7" * 1_000_000)
        async with asyncio.timeout(5):
            answer = await g.call("POST", "/v1/orders/batch", body)
        assert answer.status == 200
        assert answer.body["results"][0]["error"]["code"] == "bad_field"
        assert not g.core.submitted


PATHS: Final = [
    *(
        "/%00",
        "/%ff",
        "/v1/orders/%00",
        "/v1/orders/%F0%9F%92%A9",
        "/v1/orders/-1",
        "/v1/orders/1.0",
    ),
    *(
        "/v1/orders/..%2f..%2fetc",
        "/v1//orders",
        "/v1/orders/%2e%2e",
        "//",
        "/v1/orders/" + "9" * 999,
    ),
    *("/v1/markets/%00", "/v1/markets/%ed%a0%80/book", "/v1/markets/" + "a" * 4000, "/;x=1?%zz"),
    *("/v1/orders/by-client-id/%00", "/v1/orders/by-client-id/", "/v1/orders?cursor=%00"),
    *("/v1/orders?" + "a" * 4000, "/v1/orders?market=%ed%a0%80", "/v1/orders?limit=" + "9" * 4000),
    *(
        "/v1/orders?&&&=&=",
        "/v1/markets/BTC-USD/book?depth=1;drop",
        "/v1/markets/BTC-USD/trades?before=-1",
    ),
]


@in_loop
async def test_an_absurd_path_or_query_is_refused() -> None:
    async with gateway() as g:
        for path in PATHS:
            for method in ("GET", "DELETE", "PATCH", "POST"):
                head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                answer = await g.raw(head.encode() + b"Content-Length: 0\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 4"), (method, path, answer[:200])
                assert b"application/problem+json" in answer, (method, path)
        assert not g.core.submitted


HEADERS: Final = [
    b"X-Account: \xff",
    b"X-Account: \xed\xa0\x80",
    b"X-Account: a,b",
    b"Idempotency-Key: \xff\xfe",
    b"Idempotency-Key: " + b"k" * 4000,
    b"X-Deadline: \x80",
    b"X-Deadline: 99999-01-01T00:00:00Z",
    b"X-Deadline: 0001-01-01T00:00:00Z",
    b"Content-Type: \xff/json",
    b"Content-Encoding: gzip",
    b"Content-Encoding: br",
    b"Content-Encoding: \xff",
    b"Origin: \xff",
    b"Expect: \xff",
]


@in_loop
async def test_an_absurd_header_is_refused() -> None:
    head = b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    async with gateway() as g:
        for header in HEADERS:
            length = b"\r\nContent-Length: %d\r\n\r\n" % len(ORDER)
            answer = await g.raw(head + header + length + ORDER)
            assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), (header, answer[:300])
        assert not g.core.submitted


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x00" * 100, b"\r\n\r\n", b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /v1/time HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /v1/time HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n" + ORDER[:10],
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW /v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
@in_loop
async def test_what_is_hardly_http_is_refused_or_dropped(data: bytes) -> None:
    async with gateway() as g:
        answer = await g.raw(data, patience_s=0.2)
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:300]
        assert not g.core.submitted
        assert (await g.call("GET", "/livez")).status == 200


@in_loop
async def test_the_preflight_of_everything_is_answered() -> None:
    async with gateway() as g:
        answer = await g.raw(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 204")


@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_no_mutation_of_a_request_makes_a_500(seed: int) -> None:
    """Bytes flipped, cut, doubled and moved anywhere in a whole request."""
    rng = random.Random(seed)
    async with gateway() as g:
        for _ in range(150):
            answer = await g.raw(_mutated(rng, _request(rng)), patience_s=0.05)
            assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), answer[:500]
        await _still_exact(g)


def _request(rng: random.Random) -> bytes:
    method, path = rng.choice(
        [
            *(("POST", "/v1/orders"), ("POST", "/v1/orders/batch"), ("PATCH", "/v1/orders/1")),
            *(("POST", "/order"), ("POST", "/v1/markets"), ("DELETE", "/v1/orders/1")),
            *(("GET", "/v1/orders?limit=5"), ("GET", "/v1/markets/BTC-USD/book?depth=3&level=3")),
        ]
    )
    body = ORDER if path != "/v1/orders/batch" else b'{"orders":[%s,%s]}' % (ORDER, ORDER)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Account: ann\r\n"
    return head.encode() + b"Idempotency-Key: k\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _mutated(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(data) + 1), rng.randint(0, 6)
        piece = rng.choice(
            [
                bytes(rng.randrange(256) for _ in range(length)),
                b"",
                data[at : at + 20],
                b'"',
                b"\\u",
            ]
        )
        data = data[:at] + piece + data[at + rng.choice((0, len(piece), length)) :]
    return data


async def _still_exact(g: Gateway) -> None:
    """The node lives, and every order it holds is whole."""
    g.core.exchange.check()
    g.core.marketdata.check()
    assert (await g.call("GET", "/v1/time")).status == 200


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ORDER_FIELDS, "x"]), JSON))
def test_any_json_object_is_a_command_or_a_problem(body: dict[str, object]) -> None:
    """Nothing but `Problem` escapes, and every problem can be written as JSON."""
    decoded = _decoded(json.dumps(body).encode())
    if decoded is None:
        return
    market = rules("BTC-USD")
    for build in (
        lambda: known_fields(decoded, ORDER_FIELDS),
        lambda: place_order(decoded, market, account="ann"),
        lambda: amend_order(decoded, market, account="ann", order_id=1),
        lambda: market_rules(decoded, settles=False),
        lambda: transfer(decoded, account="ann", is_deposit=True),
        lambda: change_account(decoded, {}, account="ann"),
        lambda: key_terms(decoded),
        lambda: change_market(decoded, market),
    ):
        try:
            build()
        except Problem as problem:
            json.dumps(problem.view("r"))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_problem(data: bytes) -> None:
    _decoded(data)


def _decoded(data: bytes) -> dict[str, object] | None:
    try:
        return dict(decode_object(data))
    except Problem:
        return None
