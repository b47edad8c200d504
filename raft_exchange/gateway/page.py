"""The web page at `/`, and its files.

Rules:
- The files are read once, when the application is made; nothing a client names is looked for on
  the disk. All of them lie under one hash of all of them, so that browsers may keep them for ever
  and never mix two releases; the page itself is asked for anew each time.
- The page may load its own files and nothing else, run no inline script or style, be framed by
  nobody, and talk to the members of the cluster only, so that it can go on at another node.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Final

import msgspec
from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.gateway.context import CONTEXT
from raft_exchange.gateway.origins import member_origins, socket_origin

PACKAGE: Final = "raft_exchange.web"
INDEX: Final = "index.html"
BASE: Final = b"{{base}}"
"""Stands in the page for the folder of its files."""

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFETY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


class File(msgspec.Struct, frozen=True):
    """One file as it is sent."""

    content_type: str
    data: bytes
    packed: bytes

    def response(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """Return the file, packed for who can unpack it."""
        sent = {"Content-Type": self.content_type, "Vary": "Accept-Encoding", **SAFETY, **headers}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=self.packed, headers=sent | {"Content-Encoding": "gzip"})
        return web.Response(body=self.data, headers=sent)


class Site(msgspec.Struct, frozen=True):
    """The page, its files by name, and the hash of all."""

    digest: str
    index: File
    files: dict[str, File]


@cache
def site() -> Site:
    """Return the page's files; they are read at the first call."""
    root = resources.files(PACKAGE)
    folders = [("", root), ("vendor/", root / "vendor")]
    found = {
        prefix + item.name: item.read_bytes()
        for prefix, folder in folders
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if _suffix(item.name) in TYPES
    }
    whole = hashlib.sha256()
    for name, data in found.items():
        whole.update(b"%d %b %d " % (len(name), name.encode(), len(data)) + data)
    digest = whole.hexdigest()[:16]
    index = found.pop(INDEX).replace(BASE, f"/web/{digest}".encode())
    files = {name: _file(name, data) for name, data in found.items()}
    return Site(digest, _file(INDEX, index), files)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _file(name: str, data: bytes) -> File:
    return File(TYPES[_suffix(name)], data, gzip.compress(data, mtime=0))


async def get_page(request: web.Request) -> web.Response:
    """Answer with the page."""
    own = site()
    tag = f'"{own.digest}"'
    headers = {
        "Cache-Control": "no-cache",
        "ETag": tag,
        "Content-Security-Policy": POLICY.format(connect=" ".join(_connectable(request))),
    }
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return own.index.response(request, headers)


async def get_file(request: web.Request) -> web.Response:
    """Answer with a file of the page, as the release of that hash has it."""
    own = site()
    file = own.files.get(request.match_info["file"])
    if file is None or request.match_info["digest"] != own.digest:
        raise Problem(ErrorCode.UNKNOWN_ROUTE, "no such file in this release; load the page anew")
    return file.response(request, {"Cache-Control": FOR_EVER})


def _connectable(request: web.Request) -> list[str]:
    origins = member_origins(request.app[CONTEXT])
    host = request.headers.get("Host", "")
    if _HOST.fullmatch(host):
        origins += [f"http://{host}", f"https://{host}"]  # some browsers: 'self' has no sockets
    found = [place for origin in origins for place in (origin, socket_origin(origin))]
    return ["'self'", *dict.fromkeys(found)]
