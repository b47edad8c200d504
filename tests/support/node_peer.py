"""A stock Node.js Grenache peer (`tests/interop/peer.js`), told what to do from a test."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.support.node_modules import INTEROP, STOP_S_MAX, node_command, node_environment

ANSWER_S_MAX: Final = 30.0


class NodeError(Exception):
    """What a stock peer gave its callback as an error."""


class NodePeer:
    """Commands go in as lines of JSON; answers and events come out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._count = 0

    async def do(self, what: str, **arguments: Any) -> Any:
        """Carry out one command and return its result. Raises NodeError."""
        self._count += 1
        command = {"id": self._count, "do": what, **arguments}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[self._count] = answer
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(ANSWER_S_MAX):
            return await answer

    async def event(self) -> tuple[str, Any]:
        """The next thing that happened by itself: its name and its data."""
        async with asyncio.timeout(ANSWER_S_MAX):
            event = await self._events.get()
        return event["event"], event.get("data")

    async def read(self) -> None:
        """Sort what the peer says until it ends; then fail whoever waits."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            message = json.loads(line)
            if "event" in message:
                self._events.put_nowait(message)
                continue
            answer = self._answers.pop(message["id"])
            if message["error"] is not None:
                answer.set_exception(NodeError(message["error"]))
            else:
                answer.set_result(message.get("result"))
        for answer in self._answers.values():
            answer.set_exception(NodeError("the Node.js peer died"))


@contextlib.asynccontextmanager
async def node_peer(grape_url: str) -> AsyncIterator[NodePeer]:
    """One process with a stock link to the grape at `grape_url`; must be alive at the end."""
    process = await asyncio.create_subprocess_exec(
        *node_command(INTEROP / "peer.js"),
        grape_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=node_environment(),
        limit=16 * 1024 * 1024,
    )
    peer = NodePeer(process)
    reader = asyncio.create_task(peer.read(), name="read a Node.js peer")
    try:
        yield peer
        assert process.returncode is None, "the stock peer survived what we sent it"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader
