"""Which trace a request belongs to: W3C Trace Context, in and out. Pure but for the drawing.

A request that says `traceparent` goes on with the trace that it names; one that says nothing, or
something that is not of the standard's form, begins one. Every answer says in `traceresponse` which
trace it was, and names this node's part of it. We record no spans and call nobody else on the way,
so `tracestate` is not read.

Source: W3C Trace Context Level 2, section 3.2; `traceresponse` is of the working group's editor's
draft, in the same form.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiohttp import web

TRACEPARENT: Final = "traceparent"
TRACERESPONSE: Final = "traceresponse"
HEADER_CHARS_MAX: Final = 512
FLAGS_KNOWN: Final = 0x03
"""Sampled (1), which is the caller's wish, and random (2)."""
FLAG_RANDOM: Final = 0x02

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NEVER_ZERO: Final = 1 << 64 | 1
_drawn: Final = random.Random(secrets.randbits(256))


class Trace(NamedTuple):
    """One request's place: `trace_id` is 32 lower-case hexadecimal digits, `span_id` 16."""

    trace_id: str
    span_id: str
    flags: int

    @property
    def header(self) -> str:
        """The value of `traceresponse`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


TRACE: Final = web.RequestKey("trace", Trace)


def continued(values: Sequence[str]) -> Trace | None:
    """Return our part of the trace that `traceparent` names; None if it names none.

    Args:
        values: of the header, each time that it was sent; more than one is not the standard's form.
    """
    if len(values) != 1 or len(values[0]) > HEADER_CHARS_MAX:
        return None
    found = _FORM.fullmatch(values[0].strip(" \t"))
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None  # a later version may say more
    if not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return Trace(trace_id, _drawn_digits()[32:], int(flags, 16) & FLAGS_KNOWN)


def begun() -> Trace:
    """Return a new trace."""
    digits = _drawn_digits()
    return Trace(digits[:32], digits[32:], FLAG_RANDOM)


def trace_of(request: web.Request) -> Trace:
    """Return the trace of a request, which it goes on with or begins."""
    values = request.headers.getall(TRACEPARENT, ())
    return (continued(values) if values else None) or begun()


def _drawn_digits() -> str:
    """Draw 32 digits and 16, neither of them all zeros."""
    return f"{_drawn.getrandbits(192) | _NEVER_ZERO:048x}"
