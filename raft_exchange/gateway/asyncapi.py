"""`GET /asyncapi.json`: the AsyncAPI 3 description of the streams.

What the node sends is described from the types that it is encoded from; what it takes, from the
lists of names that the decoders know.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Final, get_args

import msgspec
from aiohttp import web

from raft_exchange.decoding.order_schema import AMEND_FIELDS, ORDER_FIELDS
from raft_exchange.gateway import stream_messages
from raft_exchange.gateway.channels import CHANNELS_MAX, FORMS
from raft_exchange.gateway.rendering import JSON_TYPE, View
from raft_exchange.gateway.websocket import OPS

ASYNCAPI: Final = "3.0.0"
COMPONENTS: Final = "#/components/schemas/{name}"
MESSAGES: Final[tuple[type, ...]] = get_args(stream_messages.Message)


async def get_asyncapi(request: web.Request) -> web.Response:
    """Answer with the description of the streams."""
    return web.Response(body=_encoded(), headers={"Content-Type": JSON_TYPE})


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> View:
    """Return the AsyncAPI document."""
    _, components = msgspec.json.schema_components(MESSAGES, ref_template=COMPONENTS)
    sent = {
        kind.__name__: _message(kind.__name__, (kind.__doc__ or "").split("\n")[0])
        for kind in MESSAGES
    }
    taken = {
        "Frame": _message("Frame", "What a client sends"),
        "Answer": _message("Answer", "What became of a frame, by its id"),
    }
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "raft-exchange streams",
            "version": version("raft-exchange"),
            "description": f"Channels: {', '.join(FORMS)}; up to {CHANNELS_MAX} for one reader.",
        },
        "defaultContentType": JSON_TYPE,
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "description": (
                    "Server-sent events. `event` is the kind of the channel, or `stream`; the last "
                    "message sent together carries `id`. `?channels=` names channels, "
                    "`Last-Event-ID` or `?from_sequence=` resumes them on any node."
                ),
                "messages": {name: _ref("messages", name) for name in sent},
            },
            "socket": {
                "address": "/v1/ws",
                "description": "WebSocket: the same messages, and orders.",
                "messages": {name: _ref("messages", name) for name in (*sent, *taken)},
            },
        },
        "operations": {
            "readStream": _operation("send", "stream", sent),
            "readSocket": _operation("send", "socket", (*sent, "Answer")),
            "writeSocket": _operation("receive", "socket", ("Frame",)),
        },
        "components": {
            "messages": sent | taken,
            "schemas": _draft_07(components) | {"Frame": _frame(), "Answer": _answer()},
        },
    }


def _message(name: str, summary: str) -> View:
    return {"name": name, "summary": summary, "payload": _ref("schemas", name)}


def _operation(action: str, channel: str, names: Iterable[str]) -> View:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _ref(section: str, name: str) -> View:
    return {"$ref": f"#/components/{section}/{name}"}


def _frame() -> View:
    names = dict.fromkeys((*ORDER_FIELDS, *AMEND_FIELDS, "order_id"))
    order: View = {"type": "object", "properties": {name: {} for name in names}}
    return {
        "type": "object",
        "required": ["op"],
        "properties": {
            "op": {"enum": list(OPS)},
            "id": {"type": ["string", "number"], "description": "comes back with the answer"},
            "account": {"type": "string", "description": "auth: whom to act for, in open mode"},
            "channels": {"type": "array", "items": {"type": "string"}, "maxItems": CHANNELS_MAX},
            "from_sequence": {"type": ["integer", "string"], "description": "subscribe: resume"},
            "order": order | {"description": "place, amend, cancel: as over HTTP"},
            "orders": {"type": "array", "items": order, "description": "batch: as over HTTP"},
            "idempotency_key": {"type": "string"},
            "deadline": {"type": "string", "format": "date-time"},
        },
        "additionalProperties": False,
    }


def _answer() -> View:
    return {
        "type": "object",
        "required": ["id", "status"],
        "properties": {
            "id": {"type": ["string", "number", "null"]},
            "status": {"type": "integer", "description": "as over HTTP"},
            "result": {"type": "object", "description": "the body of the answer over HTTP"},
            "error": {"type": "object", "description": "RFC 9457 problem details"},
            "replayed": {"const": True, "description": "an earlier frame with the key did it"},
        },
        "additionalProperties": False,
    }


def _draft_07(schema: dict[str, object]) -> dict[str, object]:
    """Return a schema in the words of draft 7, which AsyncAPI speaks: `items` lists a tuple."""
    plain: dict[str, object] = {}
    for name, value in schema.items():
        if name == "prefixItems":
            plain["items"], plain["additionalItems"] = value, False
        elif name != "items" or "prefixItems" not in schema:
            plain[name] = _draft_07(value) if isinstance(value, dict) else value
    return plain
