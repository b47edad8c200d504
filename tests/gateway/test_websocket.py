"""Streams and orders on one WebSocket, and what hostile frames get."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from raft_exchange.gateway import streams as hub
from raft_exchange.gateway import subscribers
from raft_exchange.gateway.bodies import BATCH_BYTES_MAX, BODY_BYTES_MAX
from raft_exchange.gateway.channels import CHANNELS_MAX
from raft_exchange.gateway.subscribers import Subscriber
from raft_exchange.gateway.websocket import IN_FLIGHT_MAX
from tests.support.coroutines import eventually, in_loop
from tests.support.fake_core import NO_LEADER
from tests.support.gateway import Gateway, gateway
from tests.support.scenario_commands import read
from tests.support.stream_reader import BookReader

ORDER = {"market": "BTC-USD", "side": "buy", "type": "limit", "quantity": "1", "price": "99"}


class Socket:
    """A client that knows answers (they have an `id`) from messages of channels."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[Any] = []

    async def send(self, frame: object) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def receive(self) -> Any:
        return json.loads((await self.socket.receive()).data)

    async def answer(self) -> Any:
        """Return the next answer; messages that come before it are kept."""
        while "status" not in (received := await self.receive()):
            self.messages.append(received)
        return received

    async def call(self, **frame: object) -> Any:
        await self.send({"id": "x"} | frame)
        return await self.answer()

    async def message(self) -> Any:
        return self.messages.pop(0) if self.messages else await self.receive()


@asynccontextmanager
async def socket_to(
    g: Gateway, *, receive_buffer_bytes: int = 0, **headers: str
) -> AsyncIterator[Socket]:
    url = f"http://127.0.0.1:{g.port}/v1/ws"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}

    def made(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        one = socket.socket(family, kind, protocol)
        if receive_buffer_bytes:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        return one

    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=made)) as session,
        session.ws_connect(url, headers=sent, max_msg_size=0) as opened,
    ):
        yield Socket(opened)


@in_loop
async def test_an_order_is_answered_as_over_http() -> None:
    async with gateway() as g, socket_to(g) as ws:
        placed = await ws.call(op="place", id="a", order=ORDER | {"side": "sell"})
        assert (placed["id"], placed["status"]) == ("a", 201)
        shown = (await g.call("GET", "/v1/orders/1")).body["order"]
        assert placed["result"]["order"] == shown
        taken = await ws.call(op="place", id=7, order=ORDER)
        assert (taken["id"], taken["result"]["trades"][0]["price"]) == (7, "99")
        assert taken["result"]["sequence"] == g.core.exchange.sequence


@in_loop
async def test_amend_cancel_and_batch() -> None:
    async with gateway() as g, socket_to(g) as ws:
        batch = await ws.call(op="batch", orders=[ORDER, ORDER | {"price": "x"}])
        assert batch["status"] == 200
        assert batch["result"]["results"][1]["error"]["code"] == "bad_field"
        amended = await ws.call(op="amend", order={"order_id": "1", "price": "98"})
        assert (amended["status"], amended["result"]["order"]["price"]) == (200, "98")
        canceled = await ws.call(op="cancel", order={"order_id": 1})
        assert canceled["result"]["order"]["status"] == "canceled"
        await ws.call(op="place", order=ORDER | {"client_order_id": "mine"})
        canceled = await ws.call(op="cancel", order={"client_order_id": "mine"})
        assert (canceled["status"], canceled["result"]["order"]["order_id"]) == (200, "2")


@in_loop
async def test_refusals_are_the_problems_of_http() -> None:
    async with gateway() as g, socket_to(g) as ws:
        refused = await ws.call(op="cancel", order={"order_id": "9"})
        error = refused["error"]
        assert (refused["status"], error["code"]) == (404, "unknown_order")
        assert {"type", "title", "detail", "request_id", "field", "value"} <= error.keys()
        off_tick = await ws.call(op="place", order=ORDER | {"price": "99.001"})
        assert (off_tick["status"], off_tick["error"]["code"]) == (422, "off_tick")
        g.core.answer = NO_LEADER
        assert (await ws.call(op="place", order=ORDER))["error"]["code"] == "no_leader"


