"""`GET /v1/node`: who this node is, in every phase of its life.

Nodes ask each other after a look-up in the DHT, with a nonce that the answer proves the cluster
secret for. People may ask without one.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from raft_exchange.gateway.bodies import bad_parameter, query_of
from raft_exchange.gateway.context import FRONT
from raft_exchange.gateway.guard import own_address
from raft_exchange.gateway.rendering import JSON_TYPE

NONCE: Final = re.compile(r"[0-9a-f]{32,128}")


async def get_node(request: web.Request) -> web.Response:
    """Answer with ids, addresses and what this node is bound to; `?nonce=` adds the proof."""
    nonce = query_of(request, ("nonce",)).get("nonce", "")
    if nonce and not NONCE.fullmatch(nonce):
        raise bad_parameter("nonce", nonce, "32 to 128 hexadecimal digits, lower case")
    body = request.app[FRONT].introduce(nonce, own_address(request))
    return web.Response(body=body, headers={"Content-Type": JSON_TYPE})
