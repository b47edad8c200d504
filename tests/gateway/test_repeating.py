"""Batches, and writes that are safe to send again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.coroutines import in_loop
from tests.support.gateway import Answer, Gateway, gateway

LIMIT = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "100"}
CROSS = LIMIT | {"side": "sell"}


@in_loop
async def test_a_repeat_is_answered_with_the_first_result_byte_for_byte() -> None:
    """Although the order has traded since: the answer is made of the first result's events."""
    async with gateway() as g:
        first = await g.call("POST", "/v1/orders", LIMIT, Idempotency_Key="k1")
        await g.call("POST", "/v1/orders", CROSS)
        again = await g.call("POST", "/v1/orders", LIMIT, Idempotency_Key="k1")
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["X-Sequence"] == first.headers["X-Sequence"]
        assert "Idempotent-Replay" not in first.headers
        assert again.headers["Idempotent-Replay"] == "true"
        assert g.core.exchange.order_id == 2


@in_loop
async def test_a_refusal_is_repeated_too() -> None:
    async with gateway() as g:
        await g.place("sell")
        body = LIMIT | {"post_only": True}
        first = await g.call("POST", "/v1/orders", body, Idempotency_Key="k1")
        await g.call("DELETE", "/v1/orders")
        again = await g.call("POST", "/v1/orders", body, Idempotency_Key="k1")
        assert first.code == again.code == "would_take"
        assert again.headers["Idempotent-Replay"] == "true"


@in_loop
async def test_every_kind_of_write_may_be_repeated() -> None:
    async with gateway() as g:
        await g.place()
        for method, path, body in (
            ("PATCH", "/v1/orders/1", {"quantity": "0.5"}),
            ("DELETE", "/v1/orders/1", None),
            ("DELETE", "/v1/orders", None),
            ("POST", "/v1/orders/batch", {"orders": [LIMIT, CROSS]}),
            ("POST", "/order", {"side": "buy", "price": 1, "quantity": 1}),
        ):
            key = f"{method} {path}"
            first = await g.call(method, path, body, Idempotency_Key=key)
            again = await g.call(method, path, body, Idempotency_Key=key)
            assert (again.status, again.body) == (first.status, first.body), key
            assert again.headers["Idempotent-Replay"] == "true", key


@asynccontextmanager
async def amended_and_forgotten(
    amend: dict[str, str], *, post_only: bool = False
) -> AsyncIterator[tuple[Gateway, Answer]]:
    """A gateway that has answered an amend of order 1 under the key k1, and forgotten the order.

    Its market, ODD, has another grid than all markets before and after it.
    """
    async with gateway(finished_orders_max=1) as g:
        assets = {"base": "ODD", "quote": "USD"}
        odd = assets | {"market": "ODD-USD", "tick_size": "0.25", "lot_size": "0.5"}
        await g.call("POST", "/v1/markets", odd)
        await g.call("POST", "/v1/markets", odd | {"market": "LAST-USD", "lot_size": "1"})
        order = {"market": "ODD-USD", "quantity": "2.5", "price": "10", "post_only": post_only}
        await g.call("POST", "/v1/orders", LIMIT | order)
        opposite = LIMIT | order | {"side": "sell", "price": "20"}
        await g.call("POST", "/v1/orders", opposite, X_Account="ann")
        first = await g.call("PATCH", "/v1/orders/1", amend, Idempotency_Key="k1")
        await g.call("DELETE", "/v1/orders/1")
        for _ in range(2):
            await g.place(time_in_force="ioc")
        assert (await g.call("GET", "/v1/orders/1")).status == 404
        yield g, first


@pytest.mark.parametrize("amend", [{"price": "10.75"}, {"quantity": "1.5", "price": "9"}])
@in_loop
async def test_an_amend_is_repeated_though_its_order_is_forgotten(amend: dict[str, str]) -> None:
    """The projection keeps some finished orders, the window all keys: the answer is owed."""
    async with amended_and_forgotten(amend) as (g, first):
        again = await g.call("PATCH", "/v1/orders/1", amend, Idempotency_Key="k1")
        assert first.status == 200
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["Idempotent-Replay"] == "true"


