"""A process that reads streams: `python -m tests.system.stream_readers PORT PATH COUNT`.

Prints `reading` once every reader has its first bytes; at the end of its input, one JSON line:
bytes read by all, and how many streams ended by themselves. It shares the machine with what is
measured, and so does as little as a reader can.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

BUFFER_BYTES = 256 * 1024
READY_S_MAX = 30.0


class Readers:
    """What all of them have read, into one buffer that nobody looks at."""

    def __init__(self, count: int) -> None:
        self.buffer = bytearray(BUFFER_BYTES)
        self.waited_for = count
        self.ready = asyncio.Event()
        self.bytes = 0
        self.ended = 0
        self.faults: list[str] = []


class Reader(asyncio.BufferedProtocol):
    def __init__(self, all_readers: Readers, request: bytes) -> None:
        self._all = all_readers
        self._request = request
        self._is_new = True

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._all.buffer

    def buffer_updated(self, size: int) -> None:
        readers = self._all
        readers.bytes += size
        if self._is_new:
            self._is_new = False
            if not readers.buffer.startswith(b"HTTP/1.1 200 "):
                readers.faults.append(bytes(readers.buffer[:size]).decode())
            readers.waited_for -= 1
            if not readers.waited_for:
                readers.ready.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._all.ended += 1


async def main(port: int, path: str, count: int) -> None:
    readers = Readers(count)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_connection(lambda: Reader(readers, request), "127.0.0.1", port)
    async with asyncio.timeout(READY_S_MAX):
        await readers.ready.wait()
    print("reading", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    found = {"bytes": readers.bytes, "ended": readers.ended, "faults": readers.faults}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
