"""The workload of the real rounds: clients that trade at real nodes and keep a history.

An operation is a limit order with a label and an idempotency key of its own, or a linearizable read
of one. Its outcome is `OK` (the answer is kept), `FAILED` (the node said that nothing happened) or
`UNKNOWN` (no answer, or one that says so). Half of the unknown ones are asked for again under their
key, as a trader's program would: then the outcome of the first request is learnt, or not.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from enum import Enum
from typing import Any

import aiohttp

from tests.support.processes import Client, NodeProcess

PAUSE_S = 0.01
ASK_AGAIN_MAX = 20
REQUEST_S_MAX = 8.0
READ_SHARE = 0.2
ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


class Outcome(Enum):
    OK = "ok"
    FAILED = "fail"
    UNKNOWN = "unknown"


class Operation:
    """One order, or one read where `order` is None; in monotonic seconds."""

    def __init__(self, label: str, order: dict[str, str] | None, now_s: float) -> None:
        self.label = label
        self.order = order
        self.invoked_s = now_s
        self.completed_s: float | None = None
        self.outcome = Outcome.UNKNOWN
        self.answer: Any = None
        self.sequence = 0

    def succeeded(self, answer: Any, sequence: int, now_s: float) -> None:
        self.outcome, self.answer, self.sequence = Outcome.OK, answer, sequence
        self.completed_s = now_s


class Trading:
    """So many clients, spread over the nodes; a client whose node fails it goes to the next."""

    def __init__(self, client: Client, *, clients: int = 6, seed: int = 0) -> None:
        self.history: list[Operation] = []
        self.problems: Counter[str] = Counter()
        self._client = client
        self._clients = clients
        self._seed = seed
        self._labels = itertools.count()
        self._is_stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._trade(n)) for n in range(self._clients)]

    async def stop(self) -> None:
        self._is_stopped = True
        await asyncio.gather(*self._tasks)

    def count(self, outcome: Outcome) -> int:
        return sum(operation.outcome is outcome for operation in self.history)

    async def _trade(self, number: int) -> None:
        draw = random.Random(f"{self._seed}/{number}")
        nodes = self._client.cluster.nodes
        at = number % len(nodes)
        last_order_id = ""
        while not self._is_stopped:
            if last_order_id and draw.random() < READ_SHARE:
                operation = await self._read(nodes[at], last_order_id)
            else:
                operation = await self._place(nodes[at], draw)
                for _ in range(ASK_AGAIN_MAX if draw.random() < 0.5 else 0):
                    if operation.outcome is not Outcome.UNKNOWN:
                        break
                    at = (at + 1) % len(nodes)
                    await asyncio.sleep(0.1)
                    await self._send(operation, nodes[at])
            if operation.outcome is not Outcome.OK:
                at = (at + 1) % len(nodes)
            elif operation.order is not None:
                last_order_id = operation.answer["order"]["order_id"]
            await asyncio.sleep(PAUSE_S)

    async def _place(self, node: NodeProcess, draw: random.Random) -> Operation:
        label = f"order-{self._seed}-{next(self._labels)}"
        order = {
            "market": "BTC-USD",
            "side": draw.choice(("buy", "sell")),
            "type": "limit",
            "price": str(draw.randrange(90, 111)),
            "quantity": str(draw.randrange(1, 6)),
            "client_order_id": label,
        }
        operation = Operation(label, order, time.monotonic())
        self.history.append(operation)
        if await self._send(operation, node):
            operation.outcome = Outcome.FAILED
        return operation

    async def _send(self, operation: Operation, node: NodeProcess) -> bool:
        """Ask once; return whether this request certainly did nothing."""
        key = {"Idempotency-Key": operation.label}
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                status, answer = await self._client.call(
                    node, "POST", "/v1/orders", operation.order, key
                )
        except aiohttp.ClientConnectorError:
            self.problems["not connected"] += 1
            return True
        except ERRORS:
            self.problems["no answer"] += 1
            return False
        if status == 201:
            operation.succeeded(answer, answer["sequence"], time.monotonic())
            return False
        assert status == 503, answer
        self.problems[answer["code"]] += 1
        return bool(answer["code"] != "outcome_unknown")

    async def _read(self, node: NodeProcess, order_id: str) -> Operation:
        operation = Operation("", None, time.monotonic())
        operation.outcome = Outcome.FAILED  # a read that gets no answer did nothing
        self.history.append(operation)
        path = f"/v1/orders/{order_id}?consistency=linearizable"
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                status, answer = await self._client.call(node, "GET", path)
        except ERRORS:
            return operation
        if status == 200:
            operation.succeeded(answer, answer["sequence"], time.monotonic())
        else:
            assert status == 503, answer
        return operation
