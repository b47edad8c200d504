"""A client that signs: what it sends, what it sends again, and what it does not give away."""

from __future__ import annotations

import base64
import json
import stat
import time
from pathlib import Path

import pytest

from raft_exchange.client import (
    ExchangeClient,
    NewOrder,
    OutcomeUnknown,
    RequestRefused,
    SigningKey,
    Unavailable,
)
from raft_exchange.matching.messages import (
    AdvanceTime,
    ChangeMarket,
    CreateAccount,
    CreateKey,
    KeyKind,
    Scope,
)
from tests.client.test_sending import ORDER, PLACED, cluster
from tests.support.coroutines import in_loop
from tests.support.gateway import Gateway, gateway
from tests.support.scripted_node import CUT, Asked, problem

SIGNED = ("X-Timestamp", "X-Nonce", "X-Signature", "Idempotency-Key")


def register(g: Gateway, key: SigningKey) -> None:
    """Ann signs with a key, in a market that takes nothing else, at the time of day."""
    g.core.run(AdvanceTime(time.time_ns() // 1_000))
    g.core.run(CreateAccount("ann"))
    public, scopes = base64.b64decode(key.public_key), int(Scope.READ | Scope.TRADE)
    g.core.run(CreateKey("ann", "ann-1", KeyKind.ED25519, public, scopes, ""))
    g.core.run(ChangeMarket("BTC-USD", *(None,) * 7, signed_orders=True))


def signature(asked: Asked) -> list[str]:
    return [asked.headers[name] for name in SIGNED]


@in_loop
async def test_everything_a_trader_does_is_signed_from_a_key_in_a_file(tmp_path: Path) -> None:
    path, pair = tmp_path / "ann.pem", SigningKey.new()
    pair.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with gateway(auth_required=True) as g:
        register(g, pair)
        url = f"http://127.0.0.1:{g.port}"
        async with ExchangeClient(url, signing_key=path, key_id="ann-1") as client:
            placed = await client.place_order(ORDER)
            assert placed.order.account == "ann"
            label = NewOrder(
                market="BTC-USD", side="buy", price="99", quantity="1", client_order_id="a/b ?"
            )
            batch = await client.place_orders([ORDER, label])
            assert [item.order is not None for item in batch.results] == [True, True]
            await client.amend_order(placed.order.order_id, price="98")
            assert (await client.cancel_by_client_id("a/b ?")).order.status == "canceled"
            page = await client.get_orders(market="BTC-USD", status=["open"])
            assert len(page.orders) == 2
            assert len((await client.cancel_orders(market="BTC-USD")).canceled) == 2
            async for update in client.stream(["orders"]):
                assert update.channel == "orders"
                break


@in_loop
async def test_while_the_outcome_is_unknown_the_same_signature_goes_out_again() -> None:
    pair = SigningKey.new()
    async with cluster(2, signing_key=pair, key_id="k", cluster_id="c") as (client, nodes):
        first, second = nodes
        first.script.extend([CUT, PLACED])
        second.script.extend([problem(503, "outcome_unknown"), CUT])
        await client.place_order(ORDER)
        sent = [signature(asked) for node in nodes for asked in node.asked]
        assert sent == [sent[0]] * 3, "cut off, unknown, answered"


@in_loop
async def test_what_nobody_took_is_signed_anew() -> None:
    pair = SigningKey.new()
    async with cluster(2, signing_key=pair, key_id="k", cluster_id="c") as (client, nodes):
        first, second = nodes
        first.otherwise, second.otherwise = problem(503, "no_leader"), PLACED
        await client.place_order(ORDER)
        (refused,), (taken,) = first.asked, second.asked
        assert refused.headers["Idempotency-Key"] == taken.headers["Idempotency-Key"]
        assert refused.headers["X-Nonce"] != taken.headers["X-Nonce"]


@in_loop
async def test_an_expired_signature_out_of_the_log_settles_that_nothing_happened() -> None:
    pair = SigningKey.new()
    expired = problem(401, "signature_expired", X_Sequence="12")
    async with cluster(1, signing_key=pair, key_id="k", cluster_id="c") as (client, (node,)):
        node.script.extend([CUT, expired])
        with pytest.raises(RequestRefused) as refused:
            await client.place_order(ORDER)
        assert refused.value.code == "signature_expired"
    async with cluster(1, signing_key=pair, key_id="k", cluster_id="c") as (client, (node,)):
        node.script.extend([CUT, problem(401, "bad_signature")])
        with pytest.raises(OutcomeUnknown):
            await client.place_order(ORDER)


@in_loop
async def test_no_node_is_shown_a_key_and_which_cluster_it_is_is_asked_once() -> None:
    pair = SigningKey.new()
    async with cluster(1, signing_key=pair, key_id="k", patience_s=0.3) as (client, (node,)):
        node.otherwise = problem(503, "no_leader")
        with pytest.raises(Unavailable):
            await client.place_order(ORDER)
        assert {asked.path for asked in node.asked} == {"/v1/cluster"}
    async with gateway(auth_required=True) as g:
        register(g, pair)
        url = f"http://127.0.0.1:{g.port}"
        async with ExchangeClient(url, signing_key=pair, key_id="ann-1") as client:
            for _ in range(2):
                await client.place_order(ORDER)
        (request,), (other,) = g.core.submitted
        assert json.loads(request.command.body) == json.loads(other.command.body)  # type: ignore[union-attr]


def test_a_key_pair_goes_with_its_id_and_without_a_bearer_key(tmp_path: Path) -> None:
    pair, url = SigningKey.new(), "http://127.0.0.1:1"
    for wrong in (
        {"signing_key": pair},
        {"key_id": "k"},
        {"signing_key": pair, "key_id": "k", "key": "rx_1"},
        {"signing_key": tmp_path / "none.pem", "key_id": "k"},
        {"signing_key": __file__, "key_id": "k"},
    ):
        with pytest.raises(ValueError, match="key"):
            ExchangeClient(url, **wrong)  # type: ignore[arg-type]


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "ann.pem"
    SigningKey.new().write(path)
    with pytest.raises(FileExistsError):
        SigningKey.new().write(path)
