"""Who may add and remove members, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from raft_exchange.gateway import access, members
from raft_exchange.raft.proof import sign
from raft_exchange.sequencer.outcome import MemberRefusal, MemberRefused
from tests.support.coroutines import in_loop
from tests.support.gateway import SECRET, gateway

NODE = {"id": "n4-0123", "raft_address": "10.0.0.4:7081", "http_url": "http://10.0.0.4:8081"}
BODY = b'{"id":"n4-0123","raft_address":"10.0.0.4:7081","http_url":"http://10.0.0.4:8081"}'
NONCE = "0123456789abcdef" * 2
PATH = "/v1/cluster/members"


def proof(purpose: str, said: bytes, *, secret: bytes = SECRET) -> str:
    return sign(secret, purpose, NONCE.encode(), said).hex()


@in_loop
async def test_a_node_is_added_as_one_that_does_not_vote_yet() -> None:
    async with gateway() as made:
        answer = await made.call("POST", PATH, NODE)
        assert answer.status == 202
        assert answer.body == {
            "members": [{"id": "n1", "votes": True}, {"id": "n4-0123", "votes": False}]
        }
        assert made.core.changes == [("add", *NODE.values())]


@in_loop
async def test_a_member_is_removed() -> None:
    async with gateway() as made:
        answer = await made.call("DELETE", f"{PATH}/n4-0123")
        assert (answer.status, answer.body) == (200, {"members": [{"id": "n1", "votes": True}]})
        assert made.core.changes == [("remove", "n4-0123")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "a b"),
        ("id", ""),
        ("id", None),
        ("id", "x" * 65),
        ("id", 7),
        ("raft_address", "10.0.0.4"),
        ("raft_address", "[::1]:7081"),
        ("http_url", "ftp://x:1"),
        ("http_url", "http://x:1,http://y:1"),
        ("name", "n4"),
    ],
)
@in_loop
async def test_a_malformed_field_is_named_with_what_is_allowed(field: str, value: Any) -> None:
    async with gateway() as made:
        answer = await made.call("POST", PATH, NODE | {field: value})
        assert (answer.status, answer.code, answer.body["field"]) == (400, "bad_field", field)
        assert answer.body["allowed"]
        assert not made.core.changes


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (MemberRefusal.PENDING, 503, "change_pending"),
        (MemberRefusal.NO_LEADER, 503, "no_leader"),
        (MemberRefusal.NO_QUORUM, 422, "no_quorum"),
        (MemberRefusal.ID_REMOVED, 409, "member_removed"),
        (MemberRefusal.TOO_MANY, 422, "limit_reached"),
        (MemberRefusal.NOT_A_MEMBER, 404, "unknown_member"),
        (MemberRefusal.UNKNOWN, 503, "outcome_unknown"),
    ],
)
@in_loop
async def test_each_refusal_of_the_group_is_a_problem(
    refusal: MemberRefusal, status: int, code: str
) -> None:
    async with gateway() as made:
        made.core.member_refused = MemberRefused(refusal, "why it was not done")
        for answer in (
            await made.call("POST", PATH, NODE),
            await made.call("DELETE", f"{PATH}/n4-0123"),
        ):
            assert (answer.status, answer.code) == (status, code)
            assert answer.body["detail"] == "why it was not done"
            assert ("Retry-After" in answer.headers) is (status == 503)


def test_every_refusal_has_a_code() -> None:
    assert set(members.CODES) == set(MemberRefusal)


@in_loop
async def test_an_id_that_cannot_be_one_never_reaches_the_group() -> None:
    async with gateway() as made:
        answer = await made.call("DELETE", f"{PATH}/a%20b")
        assert (answer.status, answer.code) == (404, "unknown_member")
        assert not made.core.changes


@pytest.mark.parametrize("is_near", [True, False], ids=["same machine", "elsewhere"])
@in_loop
async def test_only_the_own_machine_needs_no_proof(
    monkeypatch: pytest.MonkeyPatch, is_near: bool
) -> None:
    if not is_near:
        monkeypatch.setattr(access, "OWN_MACHINE", frozenset())
    async with gateway() as made:
        for method, path, body in (("POST", PATH, NODE), ("DELETE", f"{PATH}/n4-0123", None)):
            answer = await made.call(method, path, body)
            assert (answer.status < 300) is is_near
            if not is_near:
                assert (answer.status, answer.code) == (403, "forbidden")


@in_loop
async def test_a_proof_opens_the_door_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "OWN_MACHINE", frozenset())
    async with gateway() as made:
        added = await made.call("POST", PATH, BODY, X_Nonce=NONCE, X_Proof=proof("join", BODY))
        assert added.status == 202
        removed = await made.call(
            "DELETE", f"{PATH}/n4-0123", X_Nonce=NONCE, X_Proof=proof("leave", b"n4-0123")
        )
        assert removed.status == 200


@pytest.mark.parametrize(
    ("nonce", "proved"),
    [
        (NONCE, proof("leave", BODY)),
        (NONCE, proof("join", BODY + b" ")),
        (NONCE, proof("join", BODY, secret=b"another secret altogether")),
        (NONCE, ""),
        (NONCE, "xyz"),
        (NONCE[:-1] + "0", proof("join", BODY)),
        ("", proof("join", BODY)),
        ("ab", proof("join", BODY)),
    ],
)
@in_loop
async def test_a_wrong_proof_is_refused_even_on_the_own_machine(nonce: str, proved: str) -> None:
    """Whoever says to prove something must: a mistyped secret is not passed over."""
    async with gateway() as made:
        answer = await made.call("POST", PATH, BODY, X_Nonce=nonce, X_Proof=proved)
        assert (answer.status, answer.code) == (403, "forbidden")
        assert not made.core.changes


@in_loop
async def test_a_removed_node_says_so_and_is_not_ready() -> None:
    async with gateway() as made:
        assert (await made.call("GET", "/v1/cluster")).body["removed"] is False
        made.core.is_removed = True
        answer = await made.call("GET", "/readyz")
        assert (answer.status, answer.body["reason"]) == (503, "removed from the cluster, for ever")
        assert (await made.call("GET", "/v1/cluster")).body["removed"] is True
