"""Signed requests where they are applied: verified, decoded, judged by logged time, taken once."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import msgspec
import pytest

from raft_exchange.ed25519 import verify
from raft_exchange.matching import limits, nonces
from raft_exchange.matching.limits import NONCE_KEPT_US, SIGNATURE_WINDOW_US
from raft_exchange.matching.messages import (
    CancelAll,
    ChangeMarket,
    Command,
    CommandRefused,
    CreateAccount,
    CreateKey,
    CreateMarket,
    KeyKind,
    OrderAccepted,
    OrderAmended,
    RejectCode,
    RevokeKey,
    Scope,
)
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.sequencer.applied import Result
from raft_exchange.sequencer.batcher import GROUP_BYTES_MAX
from raft_exchange.sequencer.codec import (
    Batch,
    CodecError,
    Request,
    SignedItem,
    SignedRequest,
    decode_batch,
    encode_batch,
    encoded_size,
)
from raft_exchange.sequencer.signed import Signatures
from raft_exchange.sequencer.state import CannotOpen, ReplicatedState
from tests.support.signing import Signer
from tests.support.workload import rules

CLUSTER_ID: Final = "c0ffee"
START_US: Final = 1_700_000_000_000_000
ANN: Final = Signer("ann-signs", cluster_id=CLUSTER_ID)
BOB: Final = Signer("bob-signs", cluster_id=CLUSTER_ID, seed=b"bob")
ORDER: Final = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "9"}
TRADE: Final = int(Scope.TRADE)


class Log:
    """A log of one replica, in which ann and bob sign."""

    def __init__(self) -> None:
        self.state = ReplicatedState(signatures=Signatures(CLUSTER_ID, verify))
        self.state.exchange.version = VERSIONS.newest
        self.index = 0
        self.batches: list[Batch] = []
        self.time_us = START_US
        self.run(CreateMarket(rules("BTC-USD")))
        for account, signer in (("ann", ANN), ("bob", BOB)):
            key = CreateKey(account, signer.key_id, KeyKind.ED25519, signer.public_key, TRADE, "")
            self.run(CreateAccount(account), key)

    def run(self, *commands: Command) -> list[Result]:
        return self.append(*map(Request, commands))

    def append(self, *requests: Request) -> list[Result]:
        """Apply one entry, as it comes out of its bytes, and return the results of its requests."""
        self.index += 1
        batch = Batch("n1", 1, self.index, list(requests))
        self.batches.append(batch)
        time_us, decoded = decode_batch(encode_batch(batch, time_us=self.time_us))
        applied = self.state.apply(self.index, 1, time_us, decoded)
        self.state.check()
        return list(applied.results[1:])

    def refusal(self, *requests: Request) -> tuple[str, str]:
        """The one refusal that all of these requests get."""
        (event,) = {event for result in self.append(*requests) for event in result.events}
        assert isinstance(event, CommandRefused), event
        return event.code.value, event.field


def signed(
    method: str,
    target: str,
    body: object = None,
    *,
    signer: Signer = ANN,
    time_us: int = START_US,
    key: str = "",
    nonce: str = "",
    **request: Any,
) -> Request:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    headers = signer.headers(
        method, target, data, time_us=time_us, nonce=nonce, idempotency_key=key
    )
    asked = SignedRequest(
        headers["X-Key-Id"],
        headers["X-Timestamp"],
        headers["X-Nonce"],
        base64.b64decode(headers["X-Signature"]),
        method,
        target,
        data,
    )
    return Request(asked, key, **request)


def place(**how: Any) -> Request:
    return signed("POST", "/v1/orders", ORDER, **how)


def altered(request: Request, **changes: Any) -> Request:
    return msgspec.structs.replace(
        request, command=msgspec.structs.replace(request.command, **changes)
    )


def batch_of(orders: list[object], *, items: int | None = None, **how: Any) -> list[Request]:
    more = len(orders) - 1 if items is None else items
    head = signed("POST", "/v1/orders/batch", {"orders": orders}, followers=more, **how)
    return [head, *[Request(SignedItem())] * more]


def accepted(results: list[Result]) -> list[int]:
    firsts = [result.events[0] for result in results]
    return [event.order.order_id for event in firsts if isinstance(event, OrderAccepted)]


def test_a_replica_places_what_was_signed_for_the_account_that_signed() -> None:
    log = Log()
    (result,) = log.append(place(signer=BOB))
    (event, *_) = result.events
    assert isinstance(event, OrderAccepted)
    assert (event.order.account, event.order.price_ticks) == ("bob", 900)


def test_whatever_a_node_alters_is_refused() -> None:
    log = Log()
    honest, other = place(), json.dumps(ORDER | {"price": "10"}).encode()
    signature = honest.command.signature  # type: ignore[union-attr]
    for forged in (
        altered(honest, body=other),
        altered(honest, method="PATCH"),
        altered(honest, target="/v1/orders?dry_run=false"),
        altered(honest, target="/v1/orders/oco"),
        altered(honest, nonce="another"),
        altered(honest, timestamp="2023-11-14T22:13:21Z"),
        altered(honest, key_id="bob-signs"),
        altered(honest, signature=signature[:-1] + bytes([signature[-1] ^ 16])),
        altered(honest, signature=bytes(64)),
        msgspec.structs.replace(honest, idempotency_key="another"),
        place(signer=Signer("ann-signs", cluster_id="beef")),
        place(signer=Signer("ann-signs", cluster_id=CLUSTER_ID, seed=b"mallory")),
    ):
        assert log.refusal(forged) == ("bad_signature", "signature")
    assert accepted(log.append(honest)) == [1], "none of them has used the nonce"


def test_a_key_that_is_not_good_signs_nothing() -> None:
    log = Log()
    log.run(RevokeKey("ann", "ann-signs"))
    assert log.refusal(place()) == ("unauthenticated", "key_id")
    nobody = Signer("nobody", cluster_id=CLUSTER_ID)
    assert log.refusal(place(signer=nobody)) == ("unauthenticated", "key_id")
    digest = CreateKey("ann", "shown", KeyKind.BEARER, bytes(range(32)), TRADE, "")
    log.run(digest)
    shown = Signer("shown", cluster_id=CLUSTER_ID)
    assert log.refusal(place(signer=shown)) == ("unauthenticated", "key_id")


def test_a_key_signs_what_its_scopes_allow() -> None:
    log = Log()
    reader = Signer("reads", cluster_id=CLUSTER_ID, seed=b"reads")
    key = CreateKey("ann", "reads", KeyKind.ED25519, reader.public_key, int(Scope.READ), "")
    log.run(key)
    assert log.refusal(place(signer=reader)) == ("forbidden", "key_id")
    freeze = signed("PATCH", "/v1/accounts/ann", {"frozen": True})
    assert log.refusal(freeze) == ("forbidden", "key_id")


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_window_is_judged_by_the_logged_clock(sign: int) -> None:
    log = Log()
    edge = START_US + sign * SIGNATURE_WINDOW_US
    assert log.refusal(place(time_us=edge + sign, key="k")) == ("signature_expired", "timestamp")
    assert accepted(log.append(place(time_us=edge, key="k"))) == [1]


def test_a_signature_is_taken_once() -> None:
    log = Log()
    once = place(time_us=START_US + SIGNATURE_WINDOW_US, nonce="n")
    assert accepted(log.append(once)) == [1]
    assert log.refusal(once) == ("nonce_reused", "nonce")
    assert log.refusal(place(nonce="n")) == ("nonce_reused", "nonce"), "signed anew or not"
    assert accepted(log.append(place(nonce="n", signer=BOB))) == [2], "nonces are a key's own"
    log.time_us += NONCE_KEPT_US
    assert log.refusal(once) == ("nonce_reused", "nonce"), "to the last moment it could be good"
    log.time_us += 1
    assert log.refusal(once) == ("signature_expired", "timestamp")
    assert len(log.state.exchange.state.nonces) == 0


def test_a_refusal_by_a_rule_has_used_the_nonce() -> None:
    log = Log()
    body = ORDER | {"type": "limit", "post_only": True, "time_in_force": "ioc"}
    refused = signed("POST", "/v1/orders", body, nonce="n")
    assert log.refusal(refused) == ("invalid_combination", "post_only")
    assert log.refusal(refused) == ("nonce_reused", "nonce")


def test_deduplication_comes_before_time_and_nonce() -> None:
    log = Log()
    request = place(key="k", nonce="n")
    (first,) = log.append(request)
    log.time_us += 60_000_000
    (again,) = log.append(request)
    assert again.events == first.events
    assert again.replayed_sequence == first.sequence
    # Before the window comes who asks: nobody else reads the result, and no revoked key does.
    assert log.refusal(altered(request, signature=bytes(64)))[0] == "bad_signature"
    other = signed("POST", "/v1/orders", ORDER | {"price": "8"}, key="k", time_us=log.time_us)
    assert log.refusal(other) == ("idempotency_mismatch", "idempotency_key")
    log.run(RevokeKey("ann", "ann-signs"))
    assert log.refusal(request)[0] == "unauthenticated"


def test_an_amend_is_known_again_after_its_order_is_gone() -> None:
    log = Log()
    log.append(place())
    amend = signed("PATCH", "/v1/orders/1", {"price": "8"}, key="k")
    (first,) = log.append(amend)
    assert isinstance(first.events[0], OrderAmended)
    log.append(signed("DELETE", "/v1/orders/1"))
    (again,) = log.append(amend)
    assert again.events == first.events
    late = signed("PATCH", "/v1/orders/1", {"price": "7"})
    assert log.refusal(late) == ("not_open", "order_id")


def test_a_batch_has_one_signature_and_a_result_for_each_order() -> None:
    log = Log()
    requests = batch_of([ORDER, "none", ORDER], key="k", nonce="n")
    results = log.append(*requests, place())
    assert accepted(results) == [1, 2, 3]
    assert results[1].events == (CommandRefused(RejectCode.BAD_FIELD, "body"),)
    again = log.append(*requests)
    assert [result.events for result in again] == [result.events for result in results[:3]]
    assert all(result.replayed_sequence for result in again)
    for wrong in (requests[:1], batch_of([ORDER, ORDER], items=2), batch_of([ORDER], items=3)):
        with_count = [msgspec.structs.replace(wrong[0], followers=len(wrong) - 1), *wrong[1:]]
        assert log.refusal(*with_count) == ("bad_field", "body")


def test_a_batch_is_refused_as_a_whole() -> None:
    log = Log()
    head, *items = batch_of([ORDER, ORDER])
    assert log.refusal(altered(head, body=b"{}"), *items) == ("bad_signature", "signature")
    assert accepted(log.append(head, *items)) == [1, 2]
    assert log.refusal(head, *items) == ("nonce_reused", "nonce")


def test_what_cannot_be_read_is_refused_in_one_way() -> None:
    log = Log()
    for body in (b"", b"{", b"[]", b"\xff", b'{"a":1}', b"[" * 5_000, b'{"market":"X-Y"}'):
        assert log.refusal(signed("POST", "/v1/orders", body)) == ("bad_field", "body")
    dry = signed("POST", "/v1/orders?dry_run=true", ORDER)
    assert log.refusal(dry) == ("bad_field", "body")


def test_a_deadline_holds_for_signed_requests_too() -> None:
    log = Log()
    assert log.refusal(place(deadline_us=START_US - 1)) == ("deadline_passed", "deadline")


def test_where_orders_are_signed_nobody_moves_them_unsigned() -> None:
    log = Log()
    log.run(ChangeMarket("BTC-USD", *(None,) * 7, signed_orders=True))
    log.append(place())
    assert log.refusal(Request(CancelAll("ann", None, None)))[0] == "unauthenticated"
    assert log.append(Request(CancelAll("bob", None, None)))[0].events, "bob has none there"
    assert log.state.exchange.live.by_id


def test_nonces_stand_in_the_snapshot_and_in_the_hash() -> None:
    log, other = Log(), Log()
    once = place(nonce="n")
    log.append(once)
    other.append(place(nonce="m"))
    assert log.state.state_hash() != other.state.state_hash()
    restored = ReplicatedState.decode(log.state.encode())
    assert restored.encode() == log.state.encode()
    log.state.adopt(restored)
    assert log.refusal(once) == ("nonce_reused", "nonce")
    assert log.append(place()), "and whoever was restored opens signed requests as before"


def test_where_no_more_nonces_can_be_remembered_requests_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To forget one would be to take its signature twice."""
    monkeypatch.setattr(nonces, "NONCES_MAX", 2)
    log = Log()
    assert accepted(log.append(place(), place())) == [1, 2]
    assert log.refusal(place()) == ("limit_reached", "nonce")
    log.time_us += NONCE_KEPT_US + 1
    assert accepted(log.append(place(time_us=log.time_us))) == [3]