@in_loop
async def test_a_key_makes_an_order_safe_to_send_again_on_another_socket() -> None:
    async with gateway() as g:
        async with socket_to(g) as ws:
            first = await ws.call(op="place", order=ORDER, idempotency_key="k")
        async with socket_to(g) as ws:
            again = await ws.call(op="place", order=ORDER, idempotency_key="k")
            assert again == first | {"replayed": True}
            other = await ws.call(op="place", order=ORDER | {"price": 1}, idempotency_key="k")
            assert other["error"]["code"] == "idempotency_mismatch"
        over_http = await g.call("POST", "/v1/orders", ORDER, Idempotency_Key="k")
        assert over_http.body == first["result"]


@in_loop
async def test_a_deadline_is_that_of_http() -> None:
    async with gateway() as g, socket_to(g) as ws:
        late = await ws.call(op="place", order=ORDER, deadline="2020-01-01T00:00:00Z")
        assert late["error"]["code"] == "deadline_passed"
        assert (await ws.call(op="place", order=ORDER, deadline="soon"))["status"] == 400


@in_loop
async def test_many_orders_are_in_flight_and_answered_by_their_ids() -> None:
    async with gateway() as g, socket_to(g) as ws:
        g.core.gate.clear()
        for number in range(100):
            await ws.send({"op": "place", "id": number, "order": ORDER})
        await eventually(lambda: len(g.core.submitted) == 100)
        g.core.gate.set()
        answers = [await ws.answer() for _ in range(100)]
        assert sorted(answer["id"] for answer in answers) == list(range(100))
        assert len({answer["result"]["order"]["order_id"] for answer in answers}) == 100


@in_loop
async def test_orders_are_submitted_in_the_order_they_were_sent() -> None:
    async with gateway() as g, socket_to(g) as ws:
        await ws.send({"op": "place", "id": 1, "order": ORDER | {"client_order_id": "one"}})
        await ws.send({"op": "cancel", "id": 2, "order": {"client_order_id": "one"}})
        statuses = {answer["id"]: answer["status"] for answer in [await ws.answer() for _ in "12"]}
        assert statuses == {1: 201, 2: 200}


@in_loop
async def test_beyond_its_share_a_client_only_holds_up_itself() -> None:
    async with gateway() as g, socket_to(g) as greedy, socket_to(g) as other:
        g.core.gate.clear()
        for number in range(IN_FLIGHT_MAX + 40):
            await greedy.send({"op": "place", "id": number, "order": ORDER})
        await eventually(lambda: len(g.core.submitted) == IN_FLIGHT_MAX)
        assert (await other.call(op="auth", account="ann"))["status"] == 200
        assert len(g.core.submitted) == IN_FLIGHT_MAX
        g.core.gate.set()
        answers = [await greedy.answer() for _ in range(IN_FLIGHT_MAX + 40)]
        assert {answer["status"] for answer in answers} == {201}


@in_loop
async def test_a_subscription_is_answered_then_begins_with_its_snapshots() -> None:
    async with gateway() as g, socket_to(g) as ws:
        book = BookReader()
        channels = ["book:BTC-USD", "orders"]
        answer = await ws.call(op="subscribe", channels=channels)
        assert (answer["status"], answer["result"]["channels"]) == (200, channels)
        snapshot, orders = await ws.message(), await ws.message()
        book.take(snapshot)
        assert (orders["type"], orders["orders"]) == ("snapshot", [])
        await ws.call(op="place", order=ORDER)
        seen = {message["channel"]: message for message in [await ws.message() for _ in "12"]}
        book.take(seen["book:BTC-USD"])
        assert book.levels("bids") == [["99", "1", 1]]
        assert seen["orders"]["orders"][0]["status"] == "open"
        gone = await ws.call(op="unsubscribe", channels=["book:BTC-USD"])
        assert gone["result"]["channels"] == ["orders"]
        await ws.call(op="place", order=ORDER)
        assert (await ws.message())["channel"] == "orders"


@in_loop
async def test_a_channel_subscribed_to_again_is_begun_anew() -> None:
    """A client whose book is wrong mends it so."""
    async with gateway() as g, socket_to(g) as ws:
        for _ in range(2):
            await ws.call(op="subscribe", channels=["book:BTC-USD"])
            assert (await ws.message())["type"] == "snapshot"


