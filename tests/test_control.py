"""The control socket: whose it is, and what it does."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import aiohttp

from raft_exchange.control import SOCKET_FILE, Control
from raft_exchange.matching.messages import Scope
from tests.support.coroutines import in_loop
from tests.support.fake_core import NO_LEADER, FakeCore


class Operated:
    """A control socket over the fake core, and what it asked of the node."""

    def __init__(self, folder: Path) -> None:
        self.core, self.folder, self.asked = FakeCore(), folder, list[str]()
        self.control = Control(
            folder,
            self.core,
            hand_over=lambda: self.asked.append("hand over"),
            stop=lambda: self.asked.append("stop"),
        )

    async def post(self, path: str) -> tuple[int, Any]:
        folder = os.open(self.folder, os.O_PATH)
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{folder}/{SOCKET_FILE}")
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post(f"http://node{path}") as answer,
            ):
                return answer.status, await answer.json()
        finally:
            os.close(folder)


@in_loop
async def test_only_the_owner_may_open_the_socket_and_it_goes_with_the_node(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_FILE
    path.write_text("left behind")
    async with Operated(tmp_path).control:
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not path.exists()


@in_loop
async def test_who_lost_every_key_makes_a_new_one(tmp_path: Path) -> None:
    operated = Operated(tmp_path)
    async with operated.control:
        status, made = await operated.post("/keys")
        assert status == 201
        digest = hashlib.sha256(made["bearer"].encode()).digest()
        owned = operated.core.marketdata.keys.by_secret(digest)
        assert owned is not None
        assert (owned.account, owned.key.key_id) == ("admin", made["id"])
        assert owned.key.scopes & Scope.ADMIN
        assert (await operated.post("/keys"))[1]["bearer"] != made["bearer"]


@in_loop
async def test_a_key_that_was_not_made_is_not_shown(tmp_path: Path) -> None:
    operated = Operated(tmp_path)
    operated.core.answer = NO_LEADER
    async with operated.control:
        status, said = await operated.post("/keys")
        assert (status, said) == (503, {"detail": NO_LEADER.detail})


@in_loop
async def test_a_full_account_refuses_a_further_key(tmp_path: Path) -> None:
    operated = Operated(tmp_path)
    async with operated.control:
        for _ in range(32):
            assert (await operated.post("/keys"))[0] == 201
        status, said = await operated.post("/keys")
        assert status == 409
        assert "limit_reached" in said["detail"]


@in_loop
async def test_the_leader_alone_hands_over(tmp_path: Path) -> None:
    operated = Operated(tmp_path)
    async with operated.control:
        assert (await operated.post("/leader"))[0] == 202
        operated.core.leader = "n2"
        status, said = await operated.post("/leader")
        assert status == 409
        assert "n2" in said["detail"]
    assert operated.asked == ["hand over"]


@in_loop
async def test_a_drain_is_answered_and_begun(tmp_path: Path) -> None:
    operated = Operated(tmp_path)
    async with operated.control:
        assert (await operated.post("/drain"))[0] == 202
    assert operated.asked == ["stop"]


@in_loop
async def test_a_folder_of_a_long_name_has_its_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 150)
    folder.mkdir()
    operated = Operated(folder)
    async with operated.control:
        assert (await operated.post("/drain"))[0] == 202
