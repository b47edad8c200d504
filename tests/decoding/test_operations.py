"""What a signed request asks for: method, path, query and body -> commands."""

from __future__ import annotations

import base64
import json
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.decoding.errors import Problem
from raft_exchange.decoding.fields import DEPTH_MAX, decode_object
from raft_exchange.decoding.operations import OPERATIONS, decode_operation, may_be_signed
from raft_exchange.decoding.order_schema import place_order
from raft_exchange.gateway.routes import ROUTES
from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAfter,
    CancelAll,
    CancelOrder,
    ChangeAccount,
    ChangeMarket,
    Command,
    CreateKey,
    KeyKind,
    MarketRules,
    PlaceOco,
    PlaceOrder,
    ReplaceOrder,
    RevokeKey,
    Side,
)
from tests.support.signing import Signer
from tests.support.workload import rules

BTC: Final = rules("BTC-USD")
ORDER: Final = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "9"}
STOP: Final = {"market": "BTC-USD", "side": "buy", "type": "stop", "quantity": "1"}
PUBLIC_KEY: Final = Signer("k", cluster_id="c").public_key


class Listed(NamedTuple):
    rules: MarketRules


MARKETS: Final[dict[str, Any]] = {"BTC-USD": Listed(BTC)}


def decoded(method: str, target: str, body: object = None) -> list[Command | None]:
    """What ann asks, who has the live order 7."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return decode_operation(
        method,
        target,
        data,
        account="ann",
        markets=MARKETS,
        rules_of_order=lambda account, order_id: BTC if (account, order_id) == ("ann", 7) else None,
    )


PLACED: Final = place_order(decode_object(json.dumps(ORDER).encode()), BTC, account="ann")


def test_orders() -> None:
    assert isinstance(PLACED, PlaceOrder)
    assert decoded("POST", "/v1/orders", ORDER) == [PLACED]
    assert decoded("POST", "/v1/orders?dry_run=false", ORDER) == [PLACED]
    assert decoded("POST", "/v1/orders/7/replace", ORDER) == [ReplaceOrder("ann", 7, PLACED)]
    pair = {"limit": ORDER, "stop": STOP | {"stop_price": "12"}}
    (oco,) = decoded("POST", "/v1/orders/oco", pair)
    assert isinstance(oco, PlaceOco)
    assert oco.limit == PLACED
    batch = {"orders": [ORDER, STOP, "none", {}, ORDER]}
    assert decoded("POST", "/v1/orders/batch", batch) == [PLACED, None, None, None, PLACED]


def test_amends_are_on_the_grid_of_the_order() -> None:
    (amend,) = decoded("PATCH", "/v1/orders/7", {"price": "10"})
    assert isinstance(amend, AmendOrder)
    assert (amend.account, amend.order_id) == ("ann", 7)
    assert amend.price_ticks
    # One that is not there is refused by the exchange, as any amend of it.
    assert decoded("PATCH", "/v1/orders/8", {"price": "10"}) == [AmendOrder("ann", 8, None, None)]


def test_cancels() -> None:
    assert decoded("DELETE", "/v1/orders/7") == [CancelOrder("ann", 7, "")]
    by_label = "/v1/orders/by-client-id/"
    assert decoded("DELETE", by_label + "a%2Fb%20c") == [CancelOrder("ann", 0, "a/b c")]
    assert decoded("DELETE", by_label + "a/b") == [CancelOrder("ann", 0, "a/b")]
    assert decoded("DELETE", "/v1/orders") == [CancelAll("ann", None, None)]
    one = "/v1/orders?side=sell&market=BTC-USD"
    assert decoded("DELETE", one) == [CancelAll("ann", "BTC-USD", Side.SELL)]
    assert decoded("POST", "/v1/cancel-after", {"seconds": 1}) == [CancelAfter("ann", 1_000_000)]


def test_what_operators_sign() -> None:
    (change,) = decoded("PATCH", "/v1/markets/BTC-USD", {"signed_orders": "off"})
    assert isinstance(change, ChangeMarket)
    assert change.signed_orders is False
    (frozen,) = decoded("PATCH", "/v1/accounts/bob", {"frozen": True})
    assert frozen == ChangeAccount("bob", True, None, None)
    text = base64.b64encode(PUBLIC_KEY).decode()
    key = {"id": "k", "scopes": ["trade"], "public_key": text}
    made = CreateKey("bob", "k", KeyKind.ED25519, PUBLIC_KEY, 2, "")
    assert decoded("POST", "/v1/accounts/bob/keys", key) == [made]
    assert decoded("DELETE", "/v1/accounts/bob/keys/k") == [RevokeKey("bob", "k")]


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/orders?dry_run=true", ORDER),  # it was signed to change nothing
        ("POST", "/v1/orders?dry_run=false&dry_run=true", ORDER),
        ("POST", "/v1/orders?dry_run", ORDER),
        ("POST", "/v1/orders?", ORDER),
        ("POST", "/v1/orders?market=BTC-USD", ORDER),
        ("POST", "/v1/orders/", ORDER),
        ("POST", "//v1/orders", ORDER),
        ("PUT", "/v1/orders", ORDER),
        ("GET", "/v1/orders", None),
        ("POST", "/order", ORDER),
        ("POST", "/v1/orders", ORDER | {"account": "bob"}),
        ("POST", "/v1/orders", ORDER | {"price": "9.001"}),
        ("POST", "/v1/orders", ORDER | {"market": "ETH-USD"}),
        ("POST", "/v1/orders", b'{"market":"BTC-USD","market":"BTC-USD"}'),
        ("POST", "/v1/orders/batch", {"orders": []}),
        ("POST", "/v1/orders/batch", {"orders": [ORDER] * 501}),
        ("DELETE", "/v1/orders/7", {}),
        ("DELETE", "/v1/orders/0", None),
        ("DELETE", "/v1/orders/-7", None),
        ("DELETE", "/v1/orders/%d9%a7", None),
        ("DELETE", "/v1/orders/9223372036854775808", None),
        ("DELETE", "/v1/orders?market=ETH-USD", None),
        ("DELETE", "/v1/orders?side=both", None),
        ("DELETE", "/v1/orders/by-client-id/%C3%A9", None),
        ("PATCH", "/v1/orders/7", {}),
        ("PATCH", "/v1/orders/7", {"side": "sell"}),
        ("POST", "/v1/accounts/bob/keys", {"id": "k", "scopes": ["trade"]}),
        ("POST", "/v1/accounts/bob/deposits", {"id": "d", "asset": "USD", "amount": "1"}),
    ],
)
def test_anything_else_asks_for_nothing(method: str, target: str, body: object) -> None:
    with pytest.raises(Problem):
        decoded(method, target, body)


def test_how_deep_a_body_may_nest_does_not_depend_on_the_process_that_reads_it() -> None:
    """A replica whose stack is nearly used up must not refuse what the others read."""
    at_most = b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1)
    assert decode_object(b'{"a":' + at_most + b"}")
    brackets = json.dumps({"a": "[{" * 100}).encode()
    assert decode_object(brackets), "what stands in a string does not count"
    with pytest.raises(Problem, match="deeper"):
        decode_object(b'{"a":[' + at_most + b"]}")


@pytest.mark.parametrize("end", ["", "\\", '"'])
def test_a_body_of_strings_that_never_end_is_refused_as_fast_as_any(end: str) -> None:
    """Were each quote read to the end of the text, this would take hours."""
    with pytest.raises(Problem):
        decode_object(("[" * (DEPTH_MAX + 1) + '\\"' * 400_000 + end).encode())
    with pytest.raises(Problem):
        decode_object(('{"a":[' + "[]," * DEPTH_MAX + '\\"' * 400_000 + end).encode())


def test_every_operation_is_a_route_that_is_served() -> None:
    served = {(route.method, route.template) for route in ROUTES}
    for operation in OPERATIONS:
        matching = [
            template
            for method, template in served
            if method == operation.method
            and operation.match(method, template.split("/"))  # ids
            is not None
        ]
        assert matching, operation.path
        assert may_be_signed(operation.method, matching[0])


PATHS = st.one_of(
    st.sampled_from([operation.path.replace("*", "7") for operation in OPERATIONS]),
    st.text(max_size=30).map("/v1/".__add__),
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from([*ORDER, *STOP, "orders", "limit", "stop", "seconds", "scopes", "id"]),
        st.one_of(st.none(), st.text(max_size=8), st.integers(), st.just([ORDER]), st.just(ORDER)),
    ).map(lambda body: json.dumps(body).encode()),
)


@given(st.sampled_from(["POST", "PATCH", "DELETE"]), PATHS, BODIES)
def test_whatever_is_signed_is_commands_or_a_problem(method: str, path: str, body: bytes) -> None:
    try:
        found = decoded(method, path, body)
    except Problem:
        return
    assert found
    assert all(getattr(command, "account", "ann") for command in found)
