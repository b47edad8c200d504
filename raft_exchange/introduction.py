"""How nodes introduce themselves to each other over HTTP, and when that is believed. Pure.

A node that found an address asks it `GET /v1/node?nonce=<hex>`. The answer is

    {"statement": {...}, "nonce": "<hex>", "proof": "<hex>"}

where the proof is an HMAC over the nonce and the statement's bytes exactly as they stand there,
under a key that only this purpose has. So the statement was made by a holder of the cluster secret
after the question was asked: a recording is worth nothing, and whoever passes question and answer
on has only told where a member is. Nothing is parsed before its size is bounded, and nothing of a
statement is looked at before its proof.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from raft_exchange.raft.formation import Statement
from raft_exchange.raft.proof import sign, verify

PATH: Final = "/v1/node"
NONCE_BYTES: Final = 16
INTRODUCTION_BYTES_MAX: Final = 32 * 1024
"""256 refused lists and 9 members take about 16 KiB."""

_PURPOSE: Final = "introduction"


class Distrust(StrEnum):
    """Why an address is not taken for a node of the cluster."""

    UNREACHABLE = "unreachable"
    """Nobody answers there, or too late."""
    MALFORMED = "malformed"
    """Whatever answers there is no node of ours, or answers too much."""
    WRONG_SECRET = "wrong_secret"
    """It answers as a node, and does not hold our cluster's secret."""
    WRONG_CLUSTER = "wrong_cluster"
    """It holds the secret, and states that it belongs to a cluster of another name."""


class Distrusted(Exception):
    """The answer is not believed."""

    def __init__(self, reason: Distrust) -> None:
        super().__init__(reason.value)
        self.reason = reason


class _Introduction(msgspec.Struct):
    statement: msgspec.Raw
    nonce: str
    proof: str


def introduce(statement: Statement, *, nonce: str, secret: bytes) -> bytes:
    """Return the answer to a question with that nonce, JSON; without a nonce there is no proof."""
    raw = msgspec.json.encode(statement)
    proof = ""
    if nonce:
        proof = sign(secret, _PURPOSE, nonce.encode(), raw).hex()
    return msgspec.json.encode(_Introduction(msgspec.Raw(raw), nonce, proof))


def believe(data: bytes, *, nonce: str, cluster: str, secret: bytes) -> Statement:
    """Return the statement in an answer to a question with that nonce.

    Raises:
        Distrusted: it is not proved, or not of this cluster.
    """
    assert nonce, "a question without a nonce proves nothing"
    if len(data) > INTRODUCTION_BYTES_MAX:
        raise Distrusted(Distrust.MALFORMED)
    try:
        answer = msgspec.json.decode(data, type=_Introduction)
        proof = bytes.fromhex(answer.proof)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Distrusted(Distrust.MALFORMED) from error
    raw = bytes(answer.statement)
    if not verify(secret, _PURPOSE, proof, nonce.encode(), raw):
        raise Distrusted(Distrust.WRONG_SECRET)
    try:
        statement = msgspec.json.decode(raw, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Distrusted(Distrust.MALFORMED) from error
    if statement.cluster != cluster:
        raise Distrusted(Distrust.WRONG_CLUSTER)
    return statement