def test_a_tool_that_does_not_know_the_cluster_stops_at_a_signed_request() -> None:
    state = ReplicatedState()
    state.exchange.version = VERSIONS.newest
    with pytest.raises(CannotOpen):
        state.apply(1, 1, START_US, Batch("n1", 1, 1, [place()]))


def test_the_largest_signed_batch_fits_into_an_entry() -> None:
    body = b"x" * limits.SIGNED_BODY_BYTES_MAX
    target = "/" + "x" * (limits.SIGNED_TARGET_BYTES_MAX - 1)
    head = signed("POST", target, body, key="k" * 64, nonce="n" * 64, followers=499)
    requests = [head, *[Request(SignedItem())] * 499]
    assert encoded_size(requests[1]) <= limits.SIGNED_ITEM_BYTES_MAX
    assert sum(map(encoded_size, requests)) <= GROUP_BYTES_MAX
    batch = Batch("n1", 1, 1, requests)
    assert decode_batch(encode_batch(batch))[1] == batch


@pytest.mark.parametrize(
    "requests",
    [
        [Request(SignedItem())],
        [place(followers=1)],
        [place(), Request(SignedItem())],
        [place(followers=1), Request(SignedItem()), Request(SignedItem())],
        [place(followers=1), place()],
        [place(followers=1), Request(SignedItem(), "key")],
        [place(followers=-1)],
        [place(key_id="k")],
        [altered(place(), signature=bytes(63))],
        [altered(place(), nonce="a\nb")],
        [altered(place(), target="/v1/orders\n")],
        [altered(place(), timestamp="")],
        [altered(place(), key_id="")],
        [altered(place(), body=bytes(limits.SIGNED_BODY_BYTES_MAX + 1))],
    ],
)
def test_what_no_sender_could_have_signed_is_no_entry(requests: list[Request]) -> None:
    data = encode_batch(Batch("n1", 1, 1, requests))
    with pytest.raises(CodecError, match="signed"):
        decode_batch(data)