@in_loop
async def test_a_refused_amend_is_repeated_though_its_order_is_forgotten() -> None:
    async with amended_and_forgotten({"price": "20"}, post_only=True) as (g, first):
        again = await g.call("PATCH", "/v1/orders/1", {"price": "20"}, Idempotency_Key="k1")
        assert first.code == again.code == "would_take"
        assert again.headers["Idempotent-Replay"] == "true"


@pytest.mark.parametrize("other", [{"price": "10.5"}, {"price": "10.01"}, {"price": "0.001"}])
@in_loop
async def test_a_key_is_one_amends_though_its_order_is_forgotten(other: dict[str, str]) -> None:
    """On the order's grid, on another market's, on none."""
    async with amended_and_forgotten({"price": "10.75"}) as (g, _):
        answer = await g.call("PATCH", "/v1/orders/1", other, Idempotency_Key="k1")
        assert (answer.status, answer.code) == (422, "idempotency_mismatch")


@in_loop
async def test_a_new_amend_of_a_forgotten_order_is_refused() -> None:
    """Without a key, under a new one, or as a dry run of the old one."""
    async with amended_and_forgotten({"price": "10.75"}) as (g, _):
        for path, headers in (
            ("/v1/orders/1", {}),
            ("/v1/orders/1", {"Idempotency_Key": "k2"}),
            ("/v1/orders/1?dry_run=true", {"Idempotency_Key": "k1"}),
        ):
            answer = await g.call("PATCH", path, {"price": "10.75"}, **headers)
            assert (answer.status, answer.code) == (422, "not_open")


@in_loop
async def test_a_key_belongs_to_one_command() -> None:
    """Equal commands in other words are equal; anything else is a mismatch and does nothing."""
    async with gateway() as g:
        await g.call("POST", "/v1/orders", LIMIT, Idempotency_Key="k1")
        same = LIMIT | {"quantity": 1.0, "time_in_force": "gtc", "post_only": None}
        assert (await g.call("POST", "/v1/orders", same, Idempotency_Key="k1")).status == 201
        for other in (LIMIT | {"quantity": "2"}, CROSS):
            answer = await g.call("POST", "/v1/orders", other, Idempotency_Key="k1")
            assert (answer.status, answer.code) == (422, "idempotency_mismatch")
        assert g.core.exchange.order_id == 1


@in_loop
async def test_a_key_belongs_to_one_account() -> None:
    async with gateway() as g:
        for account in ("ann", "bob"):
            answer = await g.call(
                "POST", "/v1/orders", LIMIT, Idempotency_Key="k1", X_Account=account
            )
            assert answer.body["order"]["account"] == account
            assert "Idempotent-Replay" not in answer.headers


@pytest.mark.parametrize("key", ["", "a" * 65, "né", "a\tb"])
@in_loop
async def test_a_key_that_is_no_label_is_refused(key: str) -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders", LIMIT, Idempotency_Key=key)
        assert (answer.status, answer.body["field"]) == (400, "Idempotency-Key")
        assert not g.core.submitted


@in_loop
async def test_a_batch_goes_as_one_group_and_each_order_stands_alone() -> None:
    """Malformed and refused items are answered in their places; the others go through."""
    async with gateway() as g:
        orders = [
            LIMIT,
            LIMIT | {"price": "abc"},
            CROSS | {"post_only": True},
            LIMIT | {"market": "NO-SUCH"},
            "order",
            CROSS,
        ]
        answer = await g.call("POST", "/v1/orders/batch", {"orders": orders})
        assert answer.status == 200
        results = answer.body["results"]
        assert [r["error"]["code"] if "error" in r else "ok" for r in results] == [
            *("ok", "bad_field", "would_take", "unknown_market", "bad_field", "ok"),
        ]
        assert results[5]["trades"][0]["maker_order_id"] == "1"
        assert results[1]["error"]["request_id"] == answer.headers["X-Request-Id"]
        assert [len(group) for group in g.core.submitted] == [3]
        assert answer.body["sequence"] == results[5]["sequence"]
        assert answer.headers["X-Sequence"] == str(results[5]["sequence"])


