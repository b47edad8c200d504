"""The HTTP face of a grape: four verbs, JSON in and out, as Grenache clients speak it.

Whatever the method, path and headers: the body is JSON `{"data": ...}` and the path names the verb.
Errors come in two kinds, as in the grapes in the field: what the network or the arguments refuse is
a JSON string with status 200 (or 301, 302), what cannot be understood is bare text with status 500.
Where those grapes leak a type error of their runtime, this one answers the `ERR_*` of the verb.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
from aiohttp import hdrs, web

from grape.bencode import DEPTH_MAX, Value
from grape.contact import PORT_MAX
from grape.endpoint import Endpoint, GrapeBusyError, GrapeError
from grape.events import Found
from grape.items import KEY_BYTES, SALT_BYTES_MAX, SEQUENCE_MAX, Item

BODY_S_MAX: Final = 10.0
KEEP_ALIVE_S: Final = 5
STOP_S_MAX: Final = 1.0
PEERS_ANSWERED_MAX: Final = 100
VALUE_LENGTH_MAX: Final = 999  # characters of a string (UTF-16 units), entries of a list
SAFE_INTEGER_MAX: Final = 2**53 - 1  # beyond, a JavaScript client would read another number

_HEX_TARGET: Final = 40
_logger: Final = logging.getLogger(__name__)

Verb: TypeAlias = Callable[[Endpoint, Any], Awaitable[Any]]


class _Refused(Exception):
    """The arguments are refused: a JSON string with status 200."""


class _Unintelligible(Exception):
    """The request cannot be understood: bare text with status 500."""


class Api:
    """Serves one endpoint's verbs on a TCP port."""

    def __init__(self, endpoint: Endpoint, *, payload_bytes_max: int, connections_max: int) -> None:
        self._endpoint = endpoint
        self._payload_bytes_max = payload_bytes_max
        self._connections_max = connections_max
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def use(self) -> float:
        """How much of its bound of connections is used; 0 while it does not listen."""
        server = None if self._runner is None else self._runner.server
        return 0.0 if server is None else len(server.connections) / self._connections_max

    @property
    def port(self) -> int:
        """The bound port."""
        assert self._server is not None, "the API is started"
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Listen on an IPv4 address; port 0 is any free port.

        Raises:
            OSError: if the address cannot be bound.
        """
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_response_prepare.append(_dress)
        # An oversized upload is cut, not drained; a compressed body is not unpacked; what a
        # client sends instead of HTTP is answered 400 and not logged, with a traceback each.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=STOP_S_MAX,
            keepalive_timeout=KEEP_ALIVE_S,
            lingering_time=0,
            auto_decompress=False,
            logger=_silent_logger(),
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, host, port)
        except BaseException:
            await self._runner.cleanup()
            raise

    async def stop(self) -> None:
        """Free the port at once, then end what is under way."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.shutdown()
            await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        assert self._runner is not None
        assert self._runner.server is not None
        if self.use >= 1:
            return _Refusal()
        return self._runner.server()

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            body = await self._read_body(request)
            if body is None:
                return web.Response(status=413, text="ERR_GRAPE_PAYLOAD_SIZE")
            answer = await self._answer(request.raw_path.removeprefix("/"), body)
        except (TimeoutError, _Unintelligible) as error:
            return web.Response(status=500, text=str(error) or "ERR_GRAPE_PAYLOAD_INVALID")
        except _Refused as refused:
            return _json(str(refused))
        except GrapeError as error:
            return _json(str(error), status=error.code or 200)
        except GrapeBusyError:
            return web.Response(status=503, text="ERR_GRAPE_BUSY")
        except (ConnectionError, web.RequestPayloadError):  # gone, or no HTTP after all
            return web.Response(status=400)
        except Exception:
            _logger.exception("a request failed; this is a bug")
            return web.Response(status=500, text="ERR_GRAPE_GENERIC")
        return _json(answer) if answer is not None else web.Response()

    async def _read_body(self, request: web.Request) -> bytes | None:
        """The body, None if it is too large."""
        if (request.content_length or 0) > self._payload_bytes_max:
            return None
        body = bytearray()
        async with asyncio.timeout(BODY_S_MAX):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > self._payload_bytes_max:
                    return None
        return bytes(body)

    async def _answer(self, path: str, body: bytes) -> Any:
        try:
            message = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            message = None
        if message is None:
            raise _Unintelligible("ERR_GRAPE_PAYLOAD_INVALID")
        verb = _VERBS.get(path[:1].lower() + path[1:])
        if verb is None:
            raise _Refused("ERR_REQ_NOTFOUND")
        return await verb(
            self._endpoint, message.get("data") if isinstance(message, dict) else None
        )


async def _lookup(endpoint: Endpoint, data: Any) -> list[str]:
    if not isinstance(data, str) or not data:
        raise _Refused("ERR_GRAPE_LOOKUP")
    peers = await endpoint.lookup(data.encode())
    random.shuffle(peers)  # so that clients which take the first spread over all
    return [f"{host}:{port}" for host, port in peers[:PEERS_ANSWERED_MAX]]


async def _announce(endpoint: Endpoint, data: Any) -> int:
    if not isinstance(data, list):
        raise _Refused("ERR_GRAPE_ANNOUNCE")
    name, port = (*data, None, None)[:2]
    if not _is_integer(port) or not 0 <= port <= PORT_MAX:
        raise _Refused("ERR_GRAPE_SERVICE_PORT")
    if not isinstance(name, str):
        raise _Unintelligible("ERR_GRAPE_ANNOUNCE")
    return await endpoint.announce(name.encode(), int(port))


async def _put(endpoint: Endpoint, data: Any) -> str:
    if data is None:
        raise _Unintelligible("ERR_GRAPE_PUT")
    options = data if isinstance(data, dict) else {"v": data} if isinstance(data, str) else {}
    v = options.get("v")
    if v is None:
        raise _Refused("opts.v not given")
    if _length(v) > VALUE_LENGTH_MAX:
        raise _Refused("v must be less than 1000 bytes in put()")
    if not options.get("k"):
        return (await endpoint.put(Item(v=_value(v)))).hex()
    item = _mutable_item(options, v)
    cas = int(options["cas"]) if "cas" in options else None
    return (await endpoint.put(item, cas=cas)).hex()


def _mutable_item(options: dict[str, Any], v: Any) -> Item:
    """The item of a mutable put; the order of the checks is that of the grapes in the field."""
    k = _bytes(options["k"], is_hex=True)
    salt = _bytes(options.get("salt") or "", is_hex=False)
    if "cas" in options and not _is_integer(options["cas"]):
        raise _Refused("opts.cas must be an integer if provided")
    if len(k) != KEY_BYTES:
        raise _Refused("opts.k ed25519 public key must be 32 bytes")
    if not options.get("sig"):
        raise _Refused("opts.sign function or options.sig signature is required for mutable put")
    if len(salt) > SALT_BYTES_MAX:
        raise _Refused("opts.salt is > 64 bytes long")
    if "seq" not in options:
        raise _Refused("opts.seq not provided for a mutable update")
    if not _is_integer(options["seq"]):
        raise _Refused("opts.seq not an integer")
    sig = _bytes(options["sig"], is_hex=True)
    return Item(v=_value(v), k=k, salt=salt, seq=int(options["seq"]), sig=sig)


async def _get(endpoint: Endpoint, data: Any) -> dict[str, Any] | None:
    if data is None:
        raise _Unintelligible("ERR_GRAPE_GET")
    options = data if isinstance(data, dict) else {"hash": data}
    text = options.get("hash")
    if not isinstance(text, str):
        raise _Refused("ERR_GRAPE_GENERIC")
    target = _unhex(text) if len(text) == _HEX_TARGET else b""
    salt = _bytes(options.get("salt") or "", is_hex=False)
    from_store = options.get("cache") is not False
    found = await endpoint.get(target, salt=salt, from_store=from_store)
    return None if found is None else _render(found, with_salt=bool(salt))


