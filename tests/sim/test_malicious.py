"""One node of three lies about what its clients signed: no replica applies it."""

from __future__ import annotations

import base64
import json
from typing import Final

import msgspec

from raft_exchange.matching.messages import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateKey,
    CreateMarket,
    KeyKind,
    OrderType,
    PlaceOrder,
    Scope,
    Side,
    TimeInForce,
)
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.sequencer.codec import Request, SignedRequest
from raft_exchange.sequencer.outcome import Committed
from raft_exchange.sequencer.signed import Signatures
from tests.sim import test_snapshots
from tests.support.history import check_agreement
from tests.support.signing import Signer
from tests.support.sim_node import CLUSTER_ID, SimNode
from tests.support.workload import rules
from tests.support.world import World

ANN: Final = Signer("ann-signs", cluster_id=CLUSTER_ID)
OPERATOR: Final = Signer("ops-sign", cluster_id=CLUSTER_ID, seed=b"ops")
MALLORY: Final = Signer("mallory", cluster_id=CLUSTER_ID, seed=b"mallory")
ORDER: Final = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "9"}
DEARER: Final = ORDER | {"price": "900"}


def key_of(account: str, signer: Signer, scopes: Scope) -> CreateKey:
    secret = signer.public_key
    return CreateKey(account, signer.key_id, KeyKind.ED25519, secret, int(scopes), "")


def ask(world: World, node: SimNode, *requests: Request) -> list[str]:
    """What became of requests that a node put into the log: "" or the code of the refusal."""
    outcomes: list[Committed] = []
    node.submit(requests, outcomes.extend)  # type: ignore[arg-type]
    assert world.run_until(lambda: len(outcomes) == len(requests), seconds=10)
    firsts = [outcome.events[0] for outcome in outcomes]
    return [event.code.value if isinstance(event, CommandRefused) else "" for event in firsts]


def signed(world: World, body: object, signer: Signer = ANN) -> Request:
    """What a trader sends to a node: an order for `body`, signed now."""
    data, time_us = json.dumps(body).encode(), world.nodes["n1"].now_us()
    headers = signer.headers("POST", "/v1/orders", data, time_us=time_us)
    key_id, timestamp, nonce, signature = headers.values()
    proof = base64.b64decode(signature)
    asked = SignedRequest(key_id, timestamp, nonce, proof, "POST", "/v1/orders", data)
    return Request(asked)


def founded(world: World) -> None:
    """A market of signed orders, of which ann has one, and an operator who signs."""
    assert world.run_until(
        lambda: all(node.state.version == VERSIONS.newest for node in world.nodes.values()),
        seconds=20,
    )
    commands: list[Command] = [
        CreateMarket(rules("BTC-USD")),
        CreateAccount("ann"),
        CreateAccount("admin"),
        key_of("ann", ANN, Scope.TRADE),
        key_of("admin", OPERATOR, Scope.ADMIN),
        ChangeMarket("BTC-USD", *(None,) * 7, signed_orders=True),
    ]
    node = world.nodes["n1"]
    assert ask(world, node, *map(Request, commands)) == [""] * len(commands)
    assert ask(world, node, signed(world, ORDER)) == [""]


def lies(world: World) -> list[Request]:
    """All that a node can make of an order of ann's that it was given, or of nothing."""
    honest = signed(world, ORDER)
    asked = honest.command
    assert isinstance(asked, SignedRequest)
    body = json.dumps(DEARER).encode()
    side = PlaceOrder(
        *("ann", "BTC-USD", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 90_000, 10**8),
        *(0, False, None, ""),
    )
    amend = AmendOrder("ann", 1, 90_000, None)
    cancel_market = ChangeMarket("BTC-USD", *(None,) * 7, signed_orders=False, cancel_orders=True)
    unsigned = (
        *(side, amend, CancelOrder("ann", 1, ""), CancelAll("ann", None, None)),
        *(cancel_market, key_of("ann", MALLORY, Scope.TRADE)),
    )
    return [
        Request(msgspec.structs.replace(asked, body=body)),
        Request(msgspec.structs.replace(asked, target="/v1/orders?dry_run=false")),
        Request(msgspec.structs.replace(asked, method="DELETE", body=b"")),
        signed(world, DEARER, MALLORY),
        signed(world, DEARER, Signer("ann-signs", cluster_id=CLUSTER_ID, seed=b"mallory")),
        *map(Request, unsigned),
        # It may say that anybody's key let it in: a bearer key is known to the node that saw it.
        *(Request(command, key_id="ann-signs") for command in unsigned[:4]),
        *(Request(command, key_id="ops-sign") for command in unsigned),
    ]


def prices(node: SimNode) -> list[int]:
    return [order.price_ticks for order in node.state.exchange.live.by_id.values()]


def test_no_replica_applies_what_a_malicious_node_makes_of_signed_orders() -> None:
    world = test_snapshots.calm_world(1)
    with world.running():
        founded(world)
        malicious = next(node for node in world.nodes.values() if node is not world.leader())
        for request in lies(world):
            assert ask(world, malicious, request) in (["bad_signature"], ["unauthenticated"])
        world.run(1)
        assert {tuple(prices(node)) for node in world.nodes.values()} == {(900,)}
        # It can pass an order on as it was signed, or not at all.
        assert ask(world, malicious, signed(world, ORDER)) == [""]
        world.run(1)
        assert {tuple(prices(node)) for node in world.nodes.values()} == {(900, 900)}
        check_agreement(world)


def test_if_the_lying_node_leads_it_is_no_different() -> None:
    world = test_snapshots.calm_world(2)
    with world.running():
        founded(world)
        malicious = world.leader()
        assert malicious is not None
        for request in lies(world):
            assert ask(world, malicious, request) in (["bad_signature"], ["unauthenticated"])
        assert {tuple(prices(node)) for node in world.nodes.values()} == {(900,)}


def test_if_replicas_did_not_verify_the_altered_order_would_be_applied() -> None:
    """What the tests above would see: they hold because of the signature, and nothing else."""
    world = test_snapshots.calm_world(1)
    for node in world.nodes.values():
        node.signatures = Signatures(CLUSTER_ID, lambda key, message, signature: True)
    with world.running():
        founded(world)
        altered, *_ = lies(world)
        assert ask(world, world.nodes["n2"], altered) == [""]
        world.run(1)
        assert {tuple(prices(node)) for node in world.nodes.values()} == {(900, 90_000)}
