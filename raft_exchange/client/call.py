"""A request as a value: what is sent, under which key, and how the answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from raft_exchange.client.models import WriteKey

T = TypeVar("T")
Decode = Callable[[bytes], T]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        decode: the answer's body -> the result; raises `msgspec.DecodeError`.
        key: what it is written under; None for a request that only reads.
        takes_min_sequence: a node that is behind can be told to catch up first.
        headers: beside those that the sender sets.
    """

    method: str
    path: str
    decode: Decode[T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    key: WriteKey | None = None
    takes_min_sequence: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def as_type(type_: type[T]) -> Decode[T]:
    """Return what reads an answer as this type."""
    return msgspec.json.Decoder(type_).decode


def read(path: str, decode: Decode[T], query: Mapping[str, str] | None = None) -> Call[T]:
    """Return a request that only reads, and not back in time."""
    return Call("GET", path, decode, query=query or {}, takes_min_sequence=True)


def write(
    method: str,
    path: str,
    decode: Decode[T],
    *,
    body: object = None,
    query: Mapping[str, str] | None = None,
    key: WriteKey | None,
) -> Call[T]:
    """Return a request that changes something, under a key of its own unless it has one."""
    return Call(method, path, decode, query=query or {}, body=body, key=key or WriteKey.new())


def query_of(**fields: str | None) -> dict[str, str]:
    """Return query parameters, without those that are not given."""
    return {name: value for name, value in fields.items() if value is not None}


def part(text: str) -> str:
    """Return a name as a part of a path."""
    return quote(text, safe="")
