"""Opening signed requests: who signed, what they asked. The same on every replica.

Rules of this file:

- The key, the signature over exactly these bytes, and the body are looked at here, in this order;
  the idempotency window comes next, then the time of the signature and its nonce (`state`).
- Nothing that a node says of a signed request counts but its deadline, which is not signed: a node
  can refuse to pass a request on, and neither change nor invent one.
- A body that cannot be read is refused in one way, whatever is wrong with it: which fault is found
  first is not promised by the decoder, and replicas must not differ over it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from raft_exchange.decoding.errors import Problem
from raft_exchange.decoding.operations import decode_operation
from raft_exchange.decoding.signing import is_public_key, is_signature, signed_bytes
from raft_exchange.decoding.times import NotATime, parse_time_us
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import Command, CommandRefused, RejectCode
from raft_exchange.sequencer.codec import Request, SignedRequest

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether the holder of an Ed25519 public key, the first, made the signature that is the third over
the bytes that are the second. A pure function, the same one on every replica."""

UNKNOWN_KEY: Final = CommandRefused(RejectCode.UNAUTHENTICATED, "key_id")
BAD_SIGNATURE: Final = CommandRefused(RejectCode.BAD_SIGNATURE, "signature")
BAD_TIMESTAMP: Final = CommandRefused(RejectCode.BAD_FIELD, "timestamp")
UNREADABLE: Final = CommandRefused(RejectCode.BAD_FIELD, "body")


class Opened(NamedTuple):
    """What a signed request asks: for whom, when it was signed, one command for each result."""

    account: str
    timestamp_us: int
    commands: list[Command | CommandRefused]


class Signatures:
    """Opens the signed requests of one cluster."""

    def __init__(self, cluster_id: str, verify: Verify) -> None:
        self._cluster_id = cluster_id
        self._verify = verify

    def open(self, exchange: Exchange, head: Request) -> Opened | CommandRefused:
        """Return what a signed request asks for by now, or why it asks for nothing."""
        signed = head.command
        assert isinstance(signed, SignedRequest)
        held = exchange.signing_key(signed.key_id)
        if held is None:
            return UNKNOWN_KEY
        if not self.is_good(held.key.secret, signed, head.idempotency_key):
            return BAD_SIGNATURE
        try:
            timestamp_us = parse_time_us(signed.timestamp)
        except NotATime:
            return BAD_TIMESTAMP
        commands = _commands(exchange, held.account, signed)
        if len(commands) != 1 + head.followers:
            return UNREADABLE
        readable = next((one for one in commands if not isinstance(one, CommandRefused)), None)
        if readable is not None:
            refused = exchange.refuse_key(signed.key_id, readable)
            if refused is not None:
                return refused
        return Opened(held.account, timestamp_us, commands)

    def is_good(self, public_key: bytes, signed: SignedRequest, idempotency_key: str) -> bool:
        """Say whether the holder of a public key signed exactly this."""
        if not is_public_key(public_key) or not is_signature(signed.signature):
            return False
        message = signed_bytes(self._cluster_id, signed.signable(idempotency_key))
        return self._verify(public_key, message, signed.signature)


def _commands(
    exchange: Exchange, account: str, signed: SignedRequest
) -> list[Command | CommandRefused]:
    try:
        found = decode_operation(
            signed.method,
            signed.target,
            signed.body,
            account=account,
            markets=exchange.markets,
            rules_of_order=exchange.rules_of_order,
        )
    except Problem:
        return [UNREADABLE]
    return [UNREADABLE if command is None else command for command in found]


def signed_fingerprint(signed: SignedRequest, position: int) -> bytes:
    """Return 16 bytes that tell what was asked, and which order of a batch, from anything else.

    Not of the decoded command: an amend of an order that is gone can no more be decoded, and its
    repeat must still be known.
    """
    asked = ("signed", signed.method, signed.target, signed.body, position)
    return hashlib.blake2b(msgspec.msgpack.encode(asked), digest_size=16).digest()
