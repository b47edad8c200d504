"""A batch of requests <-> the bytes of one log entry: versioned, bounded, total on garbage.

Layout: one byte format version, eight bytes big-endian logged time in microseconds, then the
msgpack of a `Batch`. The time stands at a fixed place because the *leader* writes it at append,
into bytes that a follower may have encoded.

Readers before writers: a release decodes version N and N-1, and only the release after it may
encode N; otherwise the first upgraded node would stop those that are not upgraded yet.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from raft_exchange.matching.limits import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, TIME_US_MAX
from raft_exchange.matching.messages import Command

FORMAT_VERSION: Final = 1
_HEADER: Final = struct.Struct("!BQ")


class CodecError(ValueError):
    """The bytes are not an entry of this format; the message says where."""


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One command, and how it may be repeated and until when it may be sequenced.

    `idempotency_key` is "" for none and belongs to the command's account. `deadline_us` is 0 for
    none; the request is refused with `deadline_passed` when the logged clock is beyond it.
    `followers` counts the next requests that belong to the same idempotent batch: they are
    refused with it when its key is known for something else.
    """

    command: Command
    idempotency_key: str = ""
    deadline_us: int = 0
    followers: int = 0


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The requests of one log entry and the session that numbers them.

    A session is (`node`, `boot`): `boot` grows with every start of the node, `number` counts its
    batches from 1 without gaps. `node` is "" for entries of the leader's clock, which have no
    session and no requests.
    """

    node: str
    boot: int
    number: int
    requests: list[Request]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


def encode_batch(batch: Batch, *, time_us: int = 0) -> bytes:
    """Return the bytes of an entry. O(requests).

    Raises:
        AssertionError: more than `BATCH_COMMANDS_MAX` requests or `BATCH_BYTES_MAX` bytes; the
            batcher keeps below both.
    """
    assert len(batch.requests) <= BATCH_COMMANDS_MAX, len(batch.requests)
    data = _HEADER.pack(FORMAT_VERSION, time_us) + _encoder.encode(batch)
    assert len(data) <= BATCH_BYTES_MAX, len(data)
    return data


def encoded_size(request: Request) -> int:
    """Return how many bytes `request` adds to its batch."""
    return len(_encoder.encode(request))


def stamp(data: bytes, time_us: int) -> bytes:
    """Return the entry with its logged time replaced. O(bytes)."""
    assert 0 <= time_us <= TIME_US_MAX, time_us
    return _HEADER.pack(data[0], time_us) + data[_HEADER.size :]


def time_of(data: bytes) -> int:
    """Return the logged time of an entry, in microseconds."""
    return int(_HEADER.unpack_from(data)[1])


def decode_batch(data: bytes) -> tuple[int, Batch]:
    """Return the logged time in microseconds and the batch.

    Raises:
        CodecError: another version, a bound passed, or not an entry at all.
    """
    if len(data) < _HEADER.size or len(data) > BATCH_BYTES_MAX:
        raise CodecError(
            f"an entry of {len(data)} bytes; allowed {_HEADER.size}..{BATCH_BYTES_MAX}"
        )
    version, time_us = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise CodecError(f"entry format {version}; this release reads {FORMAT_VERSION}")
    if time_us > TIME_US_MAX:
        raise CodecError(f"logged time {time_us} us is beyond {TIME_US_MAX}")
    try:
        batch = _decoder.decode(memoryview(data)[_HEADER.size :])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CodecError(f"not a batch: {error}") from error
    if len(batch.requests) > BATCH_COMMANDS_MAX:
        raise CodecError(f"{len(batch.requests)} requests; allowed {BATCH_COMMANDS_MAX}")
    return time_us, batch
