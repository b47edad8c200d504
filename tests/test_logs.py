"""The log of a node: one JSON object a line, with the same fields in each, and without a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raft_exchange.logs import NodeLog
from tests.support.coroutines import eventually, in_loop
from tests.support.processes import Client, RealCluster

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ALWAYS = {"time", "level", "logger", "event", "node"}


@pytest.fixture
def root() -> Iterator[None]:
    """The root logger as it was, after the test."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


def _objects(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert one.keys() >= ALWAYS, one
        assert TIME.fullmatch(one["time"]), one
    return found


@pytest.mark.usefixtures("root")
def test_a_line_is_an_object_with_time_level_event_and_node() -> None:
    stream = io.StringIO()
    log = NodeLog(level="info", is_json=True, name="n1", stream=stream)
    logger = logging.getLogger("raft_exchange.test")
    logger.info("two\nlines of %s", "text")
    log.name_node("n1-0123")
    logger.warning("told", extra={"request_id": "r", "sequence": 7, "trace_id": "t"})
    logger.debug("not wanted")
    try:
        raise ValueError("what it was")
    except ValueError:
        logger.exception("failed")
    first, second, third = _objects(stream.getvalue())
    assert (first["event"], first["node"]) == ("two\nlines of text", "n1")
    assert (first["level"], first["logger"]) == ("INFO", "raft_exchange.test")
    assert second["node"] == "n1-0123"
    assert (second["request_id"], second["sequence"], second["trace_id"]) == ("r", 7, "t")
    assert "ValueError: what it was" in third["exception"]


@pytest.mark.usefixtures("root")
def test_text_is_a_line_for_people() -> None:
    stream = io.StringIO()
    NodeLog(level="info", is_json=False, name="n1", stream=stream)
    logging.getLogger("raft_exchange.test").info("told", extra={"request_id": "r"})
    assert stream.getvalue().endswith(" INFO raft_exchange.test told\n")


@pytest.mark.system
@in_loop
async def test_no_line_of_a_node_holds_a_secret_or_a_key(tmp_path: Path) -> None:
    """At `debug`, from the start to the stop: every line an object, each write one of them."""
    admin_key = secrets.token_hex(24)
    key_file = tmp_path / "admin.key"
    key_file.write_text(admin_key)
    settings = {"log_format": "json", "log_level": "debug", "auth": "required"}
    settings |= {"admin_key_file": key_file, "accounts": "off"}
    with RealCluster(tmp_path, nodes=1, settings=settings) as cluster:
        (node,) = cluster.nodes
        async with Client(cluster) as client:
            await client.ready()
            await eventually(lambda: "is the first of account admin" in node.log)
            admin = {"Authorization": f"Bearer {admin_key}", "traceparent": TRACEPARENT}
            named = admin | {"X-Request-Id": "alice's account"}
            path, body = "/v1/accounts", {"account": "alice"}
            assert (await client.call(node, "POST", path, body, named))[0] == 201
            path, terms = "/v1/accounts/alice/keys", {"scopes": ["read", "trade"]}
            status, made = await client.call(node, "POST", path, terms, admin)
            assert status == 201, made
            bearer, wrong = made["bearer"], f"rx_{secrets.token_urlsafe(32)}"
            for shown, expected in ((bearer, 200), (wrong, 401)):
                headers = {"Authorization": f"Bearer {shown}"}
                assert (await client.call(node, "GET", "/v1/orders", None, headers))[0] == expected
        assert cluster.terminate(node) == 0
        lines = _objects(node.log)
    held = (tmp_path / "cluster.secret").read_text()
    for secret in (admin_key, bearer, wrong, held):
        assert secret not in node.log
    assert any(one["node"].startswith("n1-") for one in lines)
    (opened,) = [one for one in lines if one.get("request_id") == "alice's account"]
    assert (opened["level"], opened["account"]) == ("INFO", "admin")
    assert opened["trace_id"] == TRACEPARENT.split("-")[1]
    assert opened["sequence"] > 0
    assert [one for one in lines if one["event"].startswith("leader: ") and one["term"] >= 1]
