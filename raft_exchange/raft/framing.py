"""What flows between two members after the handshake: sealed frames, and the messages in them.

    frame = length (4 bytes, big-endian, of what follows) | AES-256-GCM(payload), its tag last

The nonce is the frame's number in its direction and is never sent: a frame that was repeated,
dropped or moved is opened under another number and fails, exactly like one that was changed. The
length is authenticated too. It is judged before anything is buffered, so a peer makes us hold one
frame and one read at most.

An empty payload is a ping: it says that the sender lives. Any other payload is the msgpack of one
`WireMessage`; nothing else is ever decoded, and nothing is ever unpickled.

Rule of this file: a peer's fault is a `FrameError`, after which the connection must be closed.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from raft_exchange.raft.wire import (
    MESSAGE_BYTES_MAX,
    AppendEntries,
    SnapshotChunk,
    WireMessage,
)

TAG_BYTES: Final = 16
LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = LENGTH_BYTES + MESSAGE_BYTES_MAX + TAG_BYTES

FRAMES_MAX: Final = 2**32
"""Frames under one key: far below AES-GCM's limits, and months at full speed. Then reconnect."""

_LENGTH: Final = struct.Struct("!I")
_NONCE: Final = struct.Struct("!4xQ")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WireMessage)


class FrameError(ValueError):
    """The peer's bytes are not the next frame, or not a message. The text says why."""


class FrameWriter:
    """Seals the payloads of one direction.

    Args:
        key: 32 bytes that nothing else was ever encrypted with.
        frames_max: the frames this key may seal.
    """

    def __init__(self, key: bytes, *, frames_max: int = FRAMES_MAX) -> None:
        self._cipher = AESGCM(key)
        self._number = 0
        self._frames_max = frames_max

    @property
    def spent(self) -> bool:
        """Whether the key has sealed all it may; a new connection brings a new key."""
        return self._number >= self._frames_max

    def frame(self, payload: bytes) -> bytes:
        """Return the next frame of the stream. O(bytes).

        Raises:
            AssertionError: the payload is over `MESSAGE_BYTES_MAX`, or the key is spent.
        """
        assert len(payload) <= MESSAGE_BYTES_MAX, len(payload)
        assert not self.spent, "a nonce is never used twice"
        length = _LENGTH.pack(len(payload) + TAG_BYTES)
        nonce = _NONCE.pack(self._number)
        self._number += 1
        return length + self._cipher.encrypt(nonce, payload, length)


class FrameReader:
    """Opens the frames of one direction: `feed` bytes, then take `next_payload` until None.

    Args:
        key: the key of the peer's `FrameWriter`.
        frames_max: as there.
    """

    def __init__(self, key: bytes, *, frames_max: int = FRAMES_MAX) -> None:
        self._cipher = AESGCM(key)
        self._number = 0
        self._frames_max = frames_max
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished frame is held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what was read; drain it with `next_payload` before feeding again."""
        self._buffer += data

    def next_payload(self) -> bytes | None:
        """Return the next payload, or None when more bytes are needed. O(bytes).

        Raises:
            FrameError: the stream is broken here and stays so.
        """
        if len(self._buffer) < LENGTH_BYTES:
            return None
        (sealed_bytes,) = _LENGTH.unpack_from(self._buffer)
        if not TAG_BYTES <= sealed_bytes <= MESSAGE_BYTES_MAX + TAG_BYTES:
            raise FrameError(f"a frame of {sealed_bytes} bytes was announced")
        end = LENGTH_BYTES + sealed_bytes
        if len(self._buffer) < end:
            return None
        if self._number >= self._frames_max:
            raise FrameError("the key is spent")
        payload = self._open(end)
        self._number += 1
        del self._buffer[:end]
        return payload

    def _open(self, end: int) -> bytes:
        length = bytes(self._buffer[:LENGTH_BYTES])
        # Views, because a frame may have megabytes; released before the buffer is cut.
        with memoryview(self._buffer) as view, view[LENGTH_BYTES:end] as sealed:
            try:
                return self._cipher.decrypt(_NONCE.pack(self._number), sealed, length)
            except InvalidTag:
                raise FrameError(f"frame {self._number} does not open") from None


def encode_message(message: WireMessage) -> bytes:
    """Return the payload of a message. O(bytes)."""
    return _encoder.encode(message)


def decode_message(payload: bytes) -> WireMessage:
    """Return the one message in a payload. O(bytes).

    Raises:
        FrameError: not a message of the closed list, or one of its bounds is passed.
    """
    try:
        message: WireMessage = _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FrameError(f"not a message: {error}") from error
    match message:
        case AppendEntries():
            _check_run(message)
        case SnapshotChunk(size_bytes=size_bytes, offset=offset, data=data):
            if offset + len(data) > size_bytes:
                raise FrameError(f"a chunk at {offset} of {size_bytes} bytes")
    return message


def _check_run(message: AppendEntries) -> None:
    """A leader's entries follow each other without a gap, in terms that rise up to its own."""
    index, term = message.previous_index, message.previous_term
    for entry in message.entries:
        if entry.index != index + 1 or entry.term < term:
            raise FrameError(
                f"entry {entry.index} of term {entry.term} after {index} of term {term}"
            )
        index, term = entry.index, entry.term
    if term > message.term:
        raise FrameError(f"an entry of term {term} from a leader of term {message.term}")