@pytest.mark.parametrize("since", [{}, {"from_sequence": 0}])
@pytest.mark.parametrize("channels", [1, 10])
@in_loop
async def test_who_subscribes_and_does_not_read_holds_up_only_itself(
    monkeypatch: pytest.MonkeyPatch, channels: int, since: dict[str, int]
) -> None:
    """What is queued for it is bounded, and others have the loop between any two snapshots."""
    bound, frames = 100_000, 200 // channels
    monkeypatch.setattr(subscribers, "QUEUE_BYTES_MAX", bound)
    monkeypatch.setattr(hub, "RESUME_CHANGES_MAX", 100)
    async with gateway() as g, socket_to(g, receive_buffer_bytes=4_096) as ws:
        markets = ["BTC-USD", *(f"M{number}-USD" for number in range(1, channels))]
        for market in markets[1:]:
            g.core.open_market(market)
        for market in markets:
            for price_ticks in range(1, 1_001 if channels == 1 else 201):
                (order,) = read(
                    ["buy", "anonymous", "1", "@", str(price_ticks * 10**6), f"on={market}"]
                )
                g.core.run(order)
        turns, turns_at, queues = 0, [], []
        subscribe = g.streams.subscribe

        def watched(subscriber: Subscriber, *args: Any, **named: Any) -> None:
            subscribe(subscriber, *args, **named)
            turns_at.append(turns)
            queues.append(subscriber.queue_bytes)

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        monkeypatch.setattr(g.streams, "subscribe", watched)
        counting = asyncio.create_task(count_turns())
        names = [f"book:{market}" for market in markets]
        for _ in range(frames):
            await ws.send({"op": "subscribe", "id": "x", "channels": names} | since)
        await eventually(lambda: bool(queues) and queues[-1] > bound)
        for _ in range(frames):
            assert (await ws.answer())["status"] == 200
        await eventually(lambda: len(turns_at) == 200)
        counting.cancel()
        snapshot_bytes = max(len(json.dumps(message)) for message in ws.messages)
        assert max(queues) < bound + 2 * snapshot_bytes
        assert len(set(turns_at)) == 200


@in_loop
async def test_each_channel_resumes_from_its_own_last_sequence() -> None:
    async with gateway() as g:
        book = BookReader()
        async with socket_to(g) as ws:
            await ws.call(op="subscribe", channels=["book:BTC-USD"])
            book.take(await ws.message())
        await g.place("buy", "98")
        await g.place("buy", "97")
        async with socket_to(g) as ws:
            await ws.call(op="subscribe", channels=["book:BTC-USD"], from_sequence=book.sequence)
            book.take(await ws.message())
        assert [row[0] for row in book.levels("bids")] == ["98", "97"]


@in_loop
async def test_whoever_one_says_one_is_in_open_mode() -> None:
    async with gateway() as g, socket_to(g, X_Account="ann") as ws:
        assert (await ws.call(op="place", order=ORDER))["result"]["order"]["account"] == "ann"
        assert (await ws.call(op="auth", account="bob"))["result"] == {"account": "bob"}
        assert (await ws.call(op="place", order=ORDER))["result"]["order"]["account"] == "bob"
        assert (await ws.call(op="auth", account="a b"))["error"]["field"] == "account"
        await ws.call(op="subscribe", channels=["orders"])
        assert [o["account"] for o in (await ws.message())["orders"]] == ["bob"]


@in_loop
async def test_an_order_is_whose_account_its_sender_had_named_before_it() -> None:
    """Whatever account a frame right behind it names."""
    async with gateway() as g, socket_to(g) as ws:
        for account in ("ann", "bob"):
            await ws.send({"op": "auth", "id": account, "account": account})
            await ws.send({"op": "place", "id": f"{account}'s", "order": ORDER})
        await ws.send({"op": "auth", "id": "eve", "account": "eve"})
        answers = [await ws.answer() for _ in range(5)]
        placed = {a["id"]: a["result"]["order"] for a in answers if a["status"] == 201}
        owners = {id_: order["account"] for id_, order in placed.items()}
        assert owners == {"ann's": "ann", "bob's": "bob"}


