"""`GET /openapi.json`: the OpenAPI 3.1 description of the routes that this node serves.

Bodies of answers are described from the types that handlers fill, bodies of requests from the
names and tables that decoders know (`inputs`), and which route may answer what from the table that
is served (`routes`). A refusal is described with the codes that this route may give.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.decoding.errors import KINDS, PROBLEM_TYPE, ErrorCode, ProblemView
from raft_exchange.decoding.operations import may_be_signed
from raft_exchange.decoding.signing import SCHEME
from raft_exchange.gateway.access import LOOK_THEMSELVES, NEEDS
from raft_exchange.gateway.guard import Handler
from raft_exchange.gateway.inputs import (
    BODIES,
    HEADERS,
    LIMITS,
    PATH,
    QUERY,
    SCHEMAS,
    WORDS,
)
from raft_exchange.gateway.rate_limits import LANES
from raft_exchange.gateway.rendering import JSON_TYPE, View
from raft_exchange.matching.limits import (
    NONCE_BYTES_MAX,
    SIGNATURE_WINDOW_US,
    SIGNED_BODY_BYTES_MAX,
)
from raft_exchange.matching.messages import Scope

OPENAPI: Final = "3.1.0"
RETRIED: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
RATE_FIELDS: Final = ("RateLimit-Policy", "RateLimit")
EVERYWHERE: Final = (
    *(ErrorCode.BAD_ORIGIN, ErrorCode.UNKNOWN_ROUTE, ErrorCode.EXPECTATION_FAILED),
    *(ErrorCode.UNAUTHENTICATED, ErrorCode.FORBIDDEN),
    *(ErrorCode.NO_LEADER, ErrorCode.STATE_DIVERGENCE),
)
"""What any route may answer: strangers, a path that is none, a node in no cluster yet."""

BEARER_KEY: Final[View] = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key with the scope named, or `admin`; none where the mode is `open`.",
}
SIGNATURE: Final[View] = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Signature",
    "description": (
        "A request may be signed with an Ed25519 key instead of showing a key, in every mode. "
        "`X-Key-Id` is the id of the key, `X-Timestamp` an RFC 3339 time within "
        f"{SIGNATURE_WINDOW_US // 1_000_000} s of the logged clock (of the node's, for a read), "
        f"`X-Nonce` 1 to {NONCE_BYTES_MAX} printable ASCII characters that the key has not used "
        "lately, and `X-Signature` the base64 of the 64 bytes of the signature over these eight "
        "lines of ASCII, joined by line feeds, with none at the end: "
        f"`{SCHEME}`; `cluster_id` of `GET /v1/cluster`; the method; path and query, as sent; "
        "`X-Timestamp`; `X-Nonce`; `Idempotency-Key`, or an empty line; the SHA-256 of the body "
        "before any compression (empty for GET and DELETE), in lower-case hex. "
        f"A signed batch has up to {SIGNED_BODY_BYTES_MAX} bytes."
    ),
}
SIGNED_READ: Final = (ErrorCode.BAD_FIELD, ErrorCode.BAD_SIGNATURE, ErrorCode.SIGNATURE_EXPIRED)
SIGNED_WRITE: Final = (*SIGNED_READ, ErrorCode.NONCE_REUSED, ErrorCode.LIMIT_REACHED)
DOCUMENT: Final = web.AppKey("openapi", bytes)
_PART: Final = re.compile(r"\{(\w+)(:[^}]*)?\}")


class Route(msgspec.Struct, frozen=True):
    """One route: how it is asked, and everything it may answer.

    `answers` gives the types that the body may have by status, none where it is no JSON of ours;
    `codes` are the problems besides those of every route; `body` is a name of `inputs.BODIES`.
    """

    method: str
    path: str
    handler: Handler
    answers: Mapping[int, tuple[type, ...]]
    codes: tuple[ErrorCode, ...] = ()
    body: str = ""
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    content_type: str = JSON_TYPE

    @property
    def template(self) -> str:
        """The path without the patterns of its parts."""
        return _PART.sub(r"{\1}", self.path)


async def get_openapi(request: web.Request) -> web.Response:
    """Answer with the description of the routes."""
    return web.Response(body=request.app[DOCUMENT], headers={"Content-Type": JSON_TYPE})


def document(routes: Sequence[Route]) -> View:
    """Return the OpenAPI document of these routes."""
    types = {type_ for route in routes for found in route.answers.values() for type_ in found}
    _, components = msgspec.json.schema_components(
        sorted(types | {ProblemView}, key=lambda type_: type_.__name__),
        ref_template=SCHEMAS + "{name}",
    )
    paths: dict[str, View] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    for name, schema in components.items():
        _name_words(name, schema)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "raft-exchange",
            "version": version("raft-exchange"),
            "description": "An exchange cluster that cannot disagree with itself. "
            "Every node serves every route. The streams are described by /asyncapi.json.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, **BODIES},
            "securitySchemes": {"bearer": BEARER_KEY, "signature": SIGNATURE},
        },
    }


def _name_words(name: str, schema: View) -> None:
    """Add to the fields of a type what its words are."""
    words = WORDS.get(name, {})
    properties = schema["properties"]
    assert isinstance(properties, dict), name
    for field in words:
        properties[field]["enum"] = list(words[field])


def _operation(route: Route) -> View:
    text = inspect.getdoc(route.handler) or ""
    summary, _, rest = text.partition("\n")
    operation: View = {
        "operationId": "_".join([route.method.lower(), *re.findall(r"[a-z]+", route.template)]),
        "summary": summary,
        "tags": [_tag(route.path)],
        "parameters": list(_parameters(route)),
        "responses": _responses(route),
    }
    if scope := NEEDS.get((route.method, route.template), Scope.ADMIN):
        assert scope.name is not None, "a route asks for one scope"
        words = [scope.name.lower()]
        ways: list[View] = [{"bearer": words}]
        if _signed_codes(route):
            ways.append({"signature": words})
        operation["security"] = [*ways, {}]
    if rest.strip():
        operation["description"] = rest.strip()
    if route.body:
        schema = {"$ref": SCHEMAS + route.body}
        operation["requestBody"] = {"required": True, "content": {JSON_TYPE: {"schema": schema}}}
    return operation


def _signed_codes(route: Route) -> tuple[ErrorCode, ...]:
    """Return what may be wrong with the signature of a request; nothing where none counts."""
    if may_be_signed(route.method, route.template):
        return SIGNED_WRITE
    asks = NEEDS.get((route.method, route.template), Scope.ADMIN) or route.path in LOOK_THEMSELVES
    return SIGNED_READ if asks and route.method == "GET" else ()


def _tag(path: str) -> str:
    parts = path.split("/")
    return parts[2] if parts[1] == "v1" else "node" if "." in path or "z" in path else "seeds"


def _parameters(route: Route) -> Iterable[View]:
    for name, _ in _PART.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": PATH[name]}
    for name in route.query:
        schema = LIMITS[route.path] if name == "limit" else QUERY[name]
        required = name == "channels"
        yield {"name": name, "in": "query", "required": required, "schema": schema}
    for name in route.headers:
        yield {"name": name, "in": "header", "required": False, "schema": HEADERS[name]}


def _responses(route: Route) -> View:
    codes: dict[int, list[str]] = {}
    limited = (ErrorCode.RATE_LIMITED,) if (route.method, route.template) in LANES else ()
    own = (*route.codes, *limited, *_signed_codes(route))
    for code in dict.fromkeys((*own, *EVERYWHERE)):
        codes.setdefault(KINDS[code].status, []).append(code.value)
    responses: View = {}
    for status in sorted({*route.answers, *codes}):
        content: View = {}
        titles = []
        if status in route.answers:
            titles.append(HTTPStatus(status).phrase)
            if route.content_type and status != HTTPStatus.NOT_MODIFIED:
                content[route.content_type] = _body(route.answers[status])
        if status in codes:
            titles += [KINDS[ErrorCode(code)].title for code in codes[status]]
            content[PROBLEM_TYPE] = {"schema": _problem(codes[status])}
        response: View = {"description": "; ".join(titles)}
        if content:
            response["content"] = content
        headers: View = {
            name: {"schema": {"type": "string"}} for name in ("X-Request-Id", "traceresponse")
        }
        if status in RETRIED and status in codes:
            headers["Retry-After"] = {"schema": {"type": "integer"}}
        if limited:
            headers |= {name: {"schema": {"type": "string"}} for name in RATE_FIELDS}
        responses[str(status)] = response | {"headers": headers}
    return responses


def _body(types: tuple[type, ...]) -> View:
    schemas = [{"$ref": SCHEMAS + type_.__name__} for type_ in types]
    if not schemas:
        return {}
    return {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


def _problem(codes: list[str]) -> View:
    return {
        "allOf": [
            {"$ref": SCHEMAS + "ProblemView"},
            {"type": "object", "properties": {"code": {"enum": codes}}},
        ]
    }
