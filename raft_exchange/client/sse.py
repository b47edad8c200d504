"""Server-sent events: bytes in, messages out. Pure.

Source: WHATWG HTML, "Server-sent events", parsing an event stream; `retry` is not used.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024


class TooLong(ValueError):
    """A message is longer than `MESSAGE_BYTES_MAX`."""


class SseMessage(NamedTuple):
    """One message; `id` is None where it carried none."""

    event: str
    data: bytes
    id: str | None


class SseParser:
    """Feed it what arrives, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._event = "message"
        self._data: list[bytes] = []
        self._id: str | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[SseMessage]:
        """Return the messages that are whole with `data`.

        Raises:
            TooLong: a message passes its bound.
        """
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        messages = []
        for line in lines:
            self._size += len(line)
            if self._size > MESSAGE_BYTES_MAX:
                raise TooLong(f"more than {MESSAGE_BYTES_MAX} bytes in one message")
            message = self._take(bytes(line.removesuffix(b"\r")))
            if message is not None:
                messages.append(message)
        if len(self._rest) > MESSAGE_BYTES_MAX:
            raise TooLong(f"more than {MESSAGE_BYTES_MAX} bytes in one line")
        return messages

    def _take(self, line: bytes) -> SseMessage | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                self._event = value.decode(errors="replace")
            case b"data":
                self._data.append(value)
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
        return None

    def _dispatch(self) -> SseMessage | None:
        message = SseMessage(self._event, b"\n".join(self._data), self._id)
        is_empty = not self._data
        self._event, self._data, self._id, self._size = "message", [], None, 0
        return None if is_empty else message
