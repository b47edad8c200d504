"""The description of the streams is true: whatever is sent conforms to it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from jsonschema import Draft7Validator

from raft_exchange.gateway.asyncapi import MESSAGES, document
from raft_exchange.gateway.stream_messages import CutOff, GoingAway, Heartbeat, Resync
from tests.gateway.test_websocket import HOSTILE, ORDER, socket_to
from tests.support.coroutines import in_loop
from tests.support.gateway import gateway

CHANNELS = [
    *("book:BTC-USD", "trades:BTC-USD", "ticker:BTC-USD", "candles:BTC-USD:1m"),
    *("orders", "fills", "balances"),
]


def validator(name: str) -> Draft7Validator:
    """Return what judges one kind of message, strict about names that are not described."""
    described = json.loads(msgspec.json.encode(document()))
    schemas = described["components"]["schemas"]
    for schema in schemas.values():
        schema.setdefault("additionalProperties", False)
    return Draft7Validator({"components": {"schemas": schemas}, **schemas[name]})


def kind_of(message: Any) -> str:
    if "status" in message:
        return "Answer"
    if "channel" not in message:
        return str(message["type"].title().replace("_", ""))
    return str(message["channel"].split(":")[0].title()) + "Message"


@in_loop
async def test_whatever_a_socket_sends_conforms() -> None:
    async with gateway() as g, socket_to(g) as ws:
        received = [await ws.call(op="subscribe", channels=CHANNELS)]
        received.append(await ws.call(op="place", order=ORDER))
        received.append(await ws.call(op="place", order=ORDER | {"side": "sell"}))
        received.append(await ws.call(op="batch", orders=[ORDER]))
        for frame, _ in HOSTILE:
            await ws.send(frame)
            received.append(await ws.answer())
        await g.call("POST", "/v1/accounts", {"account": "ann"})
        money = {"asset": "USD", "amount": "5", "id": "d"}
        received.append(await ws.call(op="auth", account="ann"))
        received.append(await ws.call(op="subscribe", channels=["balances"]))
        deposit = await g.call("POST", "/v1/accounts/ann/deposits", money)
        assert deposit.status == 201, deposit.body
        g.streams.going_away()
        while (message := await ws.message())["type"] != "going_away":
            received.append(message)
        received.append(message)
    kinds = set()
    for message in received:
        kinds.add((kind_of(message), message.get("type")))
        validator(kind_of(message)).validate(message)
    assert kinds == {
        *(("Answer", None), ("GoingAway", "going_away"), ("TickerMessage", "ticker")),
        *(("BookMessage", "snapshot"), ("BookMessage", "delta")),
        *(("TradesMessage", "snapshot"), ("TradesMessage", "trade")),
        *(("CandlesMessage", "snapshot"), ("CandlesMessage", "candle")),
        *(("OrdersMessage", "snapshot"), ("OrdersMessage", "order")),
        *(("FillsMessage", "snapshot"), ("FillsMessage", "fill")),
        *(("BalancesMessage", "snapshot"), ("BalancesMessage", "balance")),
    }


def test_what_is_rarely_sent_conforms_as_well() -> None:
    for message in (
        Heartbeat("heartbeat", 7, "2030-01-01T00:00:00.000000Z"),
        Resync("resync", 7, "too_old", ["orders"]),
        GoingAway("going_away", 7),
        CutOff("cut_off", 7, "slow_reader"),
    ):
        sent = json.loads(msgspec.json.encode(message))
        validator(type(message).__name__).validate(sent)


def test_a_message_that_says_more_or_less_is_noticed() -> None:
    heartbeat = {"type": "heartbeat", "sequence": 7, "time": "t"}
    judge = validator("Heartbeat")
    assert judge.is_valid(heartbeat)
    assert not judge.is_valid(heartbeat | {"more": 1})
    assert not judge.is_valid({"type": "heartbeat", "time": "t"})
    level = {"bids": [["1", "2"]]}
    assert not validator("BookMessage").is_valid(level)


def test_each_message_is_on_both_ways_to_read() -> None:
    channels: Any = document()["channels"]
    names = {kind.__name__ for kind in MESSAGES}
    assert channels["stream"]["messages"].keys() == names
    assert channels["socket"]["messages"].keys() == names | {"Frame", "Answer"}


@in_loop
async def test_it_is_served() -> None:
    async with gateway() as g:
        answer = await g.call("GET", "/asyncapi.json")
        assert (answer.status, answer.body["asyncapi"]) == (200, "3.0.0")
