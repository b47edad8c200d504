"""The control socket: whose it is, and what it does."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from raft_exchange.control import HOST, SOCKET_FILE, Control
from raft_exchange.gateway.app import make_control_app
from raft_exchange.matching.messages import Scope
from tests.support.coroutines import in_loop
from tests.support.fake_core import NO_LEADER
from tests.support.gateway import Gateway, gateway


class Operated:
    """A control socket beside a gateway that asks for keys."""

    def __init__(self, folder: Path, behind: Gateway) -> None:
        self.core, self.operations, self.folder = behind.core, behind.operations, folder
        self.control = Control(folder, make_control_app(behind.app, host=HOST), behind.core)

    async def ask(self, method: str, path: str) -> tuple[int, Any]:
        folder = os.open(self.folder, os.O_PATH)
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{folder}/{SOCKET_FILE}")
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.request(method, f"http://node{path}") as answer,
            ):
                return answer.status, json.loads(await answer.read())
        finally:
            os.close(folder)


@asynccontextmanager
async def operated(folder: Path) -> AsyncIterator[Operated]:
    async with gateway(auth_required=True) as behind:
        made = Operated(folder, behind)
        async with made.control:
            yield made


@in_loop
async def test_only_the_owner_may_open_the_socket_and_it_goes_with_the_node(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_FILE
    path.write_text("left behind")
    async with operated(tmp_path):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not path.exists()


@in_loop
async def test_who_lost_every_key_makes_a_new_one(tmp_path: Path) -> None:
    async with operated(tmp_path) as node:
        status, made = await node.ask("POST", "/keys")
        assert status == 201
        digest = hashlib.sha256(made["bearer"].encode()).digest()
        owned = node.core.marketdata.keys.by_secret(digest)
        assert owned is not None
        assert (owned.account, owned.key.key_id) == ("admin", made["id"])
        assert owned.key.scopes & Scope.ADMIN
        assert (await node.ask("POST", "/keys"))[1]["bearer"] != made["bearer"]


@in_loop
async def test_a_key_that_was_not_made_is_not_shown(tmp_path: Path) -> None:
    async with operated(tmp_path) as node:
        node.core.answer = NO_LEADER
        status, said = await node.ask("POST", "/keys")
        assert (status, said["code"], said["detail"]) == (503, "no_leader", NO_LEADER.detail)


@in_loop
async def test_a_full_account_refuses_a_further_key(tmp_path: Path) -> None:
    async with operated(tmp_path) as node:
        for _ in range(32):
            assert (await node.ask("POST", "/keys"))[0] == 201
        status, said = await node.ask("POST", "/keys")
        assert (status, said["code"]) == (422, "limit_reached")


@in_loop
async def test_what_takes_a_key_elsewhere_takes_none_here(tmp_path: Path) -> None:
    async with operated(tmp_path) as node:
        assert (await node.ask("GET", "/v1/cluster?hash=now"))[1]["node"] == "n1"
        assert (await node.ask("DELETE", "/v1/cluster/members/n4-0123"))[0] == 200
        assert (await node.ask("POST", "/v1/cluster/leader?to=n4-0123"))[0] == 200
        assert (await node.ask("POST", "/v1/cluster/drain"))[0] == 202
        assert node.core.changes == [("remove", "n4-0123")]
        assert node.operations.asked == [("hand over", "n4-0123"), ("stop",)]


@in_loop
async def test_only_the_cluster_is_operated_here(tmp_path: Path) -> None:
    async with operated(tmp_path) as node:
        for path in ("/v1/orders", "/v1/account", "/metrics", "/"):
            status, said = await node.ask("GET", path)
            assert (status, said["code"]) == (404, "unknown_route")


@in_loop
async def test_a_folder_of_a_long_name_has_its_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 150)
    folder.mkdir()
    async with operated(folder) as node:
        assert (await node.ask("POST", "/v1/cluster/drain"))[0] == 202
