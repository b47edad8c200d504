"""A process that reads streams: `python -m tests.system.stream_readers PORT PATH COUNT`.

Prints `reading` once every reader has its first bytes; at the end of its input, one JSON line:
bytes read by all, and how many streams ended by themselves.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

RECEIVE_BYTES = 4_096


async def read(port: int, path: str, ready: asyncio.Semaphore, totals: list[int]) -> None:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head, head
    ready.release()
    while data := await reader.read(65_536):
        totals[0] += len(data)
    totals[1] += 1


async def main(port: int, path: str, count: int) -> None:
    ready, totals = asyncio.Semaphore(0), [0, 0]
    readers = [asyncio.create_task(read(port, path, ready, totals)) for _ in range(count)]
    for _ in range(count):
        await ready.acquire()
    print("reading", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for reader in readers:
        reader.cancel()
    results = await asyncio.gather(*readers, return_exceptions=True)
    faults = [repr(r) for r in results if isinstance(r, Exception)]
    print(json.dumps({"bytes": totals[0], "ended": totals[1], "faults": faults}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
