"""Which node is asked, how often, under which key, and what is told when patience ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from raft_exchange.client import (
    ExchangeClient,
    NewOrder,
    OutcomeUnknown,
    RequestRefused,
    Unavailable,
    WriteKey,
    sender,
)
from tests.support.coroutines import in_loop, seconds_taken
from tests.support.processes import free_ports
from tests.support.scripted_node import (
    CUT,
    HANG,
    Reply,
    ScriptedNode,
    problem,
    reply,
    scripted_nodes,
)

ORDER = NewOrder(market="BTC-USD", side="buy", price="100", quantity="1")
PLACED = reply(
    201,
    {
        "order": {
            "order_id": "7",
            "market": "BTC-USD",
            "side": "buy",
            "type": "limit",
            "status": "open",
            "quantity": "1",
            "filled_quantity": "0",
            "remaining_quantity": "1",
            "sequence": 9,
        },
        "trades": [],
        "sequence": 9,
    },
    X_Sequence="9",
)
TIME = reply(200, {"time": "2026-01-01T00:00:00Z", "sequence": 9}, X_Sequence="9")


@asynccontextmanager
async def cluster(
    count: int, *, patience_s: float = 5.0, **options: Any
) -> AsyncIterator[tuple[ExchangeClient, list[ScriptedNode]]]:
    async with scripted_nodes(count) as nodes:
        urls = [node.url for node in nodes]
        async with ExchangeClient(urls, patience_s=patience_s, **options) as client:
            yield client, nodes


@in_loop
async def test_one_node_is_asked_as_long_as_it_answers() -> None:
    async with cluster(3) as (client, (first, second, third)):
        first.otherwise = TIME
        for _ in range(5):
            await client.get_time()
        assert (len(first.asked), len(second.asked), len(third.asked)) == (5, 0, 0)


@pytest.mark.parametrize(
    "trouble",
    [
        CUT,
        HANG,
        problem(503, "no_leader"),
        problem(503, "overloaded"),
        problem(503, "draining"),
        problem(503, "read_only"),
        problem(503, "outcome_unknown"),
        problem(429, "rate_limited"),
        reply(502, b"<html>bad gateway</html>"),
        reply(201, b"not json"),
        reply(201, {"order": 7}),
    ],
)
@in_loop
async def test_a_write_goes_on_at_another_node_under_its_key(
    trouble: Reply | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == HANG:
        monkeypatch.setattr(sender, "ATTEMPT_S_MAX", 0.5)
    async with cluster(2, patience_s=60) as (client, (first, second)):
        first.otherwise, second.otherwise = trouble, PLACED
        placed = await client.place_order(ORDER)
        assert placed.order.order_id == "7"
        (one,), (other,) = first.asked, second.asked
        assert one.body == other.body
        for header in ("Idempotency-Key", "X-Deadline"):
            assert one.headers[header] == other.headers[header]
        await client.place_order(ORDER)
        assert len(first.asked) == 1, "the node that failed is not asked again"
        keys = [asked.headers["Idempotency-Key"] for asked in second.asked]
        assert keys[0] != keys[1], "another order has another key"


@in_loop
async def test_a_node_that_is_not_there_is_passed_over() -> None:
    (port,) = free_ports(1)
    async with scripted_nodes(1) as (node,):
        node.otherwise = TIME
        async with ExchangeClient([f"http://127.0.0.1:{port}", node.url]) as client:
            assert (await client.get_time()).sequence == 9


@in_loop
async def test_all_nodes_are_asked_again_after_a_pause() -> None:
    async with cluster(2) as (client, (first, second)):
        first.script.extend([problem(503, "no_leader")] * 2)
        second.script.extend([problem(503, "no_leader")] * 2)
        first.otherwise = PLACED
        assert (await client.place_order(ORDER)).sequence == 9
        assert (len(first.asked), len(second.asked)) == (3, 2)


@in_loop
async def test_a_refusal_is_final_and_names_what_was_wrong() -> None:
    async with cluster(2) as (client, (first, second)):
        refusal = {"code": "off_tick", "status": 422, "detail": "no whole number of steps"}
        refusal |= {"field": "price", "value": "1.001", "allowed": "multiples of 0.01"}
        first.otherwise = reply(422, refusal, X_Sequence="12")
        with pytest.raises(RequestRefused) as caught:
            await client.place_order(ORDER)
        error = caught.value
        assert (error.code, error.sequence) == ("off_tick", 12)
        for part in ("off_tick", "price", "1.001", "multiples of 0.01"):
            assert part in str(error)
        assert not second.asked


@pytest.mark.parametrize("code", ["no_leader", "overloaded", "draining", "read_only"])
@in_loop
async def test_nothing_happened_is_said_only_when_it_is_so(code: str) -> None:
    async with cluster(2, patience_s=0.3) as (client, nodes):
        for node in nodes:
            node.otherwise = problem(503, code)
        with pytest.raises(Unavailable, match=code):
            await client.place_order(ORDER)
        nodes[1].script.append(CUT)
        with pytest.raises(OutcomeUnknown):
            await client.place_order(ORDER)


@pytest.mark.parametrize("trouble", [CUT, problem(503, "outcome_unknown"), reply(504, b"")])
@in_loop
async def test_an_unknown_outcome_can_be_asked_for_again(trouble: Reply | str) -> None:
    async with cluster(1, patience_s=0.3) as (client, (node,)):
        node.otherwise = trouble
        with pytest.raises(OutcomeUnknown) as caught:
            await client.place_order(ORDER)
        node.otherwise = PLACED
        await client.place_order(ORDER, key=caught.value.key)
        assert len({asked.headers["Idempotency-Key"] for asked in node.asked}) == 1
        assert len({asked.headers["X-Deadline"] for asked in node.asked}) == 1


@in_loop
async def test_after_an_unknown_outcome_only_the_log_settles_the_matter() -> None:
    """A node that does not even let the second attempt in knows nothing of the first."""
    async with cluster(1) as (client, (node,)):
        node.script.extend([CUT, problem(403, "forbidden")])
        with pytest.raises(OutcomeUnknown, match="forbidden"):
            await client.place_order(ORDER)
        # Nor does the log, of who shows a key that is revoked: maybe the first attempt revoked it.
        node.script.extend([CUT, problem(401, "unauthenticated", X_Sequence="4")])
        with pytest.raises(OutcomeUnknown, match="unauthenticated"):
            await client.place_order(ORDER)
        node.script.extend([CUT, problem(422, "deadline_passed", X_Sequence="4")])
        with pytest.raises(RequestRefused, match="deadline_passed"):
            await client.place_order(ORDER)


@in_loop
async def test_a_read_has_no_outcome_to_be_unknown() -> None:
    async with cluster(2, patience_s=0.2) as (client, _):
        with pytest.raises(Unavailable, match=r"attempts\)"):
            await client.get_time()


@in_loop
async def test_a_read_at_another_node_does_not_go_back_in_time() -> None:
    async with cluster(2) as (client, (first, second)):
        first.script.append(PLACED)
        second.otherwise = TIME
        await client.place_order(ORDER)
        await client.get_time()
        assert first.asked[-1].query == {}, "the node that showed it knows it"
        assert second.asked[0].query == {"min_sequence": "9"}


@in_loop
async def test_patience_bounds_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "ATTEMPT_S_MAX", 0.2)
    async with cluster(2, patience_s=0.5) as (client, nodes):
        for node in nodes:
            node.otherwise = HANG
        assert 0.3 < await seconds_taken(client.get_time()) < 3.0


@in_loop
async def test_calls_that_fail_together_leave_a_node_once() -> None:
    """Ten calls that meet a dead node do not turn the wheel ten times."""
    async with cluster(3) as (client, (first, second, third)):
        first.otherwise, second.otherwise = problem(503, "draining"), TIME
        await asyncio.gather(*(client.get_time() for _ in range(10)))
        assert (len(second.asked), len(third.asked)) == (10, 0)


@in_loop
async def test_the_key_and_the_account_go_with_every_request() -> None:
    async with cluster(1, key="secret", account="ann") as (client, (node,)):
        node.otherwise = TIME
        await client.get_time()
        headers = node.asked[0].headers
        assert (headers["Authorization"], headers["X-Account"]) == ("Bearer secret", "ann")


@in_loop
async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "ANSWER_BYTES_MAX", 1_000)
    async with cluster(2) as (client, (first, second)):
        first.otherwise, second.otherwise = reply(200, b" " * 100_000), TIME
        assert (await client.get_time()).sequence == 9


@pytest.mark.parametrize(
    "urls", [[], "127.0.0.1:8081", ["http://"], "ftp://x", "http://a:one", "http://[::1"]
)
def test_a_url_that_is_none_is_refused_at_once(urls: list[str] | str) -> None:
    with pytest.raises(ValueError, match="URL"):
        ExchangeClient(urls)


def test_a_key_lies_inside_the_window_in_which_it_is_remembered() -> None:
    key = WriteKey.new()
    assert re.fullmatch(r"[0-9a-f]{32}", key.name)
    assert 0 < (key.deadline - WriteKey.new().deadline).total_seconds() + 300 < 600
    assert WriteKey.new("mine").name == "mine"


@in_loop
async def test_balances_and_fills_are_read_as_the_interface_tells_them() -> None:
    async with cluster(1) as (client, (node,)):
        account = {"account": "ann", "frozen": True, "maker_fee": None, "taker_fee": "0.001"}
        account |= {"balances": {"BTC": {"free": "1.5", "held": "0.5"}}, "limits": {}}
        node.script.append(reply(200, account | {"sequence": 4}))
        told = await client.get_account()
        assert (told.balances["BTC"].held, told.frozen) == (Decimal("0.5"), True)
        fill = {"trade_id": "1", "market": "A-B", "price": "2", "quantity": "3", "sequence": 4}
        fill |= {"maker_order_id": "1", "taker_order_id": "2", "taker_side": "buy"}
        fill |= {"time": "2026-01-01T00:00:00Z", "order_id": "2", "side": "buy"}
        fill |= {"liquidity": "taker", "fee": "0.006", "fee_asset": "B"}
        node.script.append(reply(200, {"fills": [fill], "cursor": "9", "sequence": 4}))
        page = await client.get_fills(market="A-B", limit=1)
        assert (page.fills[0].fee, page.fills[0].price, page.cursor) == (Decimal("0.006"), 2, "9")
        assert node.asked[1].query == {"market": "A-B", "limit": "1"}
