"""`GET /docs`: the OpenAPI description as a page to read and try, Swagger UI of this node's own.

The page loads its own files and nothing else, runs no inline script, and talks to this node only.
The two big files are those of the npm release `swagger-ui-dist` named below, unchanged (Apache-2.0,
its licence beside them): to renew them is to replace files, version and hashes together.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.bodies import query_of

SWAGGER_UI: Final = "5.35.0"
SHA256: Final = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
PAGE: Final = "docs.html"
TYPES: Final = {
    PAGE: "text/html; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


class File(NamedTuple):
    """One file as it is sent."""

    content_type: str
    data: bytes
    packed: bytes


@cache
def file(name: str) -> File:
    """Return a file of the page; it is read and packed at the first call."""
    data = resources.files("raft_exchange.gateway").joinpath("swagger_ui", name).read_bytes()
    return File(TYPES[name], data, gzip.compress(data, mtime=0))


async def get_docs(request: web.Request) -> web.Response:
    """Answer with the page that shows this description."""
    query_of(request)
    return _answer(request, PAGE)


async def get_file(request: web.Request) -> web.Response:
    """Answer with a file of that page."""
    query_of(request)
    name = request.match_info["file"]
    if name not in TYPES:
        raise Problem(
            ErrorCode.UNKNOWN_ROUTE, "the page has no such file", field="file", value=name
        )
    return _answer(request, name)


def _answer(request: web.Request, name: str) -> web.Response:
    found = file(name)
    headers = HEADERS | {"Content-Type": found.content_type}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=found.packed, headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=found.data, headers=headers)
