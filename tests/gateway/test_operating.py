"""What an operator has one node do, over HTTP: who may, and what comes of it."""

from __future__ import annotations

import asyncio

import pytest

from raft_exchange.gateway import access, operating
from raft_exchange.sequencer.operations import HandOver
from tests.support.coroutines import eventually, in_loop
from tests.support.fake_operations import FakeBackup
from tests.support.gateway import gateway

LEADER, DRAIN, BACKUP = "/v1/cluster/leader", "/v1/cluster/drain", "/v1/cluster/backup"
CONTENT = bytes(range(256)) * 4_096


@in_loop
async def test_leadership_is_handed_over_and_the_answer_says_to_whom() -> None:
    async with gateway() as made:
        answer = await made.call("POST", LEADER)
        assert (answer.status, answer.body) == (200, {"node": "n1", "leader": "n2"})
        named = await made.call("POST", f"{LEADER}?to=n3-0c")
        assert (named.status, named.body["leader"]) == (200, "n3-0c")
        assert made.operations.asked == [("hand over",), ("hand over", "n3-0c")]


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (HandOver.NOT_LEADER, 409, "not_leader"),
        (HandOver.NOT_A_VOTER, 404, "unknown_member"),
        (HandOver.OUT_OF_REACH, 422, "no_quorum"),
        (HandOver.UNFINISHED, 503, "outcome_unknown"),
    ],
)
@in_loop
async def test_what_stands_against_a_hand_over_is_a_problem(
    outcome: HandOver, status: int, code: str
) -> None:
    async with gateway() as made:
        made.operations.handing_over = outcome
        made.core.leader = "n2"
        answer = await made.call("POST", f"{LEADER}?to=n3-0c")
        assert (answer.status, answer.code) == (status, code)
        assert outcome.value in answer.body["detail"]
        if outcome is HandOver.NOT_LEADER:
            assert "n2" in answer.body["detail"]
        else:
            assert (answer.body["field"], answer.body["value"]) == ("to", "n3-0c")


def test_everything_that_may_come_of_it_has_a_code() -> None:
    assert set(operating.NOT_HANDED_OVER) == set(HandOver) - {HandOver.DONE}


@in_loop
async def test_an_id_that_cannot_be_one_is_no_member_to_hand_over_to() -> None:
    async with gateway() as made:
        answer = await made.call("POST", f"{LEADER}?to=a%20b")
        assert (answer.status, answer.code, answer.body["field"]) == (400, "bad_field", "to")
        assert not made.operations.asked


@in_loop
async def test_a_drain_is_answered_and_begun() -> None:
    async with gateway() as made:
        answer = await made.call("POST", DRAIN)
        assert (answer.status, answer.body) == (202, {"node": "n1", "draining": True})
        assert made.operations.asked == [("stop",)]


@in_loop
async def test_a_node_whose_state_differs_can_still_be_stopped() -> None:
    async with gateway() as made:
        made.core.standing = "fenced"
        assert (await made.call("POST", BACKUP)).code == "state_divergence"
        assert (await made.call("POST", DRAIN)).status == 202


@in_loop
async def test_a_backup_is_the_whole_file() -> None:
    async with gateway() as made:
        backup = made.operations.backup = FakeBackup(CONTENT)
        url = f"http://127.0.0.1:{made.port}{BACKUP}"
        async with made.session.post(url) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/octet-stream"
            assert answer.content_length == len(CONTENT)
            assert await answer.read() == CONTENT
        assert backup.is_closed


@in_loop
async def test_where_no_snapshot_is_to_be_had_there_is_no_backup() -> None:
    async with gateway() as made:
        answer = await made.call("POST", BACKUP)
        assert (answer.status, answer.code) == (503, "overloaded")


@in_loop
async def test_a_second_backup_waits_for_its_turn_by_being_refused() -> None:
    async with gateway() as made:
        backup = made.operations.backup = FakeBackup(bytes(64 * 1024 * 1024))
        url = f"http://127.0.0.1:{made.port}{BACKUP}"
        async with made.session.post(url) as slow:
            second = await made.call("POST", BACKUP)
            assert (second.status, second.code) == (503, "overloaded")
            assert len(await slow.read()) == backup.size_bytes
        made.operations.backup = FakeBackup(b"next")
        assert (await made.call("POST", BACKUP)).body == "next"


@in_loop
async def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating, "STALL_S_MAX", 0.1)
    async with gateway() as made:
        backup = made.operations.backup = FakeBackup(bytes(64 * 1024 * 1024))
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port, limit=1024)
        writer.write(f"POST {BACKUP} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: backup.is_closed)
        writer.close()


@in_loop
async def test_a_reader_that_goes_leaves_the_next_one_its_turn() -> None:
    async with gateway() as made:
        backup = made.operations.backup = FakeBackup(bytes(64 * 1024 * 1024))
        url = f"http://127.0.0.1:{made.port}{BACKUP}"
        async with made.session.post(url) as gone:
            gone.close()
        await eventually(lambda: backup.is_closed)
        made.operations.backup = FakeBackup(b"next")
        assert (await made.call("POST", BACKUP)).body == "next"


@pytest.mark.parametrize("path", [LEADER, DRAIN, BACKUP])
@in_loop
async def test_a_parameter_it_does_not_know_is_refused(path: str) -> None:
    async with gateway() as made:
        assert (await made.call("POST", f"{path}?now=1")).code == "bad_field"
        assert not made.operations.asked


@pytest.mark.parametrize("path", [LEADER, DRAIN, BACKUP])
@in_loop
async def test_without_keys_only_the_own_machine_may_ask(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(access, "OWN_MACHINE", frozenset())
    async with gateway() as made:
        answer = await made.call("POST", path)
        assert (answer.status, answer.code) == (403, "forbidden")
        assert not made.operations.asked


@pytest.mark.parametrize("path", [LEADER, DRAIN, BACKUP])
@in_loop
async def test_with_keys_it_takes_one_of_the_scope_admin(path: str) -> None:
    async with gateway(auth_required=True) as made:
        answer = await made.call("POST", path)
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert not made.operations.asked
