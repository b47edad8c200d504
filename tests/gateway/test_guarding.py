"""What every answer carries, and who is not answered at all."""

import asyncio

import pytest

from raft_exchange.decoding.errors import KINDS, ErrorCode
from raft_exchange.gateway.refusals import DETAILS
from raft_exchange.matching.messages import RejectCode
from raft_exchange.metrics import Metrics
from raft_exchange.sequencer.outcome import Refusal
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

LIMIT = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "100"}


def test_every_code_has_a_status_and_a_title() -> None:
    assert KINDS.keys() == set(ErrorCode)


def test_everything_the_core_can_refuse_is_in_the_public_list() -> None:
    public = {code.value for code in ErrorCode}
    assert {code.value for code in RejectCode} | {code.value for code in Refusal} <= public
    assert DETAILS.keys() == set(RejectCode)


@in_loop
async def test_a_request_keeps_its_name_or_is_given_one() -> None:
    async with gateway() as g:
        assert (await g.call("GET", "/livez", X_Request_Id="r-1")).headers["X-Request-Id"] == "r-1"
        named = [(await g.call("GET", "/livez")).headers["X-Request-Id"] for _ in range(3)]
        assert len(set(named)) == 3
        odd = await g.call("GET", "/livez", X_Request_Id="a" * 65)
        assert odd.headers["X-Request-Id"] != "a" * 65
        problem = await g.call("GET", "/nowhere", X_Request_Id="r-2")
        assert problem.body["request_id"] == problem.headers["X-Request-Id"] == "r-2"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example"])
@in_loop
async def test_an_unexpected_host_is_refused(host: str) -> None:
    """DNS rebinding: the page's own name leads to this machine."""
    async with gateway() as g:
        for path in ("/v1/orders", "/order"):
            answer = await g.call("POST", path, LIMIT, Host=host)
            assert (answer.status, answer.code) == (403, "bad_origin")
        assert not g.core.submitted
        assert (await g.call("GET", "/livez", Host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:8081", "n1.x:80"]
)
@in_loop
async def test_loopback_and_configured_hosts_are_taken(host: str) -> None:
    async with gateway(allowed_hosts=frozenset({"n1.x"})) as g:
        assert (await g.call("GET", "/v1/time", Host=host)).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", "x"])
@in_loop
async def test_a_foreign_origin_is_refused(origin: str) -> None:
    """A web page must not trade on somebody's localhost, nor read from it."""
    async with gateway() as g:
        for method in ("GET", "POST", "DELETE"):
            answer = await g.call(method, "/v1/orders", None, Origin=origin)
            assert (answer.status, answer.code) == (403, "bad_origin")
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert (await g.call("OPTIONS", "/v1/orders", None, Origin=origin)).status == 403
        assert not g.core.submitted


@in_loop
async def test_the_same_origin_and_configured_ones_are_taken() -> None:
    async with gateway(cors_origins=frozenset({"https://ui.example"})) as g:
        own = f"http://127.0.0.1:{g.port}"
        assert (await g.call("POST", "/v1/orders", LIMIT, Origin=own)).status == 201
        foreign = await g.call("POST", "/v1/orders", LIMIT, Origin="https://ui.example")
        assert foreign.status == 201
        assert foreign.headers["Access-Control-Allow-Origin"] == "https://ui.example"
        assert foreign.headers["Vary"] == "Origin"
        asked = await g.call("OPTIONS", "/v1/orders", None, Origin="https://ui.example")
        assert asked.status == 204
        assert "PATCH" in asked.headers["Access-Control-Allow-Methods"]
        assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]


@in_loop
async def test_an_unknown_path_and_a_wrong_method_are_problems_too() -> None:
    async with gateway() as g:
        for path in ("/v2", "/v1", "/v1/nothing", "/v1/orders/1/2", "/v1/orders/"):
            answer = await g.call("GET", path)
            assert (answer.status, answer.code) == (404, "unknown_route")
        answer = await g.call("PUT", "/v1/orders")
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, POST"
        assert answer.body["allowed"] == ["DELETE", "GET", "HEAD", "POST"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("APPLICATION/JSON", 201),
        ("application/vnd.order+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonx", 415),
        ("", 415),
    ],
)
@in_loop
async def test_a_body_is_taken_as_json_only(content_type: str, status: int) -> None:
    """A form on a foreign page can send text/plain without asking first."""
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders", LIMIT, Content_Type=content_type)
        assert answer.status == status