@in_loop
async def test_a_batch_asks_once_for_all_the_markets_it_does_not_know() -> None:
    """Else five hundred names would cost five hundred entries of the log."""
    async with gateway() as g:
        orders = [LIMIT | {"market": f"M{number}"} for number in range(500)]
        answer = await g.call("POST", "/v1/orders/batch", {"orders": orders})
        assert {r["error"]["code"] for r in answer.body["results"]} == {"unknown_market"}
        assert g.core.barriers == 1


@in_loop
async def test_a_batch_of_nothing_but_mistakes_submits_nothing() -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders/batch", {"orders": [{}, 1]})
        assert (answer.status, len(answer.body["results"])) == (200, 2)
        assert not g.core.submitted


@pytest.mark.parametrize("orders", [None, [], {}, "x", [LIMIT] * 501])
@in_loop
async def test_a_batch_holds_one_to_five_hundred_orders(orders: object) -> None:
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders/batch", {"orders": orders})
        assert (answer.status, answer.code) == (400, "bad_field")
        assert not g.core.submitted


@in_loop
async def test_the_largest_batch_of_a_new_account_fits_one_group() -> None:
    async with gateway() as g:
        body = {"orders": [LIMIT] * 500}
        answer = await g.call("POST", "/v1/orders/batch", body, X_Account="ann")
        assert answer.status == 200
        assert all(r["order"]["account"] == "ann" for r in answer.body["results"])
        assert [len(group) for group in g.core.submitted] == [501]


@in_loop
async def test_a_batch_changed_under_its_key_is_refused_as_a_whole() -> None:
    async with gateway() as g:
        path, key = "/v1/orders/batch", "k1"
        await g.call("POST", path, {"orders": [LIMIT, CROSS]}, Idempotency_Key=key)
        changed = {"orders": [LIMIT, CROSS | {"quantity": "2"}]}
        answer = await g.call("POST", path, changed, Idempotency_Key=key)
        assert (answer.status, answer.code) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("orders", [[LIMIT], [LIMIT, CROSS, LIMIT], [LIMIT, CROSS, LIMIT, CROSS]])
@in_loop
async def test_a_batch_of_another_length_under_its_key_runs_nothing(orders: list[object]) -> None:
    async with gateway() as g:
        path, key = "/v1/orders/batch", "k1"
        await g.call("POST", path, {"orders": [LIMIT, CROSS]}, Idempotency_Key=key)
        placed = g.core.exchange.order_id
        answer = await g.call("POST", path, {"orders": orders}, Idempotency_Key=key)
        assert (answer.status, answer.code) == (422, "idempotency_mismatch")
        assert g.core.exchange.order_id == placed


@in_loop
async def test_a_single_order_under_the_key_of_a_batch_runs_nothing() -> None:
    async with gateway() as g:
        await g.call("POST", "/v1/orders/batch", {"orders": [LIMIT, CROSS]}, Idempotency_Key="k1")
        answer = await g.call("POST", "/v1/orders", LIMIT, Idempotency_Key="k1")
        assert (answer.status, answer.code) == (422, "idempotency_mismatch")


@in_loop
async def test_no_single_order_can_have_the_key_of_a_batchs_item() -> None:
    """Keys of the items after the first hold a character that no header can."""
    async with gateway() as g:
        orders = {"orders": [LIMIT, CROSS]}
        await g.call("POST", "/v1/orders/batch", orders, Idempotency_Key="k1")
        [[first, second]] = g.core.submitted
        assert (first.idempotency_key, first.followers) == ("k1", 1)
        assert second.idempotency_key.startswith("k1")
        assert not second.idempotency_key.isprintable()


@in_loop
async def test_a_full_house_of_accounts_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raft_exchange.matching.administration.ACCOUNTS_MAX", 1)
    async with gateway() as g:
        answer = await g.call("POST", "/v1/orders", LIMIT, X_Account="ann")
        assert (answer.status, answer.code) == (422, "limit_reached")
