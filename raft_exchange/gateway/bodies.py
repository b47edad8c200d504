"""Bytes in: bodies and query strings, bounded before they are looked at."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.fields import Json, decode_object
from raft_exchange.matching.limits import INT64_MAX

BODY_BYTES_MAX: Final = 64 * 1024
BATCH_BYTES_MAX: Final = 1024 * 1024
BODY_S_MAX: Final = 30.0
CODINGS: Final = ("gzip", "deflate", "identity")
_WHOLE: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


async def json_object(request: web.Request, *, bytes_max: int = BODY_BYTES_MAX) -> Json:
    """Return the JSON object in a request's body.

    Raises:
        Problem: `unsupported_media_type`, `body_too_large` or `bad_json`.
    """
    declared = request.headers.get("Content-Type")
    if declared is not None and declared != "application/json" and not _is_json(declared):
        raise Problem(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            "send the body as application/json",
            field="Content-Type",
            value=declared,
            allowed=["application/json"],
        )
    return decode_object(await body_bytes(request, bytes_max=bytes_max))


async def body_bytes(request: web.Request, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return a request's body, decompressed; the bound holds before and after.

    Raises:
        Problem: `body_too_large` or `unsupported_media_type`; `bad_json` where it comes too slowly.
    """
    coding = request.headers.get("Content-Encoding")
    if coding is not None and coding.lower() not in CODINGS:
        raise Problem(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            "this compression is not known here",
            field="Content-Encoding",
            value=coding,
            allowed=list(CODINGS),
        )
    if (request.content_length or 0) > bytes_max:
        raise too_large(bytes_max)
    try:
        async with asyncio.timeout(BODY_S_MAX):
            body = await request.read()
    except TimeoutError:
        raise Problem(
            ErrorCode.BAD_JSON, f"the body did not arrive within {BODY_S_MAX:g} s"
        ) from None
    if len(body) > bytes_max:
        raise too_large(bytes_max)
    return body


def too_large(bytes_max: int) -> Problem:
    """Return the refusal of a body of more than `bytes_max` bytes."""
    return Problem(
        ErrorCode.BODY_TOO_LARGE,
        f"the body has more than {bytes_max} bytes",
        allowed=f"up to {bytes_max} bytes",
    )


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def query_of(request: web.Request, allowed: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return the parameters of the query string, each given once and known.

    Raises:
        Problem: `bad_field`.
    """
    if not request.query_string:
        return {}
    query = request.query
    found: dict[str, str] = {}
    for name, value in query.items():
        if name not in allowed:
            raise bad_parameter(name, value, list(allowed), "this parameter is not known here")
        if name in found:
            raise bad_parameter(name, value, "one value", "this parameter is given twice")
        found[name] = value
    return found


def bad_parameter(
    name: str, value: str, allowed: list[str] | str, detail: str = "this parameter cannot be read"
) -> Problem:
    """Return the refusal of a query parameter or a part of the path."""
    return Problem(ErrorCode.BAD_FIELD, detail, field=name, value=value, allowed=allowed)


def whole_number(name: str, text: str, *, lowest: int = 0, highest: int = INT64_MAX) -> int:
    """Return the whole number in `text`.

    Raises:
        Problem: `bad_field`.
    """
    number = int(text) if _WHOLE.fullmatch(text) else -1
    if not lowest <= number <= highest:
        raise bad_parameter(name, text, f"a whole number from {lowest} to {highest}")
    return number