@in_loop
async def test_a_body_without_a_type_is_taken_as_json() -> None:
    async with gateway() as g:
        body = b'{"market":"BTC-USD","side":"buy","type":"limit","quantity":1,"price":1}'
        head = b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        answer = await g.raw(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer.startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize(("path", "bytes_max"), [("", 64 * 1024), ("/batch", 1024 * 1024)])
@in_loop
async def test_bodies_are_bounded(path: str, bytes_max: int) -> None:
    """With a length in front or in chunks."""
    async with gateway() as g:
        fits = await g.call("POST", f"/v1/orders{path}", b"{}".ljust(bytes_max))
        assert (fits.status, fits.code) == (400, "bad_field")
        too_large = await g.call("POST", f"/v1/orders{path}", b"{}".ljust(bytes_max + 1))
        assert (too_large.status, too_large.code) == (413, "body_too_large")
        head = f"POST /v1/orders{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        chunk = b"%x\r\n%s\r\n" % (bytes_max + 1, b" " * (bytes_max + 1))
        sent = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
        assert (await g.raw(sent)).startswith(b"HTTP/1.1 413")


@in_loop
async def test_only_100_continue_can_be_expected() -> None:
    async with gateway() as g:
        answer = await g.call("GET", "/v1/time", None, Expect="200-ok")
        assert (answer.status, answer.code) == (417, "expectation_failed")


@in_loop
async def test_readiness_names_what_is_missing() -> None:
    async with gateway() as g:
        assert (await g.call("GET", "/readyz")).body == {"status": "ready"}
        for change, name in (
            ({"leader": ""}, "leader_known"),
            ({"contact_age_ms": 2_001}, "quorum_contact"),
            ({"contact_age_ms": None}, "quorum_contact"),
            ({"commit_lag": 1_001}, "applied"),
            ({"draining": True}, "not_draining"),
            ({"read_only": True}, "disk_reserve"),
            ({"standing": "fenced"}, "state_agrees"),
            ({"standing": "aside"}, "state_agrees"),
        ):
            before = {key: getattr(g.core, key) for key in change}
            for key, value in change.items():
                setattr(g.core, key, value)
            assert (await g.call("GET", "/readyz")).status == 503
            verbose = await g.call("GET", "/readyz?verbose")
            assert [c["name"] for c in verbose.body["checks"] if not c["passed"]] == [name]
            assert (await g.call("GET", "/livez")).status == 200
            for key, value in before.items():
                setattr(g.core, key, value)


@pytest.mark.parametrize("standing", ["fenced", "aside"])
@in_loop
async def test_a_node_whose_state_may_differ_answers_nothing_from_it(standing: str) -> None:
    async with gateway() as g:
        await g.place()
        g.core.standing = standing
        for method, path in (
            ("GET", "/v1/orders"),
            ("GET", "/v1/markets/BTC-USD/book"),
            ("DELETE", "/v1/orders"),
            ("GET", "/state"),
            ("GET", "/v1/time"),
        ):
            answer = await g.call(method, path)
            assert (answer.status, answer.code) == (503, "state_divergence"), path
            assert "Retry-After" in answer.headers
        placed = await g.place()
        assert (placed.status, placed.code) == (503, "state_divergence")
        assert (await g.call("GET", "/livez")).status == 200
        cluster = await g.call("GET", "/v1/cluster")
        assert cluster.body["standing"] == standing


@in_loop
async def test_a_node_that_stops_answers_and_sends_its_clients_elsewhere() -> None:
    async with gateway() as g:
        assert "Connection" not in (await g.place()).headers
        g.core.draining = True
        placed = await g.place()
        assert (placed.status, placed.headers["Connection"]) == (201, "close")


@in_loop
async def test_metrics_count_requests_by_template_and_orders_by_kind() -> None:
    async with gateway() as g:
        await g.place("sell")
        await g.place("buy")
        await g.place("buy", "-1")
        await g.call("DELETE", "/v1/orders/77")
        await g.call("GET", "/no/such/path")
        text = (await g.call("GET", "/metrics")).body
        for line in (
            'raft_exchange_http_requests_total{code="2xx",method="POST",route="/v1/orders"} 2.0',
            'raft_exchange_http_requests_total{code="4xx",method="POST",route="/v1/orders"} 1.0',
            'raft_exchange_http_requests_total{code="4xx",method="GET",route="unknown"} 1.0',
            'raft_exchange_http_requests_total{code="5xx",method="PATCH",'
            'route="/v1/orders/{order_id}"} 0.0',
            'raft_exchange_orders_accepted_total{side="buy",type="limit"} 1.0',
            'raft_exchange_commands_refused_total{reason="unknown_order"} 1.0',
            'raft_exchange_commands_refused_total{reason="would_take"} 0.0',
            "raft_exchange_trades_total 1.0",
            f"raft_exchange_applied_sequence {g.core.exchange.sequence}.0",
            "raft_exchange_http_requests_in_flight 1.0",
        ):
            assert line in text, line


def test_two_nodes_in_one_process_share_no_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.observe_request("x", "GET", status=200, duration_s=0.1)
    assert one.render() != other.render()


@in_loop
async def test_a_bug_is_answered_500_and_logged_and_the_node_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only a bug of ours can; nothing of it is told to the client."""
    async with gateway() as g:
        g.core.submit = None  # type: ignore[assignment,method-assign]
        answer = await g.place()
        assert (answer.status, answer.code) == (500, "internal_error")
        assert "NoneType" not in str(answer.body)
        assert "NoneType" in caplog.text
        assert (await g.call("GET", "/v1/time")).status == 200


@in_loop
async def test_a_client_that_goes_away_leaves_its_order_whole() -> None:
    """The body arrived, so the order is placed, answered or not."""
    async with gateway() as g:
        g.core.gate.clear()
        placing = asyncio.create_task(g.place())
        while not g.core.submitted:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        placing.cancel()
        await asyncio.gather(placing, return_exceptions=True)
        g.core.gate.set()
        while not g.core.exchange.live.by_id:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
