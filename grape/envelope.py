"""What travels in an RPC call: `[rid, key, payload]` one way, `[rid, error, result]` the other.

This is the only decoder of the RPC layer. Rules:

1. Whatever a peer sends, decoding either succeeds or raises `GrenacheError`; any other exception is
   a bug here.
2. Whatever we send is a JSON array: a Node.js client dies of a JSON object, and waits for ever on
   an array with another rid.
3. Compression is of the whole body and is told by the header `grc-compress`, never by
   `Content-Encoding`. Unpacking stops at the caller's bound, so a bomb costs no more than that.
4. Errors are text only: no code travels. The texts that Node.js peers know are kept.
"""

import enum
import uuid
import zlib
from typing import Any, Final, NamedTuple

import msgspec

COMPRESS_HEADER: Final = "grc-compress"
COMPRESS_GZIP: Final = "gzip"
COMPRESS_NONE: Final = "none"
STREAM_HEADER: Final = "_gr"

DETAIL_CHARS_MAX: Final = 500
GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS  # 16 = with the gzip header and checksum


_RAW_PARTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class ErrorCode(enum.StrEnum):
    """Every way a call can fail on our side; the value is the text that Node.js peers use."""

    LOOKUP_EMPTY = "ERR_GRAPE_LOOKUP_EMPTY"
    TIMEOUT = "ERR_TIMEOUT"
    REQUEST_GENERIC = "ERR_REQUEST_GENERIC"
    REPLY_EMPTY = "ERR_REPLY_EMPTY"
    REPLY_COMPRESSION = "ERR_REPLY_ENCODING_COMPRESSION"
    TRANSPORT_CLOSE = "ERR_TRANSPORT_CLOSE"
    HEADER_PARSE_GR = "ERR_HEADER_PARSE_GR"
    # From here on ours: where a Node.js peer hangs, crashes, or has no bound.
    GRAPE_REFUSED = "ERR_GRAPE_REFUSED"
    REQUEST_INVALID = "ERR_REQUEST_INVALID"
    REQUEST_SIZE = "ERR_REQUEST_SIZE"
    REPLY_INVALID = "ERR_REPLY_INVALID"
    REPLY_SIZE = "ERR_REPLY_SIZE"
    HANDLER = "ERR_HANDLER"
    BUSY = "ERR_BUSY"


class GrenacheError(Exception):
    """A call failed before a handler's answer was read; the text starts with the code."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        self.code = code
        self.detail = detail[:DETAIL_CHARS_MAX]
        super().__init__(f"{code}: {self.detail}" if self.detail else str(code))


class RemoteError(Exception):
    """An error that travels in a reply: raised by handlers, and again at the caller.

    `result` may accompany the text, and is JSON.
    """

    def __init__(self, text: str, result: Any = None) -> None:
        assert text, "an empty error text reads as success"
        self.text = text
        self.result = result
        super().__init__(text)


class Call(NamedTuple):
    """A request as it was sent. `rid` is echoed; `key` names the service and is not yet checked."""

    rid: str | int | float
    key: str
    payload: Any


class Reply(NamedTuple):
    """A reply as it was sent. `error` is None on success."""

    rid: Any
    error: str | None
    result: Any


def new_rid() -> str:
    """A request id that no one else uses."""
    return str(uuid.uuid4())


def encode_json(value: Any) -> bytes:
    """Compact JSON; NaN becomes null, as in JavaScript."""
    return msgspec.json.encode(value)


def decode_json(data: bytes | str) -> Any:
    """Parse one JSON value. Raises ValueError on anything else, whatever the depth."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def encode_call(call: Call) -> bytes:
    """The body or frame of a request."""
    return encode_json(call)


def decode_call(data: bytes | str, *, header: str | None = None, raw_payload: bool = False) -> Call:
    """Parse a request; `header` is `_gr`, JSON `[rid, key]`, which goes before the body's own.

    Args:
        data: the body or frame.
        header: None where there was none.
        raw_payload: leave the payload as the bytes of its JSON text, which may be malformed.

    Raises:
        GrenacheError: HEADER_PARSE_GR or REQUEST_INVALID.
    """
    rid: Any = None
    key: Any = None
    if header is not None:
        try:
            rid, key = decode_json(header)
        except (ValueError, TypeError):
            raise GrenacheError(ErrorCode.HEADER_PARSE_GR) from None
    try:
        parts = _raw_parts(data) if raw_payload else decode_json(data)
    except ValueError as error:
        raise GrenacheError(ErrorCode.REQUEST_INVALID, str(error)) from None
    if not isinstance(parts, list) or len(parts) < 2:
        raise GrenacheError(ErrorCode.REQUEST_INVALID, "not [rid, key, payload]")
    rid = rid or parts[0]
    key = key or parts[1]
    if not isinstance(rid, str | int | float):
        raise GrenacheError(ErrorCode.REQUEST_INVALID, "rid is neither text nor a number")
    if not isinstance(key, str):
        raise GrenacheError(ErrorCode.REQUEST_INVALID, "key is not text")
    if len(parts) > 2:
        return Call(rid, key, parts[2])
    return Call(rid, key, b"null" if raw_payload else None)


def _raw_parts(data: bytes | str) -> list[Any]:
    """The parts of an array, the third one as its text. Raises ValueError."""
    try:
        parts = _RAW_PARTS.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    return [*map(decode_json, parts[:2]), *map(bytes, parts[2:])]


def encode_reply(reply: Reply) -> bytes:
    """The body or frame of a reply."""
    return encode_json(reply)


def decode_reply(data: bytes | str) -> Reply:
    """Parse a reply.

    Raises:
        GrenacheError: REPLY_EMPTY when it is not JSON or is null, false, 0 or ""; REPLY_INVALID
            when it is JSON of another shape.
    """
    try:
        parts = decode_json(data)
    except ValueError as error:
        raise GrenacheError(ErrorCode.REPLY_EMPTY, str(error)) from None
    if not isinstance(parts, list | dict) and not parts:
        raise GrenacheError(ErrorCode.REPLY_EMPTY)
    if not isinstance(parts, list) or len(parts) < 2:
        raise GrenacheError(ErrorCode.REPLY_INVALID, "not [rid, error, result]")
    text = parts[1] or None
    if text is not None and not isinstance(text, str):
        text = encode_json(text).decode()
    return Reply(parts[0], text, parts[2] if len(parts) > 2 else None)


def gzip(data: bytes) -> bytes:
    """Compress a whole body."""
    packer = zlib.compressobj(wbits=GZIP_WINDOW_BITS)
    return packer.compress(data) + packer.flush()


def gunzip(data: bytes, *, bytes_max: int) -> bytes | None:
    """Unpack a whole body; None if it is not gzip or is cut short.

    Raises:
        OverflowError: it unpacks to more than `bytes_max` bytes, of which no more were unpacked.
    """
    unpacker = zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
    try:
        unpacked = unpacker.decompress(data, bytes_max + 1)
    except zlib.error:
        return None
    if len(unpacked) > bytes_max:
        raise OverflowError(f"more than {bytes_max} bytes when unpacked")
    return unpacked if unpacker.eof else None
