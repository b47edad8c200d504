"""A batch of requests <-> the bytes of one log entry: versioned, bounded, total on garbage.

Layout: one byte version, eight bytes big-endian logged time in microseconds, then the msgpack of
a `Batch` as of that version. The time stands at a fixed place because the *leader* writes it at
append, into bytes that a follower may have encoded.

A batch is written in the active version (`matching/versions.py`), which all members read. What is
in an entry of an earlier version needs no later one: `decode_batch` sees to it.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from raft_exchange.decoding.signing import Signable
from raft_exchange.matching.filters import is_name
from raft_exchange.matching.limits import (
    BATCH_BYTES_MAX,
    BATCH_COMMANDS_MAX,
    SIGNATURE_BYTES,
    TIME_US_MAX,
)
from raft_exchange.matching.messages import Command, Message
from raft_exchange.matching.versions import VERSIONS, Versions, refuse_newer
from raft_exchange.sequencer.notices import NOTICES_MAX, Notice, is_bounded

_HEADER: Final = struct.Struct("!BQ")


class CodecError(ValueError):
    """The bytes are not an entry of this format; the message says where."""


class SignedRequest(Message, frozen=True, tag="signed"):
    """A request as its sender signed it: what it asks for is decoded where it is applied.

    `method`, `target` (path and query), `timestamp`, `nonce` and `body` are as they were sent;
    `signature` is of `decoding.signing.signed_bytes`, by the key of this id.
    """

    key_id: str
    timestamp: str
    nonce: str
    signature: bytes
    method: str
    target: str
    body: bytes

    def signable(self, idempotency_key: str) -> Signable:
        """Return what its sender signed, under the key that its `Request` carries."""
        own = (self.method, self.target, self.timestamp, self.nonce)
        return Signable(*own, idempotency_key, self.body)


class SignedItem(Message, frozen=True, tag="signed_item"):
    """One more order of the signed batch that stands in front of it: each has its own result."""


Asked = Command | SignedRequest | SignedItem


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One command, or a signed request for one, and how and until when it may be sequenced.

    `idempotency_key` is "" for none and belongs to the command's account. `deadline_us` is 0 for
    none; the request is refused with `deadline_passed` when the logged clock is beyond it.
    `key_id` names the key that authorised it, "" where none is asked for: the request is refused if
    that key is not good for it by then.
    `followers` counts the next requests that belong to the same idempotent batch: they are
    refused with it when its key is known for something else. Behind a `SignedRequest` that is a
    batch they are its `SignedItem`s, which say nothing of their own.
    """

    command: Asked
    idempotency_key: str = ""
    deadline_us: int = 0
    followers: int = 0
    key_id: str = ""


RELEASE: Final = Versions(
    VERSIONS.newest,
    {**VERSIONS.since, (Request, "key_id"): 2, SignedRequest: 3, SignedItem: 3},
)
"""What this release knows, of the exchange and of how it is asked."""


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The requests of one log entry and the session that numbers them.

    A session is (`node`, `boot`): `boot` grows with every start of the node, `number` counts its
    batches from 1 without gaps. `node` is "" for entries of the leader's clock and for notices,
    which have no session and no requests.
    """

    node: str
    boot: int
    number: int
    requests: list[Request]
    notices: tuple[Notice, ...] = ()


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Batch)


def encode_batch(
    batch: Batch, *, time_us: int = 0, version: int = RELEASE.newest, versions: Versions = RELEASE
) -> bytes:
    """Return the bytes of an entry, as of `version`. O(requests).

    Raises:
        AssertionError: more than `BATCH_COMMANDS_MAX` requests or `BATCH_BYTES_MAX` bytes (the
            batcher keeps below both), or a later version is needed (it was refused before).
    """
    assert len(batch.requests) <= BATCH_COMMANDS_MAX, len(batch.requests)
    assert version <= versions.newest, version
    data = _HEADER.pack(version, time_us) + versions.encode(batch, version)
    assert len(data) <= BATCH_BYTES_MAX, len(data)
    return data


def _are_signed_whole(requests: list[Request]) -> bool:
    """Say whether signed requests keep their bounds, and are followed by just their own items."""
    items = 0
    for request in requests:
        asked, is_item = request.command, type(request.command) is SignedItem
        if is_item is not (items > 0) or (is_item and request != _ITEM):
            return False
        items = items - 1 if is_item else 0
        if isinstance(asked, SignedRequest):
            if request.key_id or not 0 <= request.followers < BATCH_COMMANDS_MAX:
                return False
            if not _is_bounded(asked, request.idempotency_key):
                return False
            items = request.followers
    return items == 0


_ITEM: Final = Request(SignedItem())


def _is_bounded(signed: SignedRequest, idempotency_key: str) -> bool:
    return (
        is_name(signed.key_id)
        and len(signed.signature) == SIGNATURE_BYTES
        and signed.signable(idempotency_key).is_formed
    )


def encoded_size(request: Request) -> int:
    """Return how many bytes `request` adds to its batch."""
    return len(_encoder.encode(request))


def stamp(data: bytes, time_us: int) -> bytes:
    """Return the entry with its logged time replaced. O(bytes)."""
    assert 0 <= time_us <= TIME_US_MAX, time_us
    return _HEADER.pack(data[0], time_us) + data[_HEADER.size :]


def version_of(data: bytes) -> int:
    """Return the version of an entry."""
    return data[0]


def time_of(data: bytes) -> int:
    """Return the logged time of an entry, in microseconds."""
    return int(_HEADER.unpack_from(data)[1])


def decode_batch(data: bytes, versions: Versions = RELEASE) -> tuple[int, Batch]:
    """Return the logged time in microseconds and the batch.

    Raises:
        CodecError: a bound passed, more in it than its version knows, or not an entry at all.
        NewerVersion: written by a later release.
    """
    if len(data) < _HEADER.size or len(data) > BATCH_BYTES_MAX:
        raise CodecError(
            f"an entry of {len(data)} bytes; allowed {_HEADER.size}..{BATCH_BYTES_MAX}"
        )
    version, time_us = _HEADER.unpack_from(data)
    if version < 1:
        raise CodecError("version 0; the first is 1")
    refuse_newer("an entry of the log", version, versions.newest)
    if time_us > TIME_US_MAX:
        raise CodecError(f"logged time {time_us} us is beyond {TIME_US_MAX}")
    try:
        batch = _decoder.decode(memoryview(data)[_HEADER.size :])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CodecError(f"not a batch: {error}") from error
    if len(batch.requests) > BATCH_COMMANDS_MAX:
        raise CodecError(f"{len(batch.requests)} requests; allowed {BATCH_COMMANDS_MAX}")
    if not _are_signed_whole(batch.requests):
        raise CodecError("a signed request out of its bounds, or without all of its items")
    if batch.notices and batch.node:
        raise CodecError("notices in a batch of a session")
    if len(batch.notices) > NOTICES_MAX or not all(map(is_bounded, batch.notices)):
        raise CodecError(f"{len(batch.notices)} notices; allowed {NOTICES_MAX}, each bounded")
    if version < versions.newest and (needed := versions.needed_by(batch)) > version:
        raise CodecError(f"an entry of version {version} needs version {needed}")
    return time_us, batch