def _render(found: Found, *, with_salt: bool) -> dict[str, Any]:
    item = found.item
    fields: dict[str, Any] = {"id": found.holder_id.hex()}
    if item.is_mutable:
        fields["k"] = item.k.hex()
        if with_salt:
            fields["salt"] = item.salt.decode(errors="replace")
        fields["seq"] = item.seq if abs(item.seq) <= SAFE_INTEGER_MAX else str(item.seq)
        fields["sig"] = item.sig.hex()
    fields["token"] = found.token.hex() if found.token is not None else None
    fields["v"] = str(item.v) if isinstance(item.v, int) else _unvalue(item.v)
    return fields


def _value(v: Any, depth: int = 0) -> Value:
    """What stands for a JSON value in bencode, which knows neither fractions nor null."""
    if depth < DEPTH_MAX:
        if isinstance(v, str):
            return v.encode()
        if _is_integer(v) or isinstance(v, bool):
            return int(v)
        if isinstance(v, list):
            return [_value(item, depth + 1) for item in v if item is not None]
        if isinstance(v, dict):
            return {
                key.encode(): _value(item, depth + 1) for key, item in v.items() if item is not None
            }
    raise _Refused("ERR_GRAPE_VALUE")


def _unvalue(value: Value) -> Any:
    """What stands for a bencoded value in JSON."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_unvalue(item) for item in value]
    if isinstance(value, dict):
        return {key.decode(errors="replace"): _unvalue(item) for key, item in value.items()}
    return value if abs(value) <= SAFE_INTEGER_MAX else str(value)


def _length(v: Any) -> int:
    """The length JavaScript gives to a value, 0 for what has none."""
    if isinstance(v, str):
        return len(v.encode("utf-16-le")) // 2
    return len(v) if isinstance(v, list) else 0


def _is_integer(value: Any) -> bool:
    """Whether a JSON number is an integer that bencode carries; 5.0 is one."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= SEQUENCE_MAX
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= SEQUENCE_MAX


def _bytes(value: Any, *, is_hex: bool) -> bytes:
    """The bytes of a key, signature or salt: a list of bytes, as JSON text or not, else text."""
    text = value
    if isinstance(text, str):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            value = None
    if isinstance(value, list) and all(type(item) is int and 0 <= item <= 255 for item in value):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    if not isinstance(text, str):
        return b""
    return _unhex(text) if is_hex else text.encode()


def _unhex(text: str) -> bytes:
    """The bytes of hexadecimal digits, none for anything else."""
    try:
        return bytes.fromhex(text) if text.isalnum() else b""
    except ValueError:
        return b""


def _silent_logger() -> logging.Logger:
    logger = logging.Logger("grape.http")  # of no hierarchy: it reaches no handler but this
    logger.addHandler(logging.NullHandler())
    return logger


def _json(answer: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(answer))


async def _dress(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Send the four headers that grapes send, and no other."""
    length = response.headers.get(hdrs.CONTENT_LENGTH)
    date = response.headers.get(hdrs.DATE, "")
    closes = response.headers.get(hdrs.CONNECTION) == "close"
    response.headers.clear()
    response.headers[hdrs.DATE] = date
    response.headers[hdrs.CONNECTION] = "close" if closes else "keep-alive"
    if not closes:
        response.headers["Keep-Alive"] = f"timeout={KEEP_ALIVE_S}"
    if length is not None:
        response.headers[hdrs.CONTENT_LENGTH] = length


class _Refusal(asyncio.Protocol):
    """A connection too many: ended before it says anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """End it."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


_VERBS: Final[dict[str, Verb]] = {
    "lookup": _lookup,
    "announce": _announce,
    "put": _put,
    "get": _get,
}
