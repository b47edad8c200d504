"""How the web page is served, and which pages may call a node."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from raft_exchange import web
from raft_exchange.gateway.page import site
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

FOLDER = Path(web.__file__).parent
FILE_LINES_MAX = 400
CHART_SHA256 = "1bb1ee79f9d4dd17261b53d930f7a8995748276f80e7ba0e24412b5068062f5f"
LIMIT = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "100"}


@in_loop
async def test_the_page_and_every_file_it_names_are_served() -> None:
    async with gateway() as g:
        for path in ("/", "/index.html", "/?account=ann"):
            page = await g.call("GET", path)
            assert page.status == 200
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "{{" not in page.body
        named = re.findall(r'(?:src|href)="(/web/[^"]+)"', page.body)
        assert len(named) >= 3
        for path in named:
            assert (await g.call("GET", path)).status == 200


@in_loop
async def test_every_import_of_a_script_leads_to_a_file() -> None:
    for name, file in site().files.items():
        if name.endswith(".js"):
            imported = re.findall(r'from "\./([^"]+)"', file.data.decode())
            assert set(imported) <= site().files.keys(), name


@in_loop
async def test_files_are_kept_for_ever_under_their_hash_and_the_page_is_asked_for_anew() -> None:
    async with gateway() as g:
        page = await g.call("GET", "/")
        assert page.headers["Cache-Control"] == "no-cache"
        again = await g.call("GET", "/", If_None_Match=page.headers["ETag"])
        assert (again.status, again.body) == (304, "")
        assert again.headers["Content-Security-Policy"] == page.headers["Content-Security-Policy"]
        file = await g.call("GET", f"/web/{site().digest}/page.js")
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        other = await g.call("GET", "/web/0123456789abcdef/page.js")
        assert (other.status, other.code) == (404, "unknown_route")


@pytest.mark.parametrize(
    "name", ["__init__.py", "../page.py", "..%2fpage.py", "%2fetc%2fpasswd", "index.html", "x.js"]
)
@in_loop
async def test_nothing_else_is_served(name: str) -> None:
    async with gateway() as g:
        answer = await g.call("GET", f"/web/{site().digest}/{name}")
        assert (answer.status, answer.code) == (404, "unknown_route")


@in_loop
async def test_who_can_unpack_gets_it_packed() -> None:
    name = "vendor/lightweight-charts.mjs"
    async with gateway() as g:
        request = f"GET /web/{site().digest}/{name} HTTP/1.1\r\nHost: localhost\r\n"
        head, _, body = (
            await g.raw(f"{request}Accept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode())
        ).partition(b"\r\n\r\n")
        assert b"Content-Encoding: gzip" in head
        assert gzip.decompress(body) == (FOLDER / name).read_bytes()
        head, _, body = (await g.raw(f"{request}Connection: close\r\n\r\n".encode())).partition(
            b"\r\n\r\n"
        )
        assert b"Content-Encoding" not in head
        assert body == (FOLDER / name).read_bytes()


@in_loop
async def test_the_page_may_load_itself_and_talk_to_members_only() -> None:
    async with gateway() as g:
        page = await g.call("GET", "/")
        rules = dict(
            rule.strip().split(" ", 1)
            for rule in page.headers["Content-Security-Policy"].split(";")
        )
        assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == "'self'"
        own = f"127.0.0.1:{g.port}"
        assert rules["connect-src"].split() == [
            "'self'",
            "http://127.0.0.1:8081",  # the member
            "ws://127.0.0.1:8081",
            *(f"{scheme}://{own}" for scheme in ("http", "ws", "https", "wss")),
        ]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.body)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8081", "http://localhost:8081"])
@in_loop
async def test_the_page_of_a_member_may_go_on_here(origin: str) -> None:
    """The member is http://127.0.0.1:8081; localhost is another name of it."""
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders", LIMIT, Origin=origin)
        assert answer.status == 201
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        asked = await g.call("OPTIONS", "/v1/orders", None, Origin=origin)
        assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]
        assert "X-Account" in asked.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    "origin",
    ["https://127.0.0.1:8081", "http://127.0.0.1", "http://127.0.0.1:80810", "http://x:8081"],
)
@in_loop
async def test_what_only_resembles_a_member_s_page_is_refused(origin: str) -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders", LIMIT, Origin=origin)
        assert (answer.status, answer.code) == (403, "bad_origin")


def test_the_charting_library_is_the_release_unmodified() -> None:
    """lightweight-charts 5.2.1 of npm, dist/lightweight-charts.standalone.production.mjs."""
    data = (FOLDER / "vendor" / "lightweight-charts.mjs").read_bytes()
    assert hashlib.sha256(data).hexdigest() == CHART_SHA256
    assert b"v5.2.1" in data
    assert "Apache License" in (FOLDER / "vendor" / "lightweight-charts.LICENSE").read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.*")), ids=lambda path: path.name)
def test_a_file_of_the_page_stays_under_its_ceiling(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


def test_the_scripts_keep_their_promises_by_themselves() -> None:
    """`tests/browser/modules.test.mjs`: what needs no browser, run by Node.js."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    script = Path(__file__).parents[1] / "browser" / "modules.test.mjs"
    done = subprocess.run([node, "--test", str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
