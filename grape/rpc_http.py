"""RPC over HTTP: `POST /` with `[rid, key, payload]`, answered 200 with `[rid, error, result]`.

A stock server answers a body it cannot parse with silence, for ever; ours with 400 and a text,
which a stock client reports as `ERR_REQUEST_GENERIC: <text>`.
"""

import asyncio
import ssl
from typing import Any, Final

import aiohttp
from aiohttp import web

from grape.envelope import (
    COMPRESS_GZIP,
    COMPRESS_HEADER,
    COMPRESS_NONE,
    STREAM_HEADER,
    Call,
    ErrorCode,
    GrenacheError,
    RemoteError,
    decode_call,
    decode_reply,
    encode_call,
    encode_json,
    gunzip,
    gzip,
    new_rid,
)
from grape.http_io import REPLY_BYTES_MAX, BodyTooLarge, new_session, post, read_bounded

BODY_S_MAX: Final = 5.0

# The status of a request that never reached the handler; its body is the error's text.
STATUS: Final = {
    ErrorCode.REQUEST_INVALID: 400,
    ErrorCode.TIMEOUT: 408,
    ErrorCode.REQUEST_SIZE: 413,
    ErrorCode.BUSY: 503,
}


class HttpTransport:
    """Sends calls over HTTP. Close it when done."""

    def __init__(self, *, compress: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._compress = compress
        self._tls = tls
        self._scheme = "https" if tls else "http"
        self._session: aiohttp.ClientSession | None = None

    async def request(self, destination: str, key: str, payload: Any, *, timeout_s: float) -> Any:
        """The result of one call at `destination` (`ip:port`).

        Raises:
            RemoteError: the handler answered an error.
            GrenacheError: REQUEST_GENERIC, TIMEOUT, REPLY_*: the handler may have run or not.
        """
        rid = new_rid()
        body = encode_call(Call(rid, key, payload))
        if self._session is None:
            self._session = new_session(tls=self._tls)
        headers = {
            COMPRESS_HEADER: COMPRESS_GZIP if self._compress else COMPRESS_NONE,
            "Content-Type": "text/plain;charset=UTF-8",
        }
        status, data = await post(
            self._session,
            f"{self._scheme}://{destination}/",
            gzip(body) if self._compress else body,
            headers=headers,
            timeout_s=timeout_s,
        )
        if not 200 <= status < 300:
            text = data.decode(errors="replace")
            raise GrenacheError(ErrorCode.REQUEST_GENERIC, text or f"HTTP {status}")
        reply = decode_reply(_unpack_reply(data) if self._compress else data)
        if reply.rid != rid:
            raise GrenacheError(ErrorCode.REPLY_INVALID, "the reply to another request")
        if reply.error is not None:
            raise RemoteError(reply.error, reply.result)
        return reply.result

    async def close(self) -> None:
        """Free the sockets; calls in flight fail with REQUEST_GENERIC."""
        if self._session is not None:
            await self._session.close()


def _unpack_reply(data: bytes) -> bytes:
    try:
        unpacked = gunzip(data, bytes_max=REPLY_BYTES_MAX)
    except OverflowError as error:
        raise GrenacheError(ErrorCode.REPLY_SIZE, str(error)) from None
    if unpacked is None:
        raise GrenacheError(ErrorCode.REPLY_COMPRESSION)
    return unpacked


async def read_call(request: web.BaseRequest, *, bytes_max: int, raw_payload: bool = False) -> Call:
    """The call in an HTTP request's body, of at most `bytes_max` bytes packed and unpacked.

    `raw_payload` is as for `decode_call`.

    Raises:
        GrenacheError: HEADER_PARSE_GR, REQUEST_INVALID, REQUEST_SIZE or TIMEOUT: see
            `refusal_response`.
    """
    try:
        async with asyncio.timeout(BODY_S_MAX):
            body = await read_bounded(request.content, bytes_max=bytes_max)
        if wants_gzip(request):
            # A body that is not gzip after all is taken as it is, like a stock server does.
            unpacked = gunzip(body, bytes_max=bytes_max)
            body = body if unpacked is None else unpacked
    except TimeoutError:
        raise GrenacheError(ErrorCode.TIMEOUT, "the body did not arrive") from None
    except (BodyTooLarge, OverflowError):
        raise GrenacheError(ErrorCode.REQUEST_SIZE, f"more than {bytes_max} bytes") from None
    except aiohttp.ClientError as error:  # the body ended early or is not chunked as it says
        raise GrenacheError(ErrorCode.REQUEST_INVALID, str(error)) from None
    return decode_call(body, header=request.headers.get(STREAM_HEADER), raw_payload=raw_payload)


def wants_gzip(request: web.BaseRequest) -> bool:
    """Whether the client packed its body, and so wants the reply packed."""
    return COMPRESS_GZIP in request.headers.get(COMPRESS_HEADER, "")


def reply_response(request: web.BaseRequest, data: bytes) -> web.Response:
    """An encoded reply as the HTTP response to `request`."""
    if wants_gzip(request):
        return web.Response(body=gzip(data), content_type="application/gzip")
    return web.Response(body=data, content_type="application/json")


def refusal_response(error: GrenacheError) -> web.Response:
    """The HTTP response to a request that no handler saw."""
    if error.code is ErrorCode.HEADER_PARSE_GR:
        return web.Response(
            status=500, body=encode_json([None, str(error), None]), content_type="application/json"
        )
    response = web.Response(status=STATUS[error.code], text=str(error))
    if error.code is not ErrorCode.REQUEST_INVALID:
        response.force_close()  # the rest of the body, if any, is not waited for
    return response
