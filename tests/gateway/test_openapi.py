"""The description of the routes is whole and true; `Gateway.call` holds every answer against it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from raft_exchange.gateway import docs
from raft_exchange.gateway.inputs import BODIES
from raft_exchange.gateway.openapi import Route
from raft_exchange.gateway.routes import ROUTES, SEED_ROUTES
from tests.support.coroutines import in_loop
from tests.support.described import DESCRIBED
from tests.support.gateway import Gateway, gateway

OWN = [route for route in ROUTES if route.path.startswith("/v1/") and route.path != "/v1/ws"]


def asked(route: Route) -> str:
    """Return a path of the route."""
    known = {"market": "BTC-USD", "member": "n2-0000", "file": "docs.js"}
    return re.sub(r"\{(\w+)\}", lambda part: known.get(part[1], "1"), route.template)


def name_of(route: Route) -> str:
    return f"{route.method} {route.template}"


@in_loop
async def test_every_route_that_is_served_is_described_and_no_other() -> None:
    async with gateway() as g:
        answer = await g.call("GET", "/openapi.json")
    described = {
        (method.upper(), path)
        for path, operations in answer.body["paths"].items()
        for method in operations
    }
    assert answer.body["openapi"] == "3.1.0"
    assert described == g.served


@in_loop
async def test_a_node_without_the_seed_surface_does_not_describe_it() -> None:
    async with gateway(seed_services=False) as g:
        paths = (await g.call("GET", "/openapi.json")).body["paths"]
    assert paths.keys().isdisjoint({route.template for route in SEED_ROUTES})
    assert "post" not in paths["/"]
    assert "/v1/orders" in paths


@pytest.mark.parametrize("route", OWN, ids=name_of)
@in_loop
async def test_the_parameters_of_a_route_are_those_it_knows(route: Route) -> None:
    async with gateway() as g:
        answer = await g.call(
            route.method, asked(route) + "?nonsense=1", {} if route.body else None
        )
    assert answer.code == "bad_field"
    assert (answer.body["field"], answer.body["allowed"]) == ("nonsense", list(route.query))


@pytest.mark.parametrize("route", [r for r in OWN if r.body], ids=name_of)
@in_loop
async def test_the_fields_of_a_body_are_those_its_route_knows(route: Route) -> None:
    schema: Any = BODIES[route.body]
    async with gateway() as g:
        await place_one(g)
        answer = await g.call(route.method, asked(route), {"nonsense": 1})
    assert answer.code == "bad_field"
    assert (answer.body["field"], answer.body["allowed"]) == (
        "nonsense",
        list(schema["properties"]),
    )


def test_the_description_names_the_scope_that_a_route_asks_for() -> None:
    paths = DESCRIBED.document["paths"]
    trade, read = ({"bearer": [scope]} for scope in ("trade", "read"))
    assert paths["/v1/orders"]["post"]["security"] == [trade, {"signature": ["trade"]}, {}]
    assert paths["/v1/orders"]["get"]["security"] == [read, {"signature": ["read"]}, {}]
    assert paths["/v1/markets"]["post"]["security"] == [{"bearer": ["admin"]}, {}]
    assert "security" not in paths["/v1/markets"]["get"]


async def place_one(g: Gateway) -> None:
    assert (await g.place()).status == 201


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (418, "application/json", {}),
        (200, "text/plain", ""),
        (200, "application/json", {"time": "t"}),
        (200, "application/json", {"time": "t", "sequence": "7"}),
        (200, "application/json", {"time": "t", "sequence": 7, "more": 1}),
        (400, "application/problem+json", {"code": "bad_field"}),
    ],
)
def test_an_answer_that_is_not_described_is_noticed(
    status: int, content_type: str, body: object
) -> None:
    with pytest.raises(AssertionError, match=r"GET /v1/time"):
        DESCRIBED.check("GET", "/v1/time", status=status, content_type=content_type, body=body)


@in_loop
async def test_a_problem_of_another_route_is_noticed() -> None:
    async with gateway() as g:
        body = (await g.place(price="100.001")).body
    assert body["code"] == "off_tick"
    kind = "application/problem+json"
    DESCRIBED.check("POST", "/v1/orders", status=422, content_type=kind, body=body)
    with pytest.raises(AssertionError, match="off_tick"):
        DESCRIBED.check("POST", "/v1/cancel-after", status=422, content_type=kind, body=body)


@in_loop
async def test_the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script() -> None:
    async with gateway() as g:
        page = await g.call("GET", "/docs")
        assert page.status == 200
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "://" not in page.body
        assert "<script>" not in page.body
        for name in re.findall(r'(?:src|href)="(/[^"]+)"', page.body):
            answer = await g.call("GET", name)
            assert (answer.status, answer.headers["Content-Security-Policy"]) == (200, policy)
        assert (await g.call("GET", "/docs/LICENSE")).status == 404


def test_swagger_ui_is_its_release_unchanged() -> None:
    for name, digest in docs.SHA256.items():
        assert hashlib.sha256(docs.file(name).data).hexdigest() == digest