HOSTILE = [
    ("", "bad_json"),
    ("[]", "bad_json"),
    ("{", "bad_json"),
    ("\x00", "bad_json"),
    ("[" * 100_000, "bad_json"),
    ('{"op":1,"op":2}', "bad_json"),
    ("{}", "bad_field"),
    ('{"op":"steal"}', "bad_field"),
    ('{"op":["place"]}', "bad_field"),
    ('{"op":"place"}', "bad_field"),
    ('{"op":"place","id":1}', "bad_field"),
    ('{"op":"place","id":"a\\nb","order":{}}', "bad_field"),
    ('{"op":"cancel","id":1}', "bad_field"),
    ('{"op":"place","id":{},"order":{}}', "bad_field"),
    ('{"op":"batch","id":1}', "bad_field"),
    (
        '{"op":"cancel","id":1,"order":{"order_id":"1","client_order_id":"a"}}',
        "invalid_combination",
    ),
    ('{"op":"amend","id":1,"order":{"price":"1"}}', "bad_field"),
    ('{"op":"subscribe","channels":"book:BTC-USD"}', "bad_field"),
    ('{"op":"subscribe","channels":[1]}', "bad_field"),
    ('{"op":"subscribe","channels":["book:NO-NO"]}', "unknown_market"),
    ('{"op":"subscribe","channels":["orders"],"from_sequence":-1}', "bad_field"),
    ('{"op":"auth","key":"secret"}', "bad_field"),
]


@in_loop
async def test_hostile_frames_are_answered_and_the_socket_goes_on() -> None:
    async with gateway() as g, socket_to(g) as ws:
        for frame, code in HOSTILE:
            await ws.send(frame)
            answer = await ws.answer()
            assert (answer["error"]["code"], answer["status"] // 100) == (code, 4), frame[:80]
        await ws.socket.send_bytes(b"\x00\xff")
        assert (await ws.answer())["error"]["code"] == "bad_json"
        big = ORDER | {"client_order_id": "x" * BODY_BYTES_MAX}
        assert (await ws.call(op="place", order=big))["error"]["code"] == "body_too_large"
        assert (await ws.call(op="place", order=ORDER))["status"] == 201


@in_loop
async def test_more_channels_than_allowed_are_refused_and_none_is_begun() -> None:
    async with gateway() as g, socket_to(g) as ws:
        for number in range(CHANNELS_MAX + 1):
            g.core.open_market(f"M{number}-USD")
        names = [f"book:M{number}-USD" for number in range(CHANNELS_MAX)]
        assert (await ws.call(op="subscribe", channels=names))["status"] == 200
        refused = await ws.call(op="subscribe", channels=[f"book:M{CHANNELS_MAX}-USD"])
        assert refused["error"]["field"] == "channels"


@pytest.mark.parametrize("payload", [b"\x81\xfe\xff\xff", b"\xff" * 64, b"\x00" * 64])
@in_loop
async def test_broken_framing_closes_the_socket_and_no_other(payload: bytes) -> None:
    async with gateway() as g, socket_to(g) as ws:
        head = (
            f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{g.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = await g.raw(head.encode() + payload, patience_s=0.5)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert (await ws.call(op="place", order=ORDER))["status"] == 201


@in_loop
async def test_a_message_over_the_bound_closes_the_socket() -> None:
    async with gateway() as g, socket_to(g) as ws:
        await ws.send("x" * (BATCH_BYTES_MAX + 1))
        await ws.socket.receive()
        assert ws.socket.close_code == 1009


@in_loop
async def test_strangers_and_plain_requests_get_no_socket() -> None:
    async with gateway() as g:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket_to(g, Origin="http://evil.example"):
                pass
        assert refused.value.status == 403
        assert (await g.call("GET", "/v1/ws")).body["field"] == "Upgrade"


@in_loop
async def test_a_node_that_stops_says_so_answers_and_closes() -> None:
    async with gateway() as g, socket_to(g) as ws:
        g.core.gate.clear()
        await ws.send({"op": "place", "id": 1, "order": ORDER})
        await eventually(lambda: len(g.core.submitted) == 1)
        g.streams.going_away()
        assert (await ws.message())["type"] == "going_away"
        g.streams.close()
        g.core.gate.set()
        assert (await ws.answer())["status"] == 201
        await ws.socket.receive()
        assert ws.socket.close_code == 1001


@in_loop
async def test_a_slow_socket_is_closed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway() as g, socket_to(g) as ws:
        await ws.call(op="subscribe", channels=["book:BTC-USD"])
        await ws.message()
        monkeypatch.setattr(subscribers, "QUEUE_BYTES_MAX", -1)
        (subscriber,) = g.streams._subscribers
        subscriber._asked_bytes = 0
        await g.place("buy", "99")
        assert (await ws.message())["reason"] == "slow_reader"
        closed = await ws.socket.receive()
        assert (ws.socket.close_code, closed.extra) == (1008, "slow_reader")
