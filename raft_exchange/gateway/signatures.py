"""Requests that are signed instead of showing a key: their headers, and who signed them.

Rules:
- What places, changes or ends orders goes into the log as it was signed, and is judged there by
  every replica: signature, time, nonce. Here the signature is looked at first, so that what no
  replica would take does not fill the log; its time is not, since a repeat of what was sequenced
  in time is answered however late it comes.
- A read is judged here alone, by this node's clock. A dry run is, too, and never goes into the log.
- Nothing else can be signed: it takes a key that is shown.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import TIME_FORM, is_label
from raft_exchange.decoding.operations import may_be_signed
from raft_exchange.decoding.times import NotATime, parse_time_us
from raft_exchange.gateway.bodies import BODY_BYTES_MAX, body_bytes
from raft_exchange.gateway.context import Context
from raft_exchange.marketdata.keys import OwnedKey
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    NONCE_BYTES_MAX,
    SIGNATURE_BYTES,
    SIGNATURE_WINDOW_US,
    SIGNED_BODY_BYTES_MAX,
    SIGNED_TARGET_BYTES_MAX,
)
from raft_exchange.matching.messages import KeyKind
from raft_exchange.sequencer.codec import SignedRequest

SIGNATURE_HEADERS: Final = ("X-Key-Id", "X-Timestamp", "X-Nonce", "X-Signature")
BATCH_PATH: Final = "/v1/orders/batch"
READS: Final = frozenset({"GET", "HEAD"})
WITH_BODY: Final = frozenset({"POST", "PATCH"})
SIGNED: Final = web.RequestKey("signed", SignedRequest)
"""What a request was signed as, if it goes into the log."""


def is_signed(request: web.Request) -> bool:
    """Say whether a request means to be signed; `X-Nonce` alone stands in other proofs, too."""
    return "X-Signature" in request.headers or "X-Key-Id" in request.headers


async def signer_of(request: web.Request, context: Context) -> OwnedKey:
    """Return the key that signed a request; note what goes into the log as it was signed.

    Raises:
        Problem: `bad_field` for a header, `unauthenticated` for a key that is not good,
            `bad_signature`, or `signature_expired` for a read.
    """
    if "Authorization" in request.headers:
        detail = "a request shows a key or is signed, not both"
        raise Problem(ErrorCode.UNAUTHENTICATED, detail, field="Authorization")
    is_read = request.method in READS
    if not is_read and not may_be_signed(request.method, request.raw_path):
        detail = "this cannot be signed; show a key"
        raise Problem(ErrorCode.UNAUTHENTICATED, detail, field="X-Signature")
    signed = _signed(request, await _body(request))
    owned = context.marketdata.keys.by_id(signed.key_id)
    if owned is None or owned.key.kind is not KeyKind.ED25519 or owned.key.revoked_at_us:
        raise Problem(
            ErrorCode.UNAUTHENTICATED,
            "the key is unknown or was revoked, or is none that signs",
            field="X-Key-Id",
            value=signed.key_id,
            allowed="the id of an Ed25519 key of this exchange that is not revoked",
        )
    key = request.headers.get("Idempotency-Key", "")
    if key and not is_label(key, IDEMPOTENCY_KEY_BYTES_MAX):
        raise _bad(
            "Idempotency-Key", f"1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
        )
    if not signed.signable(key).is_formed:
        allowed = f"path and query of up to {SIGNED_TARGET_BYTES_MAX} printable ASCII characters"
        raise Problem(ErrorCode.BAD_FIELD, "this cannot be signed", field="path", allowed=allowed)
    if not context.core.has_signed(owned.key.secret, signed, key):
        raise Problem(
            ErrorCode.BAD_SIGNATURE,
            "the key of this id did not sign this request",
            field="X-Signature",
            allowed="a signature over the bytes that GET /openapi.json describes",
        )
    if is_read:
        _refuse_expired(signed.timestamp)
    else:
        request[SIGNED] = signed
    return owned


async def _body(request: web.Request) -> bytes:
    if request.method not in WITH_BODY:
        return b""
    is_batch = request.path == BATCH_PATH
    return await body_bytes(
        request, bytes_max=SIGNED_BODY_BYTES_MAX if is_batch else BODY_BYTES_MAX
    )


def _signed(request: web.Request, body: bytes) -> SignedRequest:
    sent: dict[str, str] = {}
    for name in SIGNATURE_HEADERS:
        values = request.headers.getall(name, [])
        if len(values) != 1:
            raise _bad(name, f"one of each: {', '.join(SIGNATURE_HEADERS)}")
        sent[name] = values[0]
    key_id, timestamp, nonce, signature = sent.values()
    if not is_name(key_id):
        raise _bad("X-Key-Id", "the id of a key")
    if not is_label(nonce, NONCE_BYTES_MAX):
        raise _bad("X-Nonce", f"1 to {NONCE_BYTES_MAX} printable ASCII characters")
    try:
        parse_time_us(timestamp)
    except NotATime:
        raise _bad("X-Timestamp", TIME_FORM) from None
    proof = _signature(signature)
    return SignedRequest(key_id, timestamp, nonce, proof, request.method, request.raw_path, body)


def _signature(text: str) -> bytes:
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if len(signature) != SIGNATURE_BYTES:
        raise _bad("X-Signature", f"the {SIGNATURE_BYTES} bytes of a signature in base64")
    return signature


def _refuse_expired(timestamp: str) -> None:
    if abs(time.time_ns() // 1_000 - parse_time_us(timestamp)) > SIGNATURE_WINDOW_US:
        raise Problem(
            ErrorCode.SIGNATURE_EXPIRED,
            "the time of the signature is not that of this node",
            field="X-Timestamp",
            value=timestamp,
            allowed=f"within {SIGNATURE_WINDOW_US // 1_000_000} s of now",
        )


def _bad(name: str, allowed: str) -> Problem:
    return Problem(
        ErrorCode.BAD_FIELD, f"{name} is missing or malformed", field=name, allowed=allowed
    )
