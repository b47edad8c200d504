"""What hostile peers and clients send: random, damaged, and correct but excessive."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from grape.contact import Contact
from grape.items import Item, sign_item
from grape.krpc import (
    AnnouncePeer,
    Failure,
    FindNode,
    Get,
    GetPeers,
    Ping,
    Put,
    Query,
    Response,
    encode_message,
)

# Each of these, alone, ends a grape of the field.
FATAL_ELSEWHERE: Final = [
    b"d1:y1:qe",
    b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa6:targeti1ee1:q9:find_node1:t1:x1:y1:qe",
    b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaa9:info_hash1:n4:porti1e5:tokeni1ee"
    b"1:q13:announce_peer1:t1:x1:y1:qe",
]
_EXTREMES: Final = [
    b"",
    b"d" * 60_000,
    b"l" * 60_000,
    b"i" + b"9" * 60_000 + b"e",
    b"9" * 60_000,
    b"99999:",
    b"d1:a" * 15_000,
    b"\0" * 60_000,
]


def hostile_datagram(source: random.Random, *, token: bytes = b"") -> bytes:
    """One datagram; with a valid `token` some of them are correct and only too many."""
    kind = source.randrange(10)
    if kind == 0:
        return source.randbytes(source.randrange(1_500))
    if kind == 1:
        return source.choice(_EXTREMES if source.random() < 0.05 else FATAL_ELSEWHERE)
    data = _message(source, token)
    return data if kind < 5 else _damaged(source, data)


def hostile_requests(source: random.Random, count: int) -> Iterator[bytes]:
    """HTTP requests as bytes, whole or broken off."""
    for _ in range(count):
        kind = source.randrange(8)
        body = _body(source)
        if kind == 0:
            yield source.randbytes(source.randrange(2_000))
        elif kind == 1:
            yield (
                b"POST /lookup HTTP/1.1\r\n"
                + b"X: "
                + b"y" * source.randrange(100_000)
                + b"\r\n\r\n"
            )
        elif kind == 2:
            chunk = b"%x\r\n" % source.randrange(2**40) + body
            yield b"POST /put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
        elif kind == 3:
            lie = source.choice([b"-1", b"1" * 30, b"abc", b"100000000", b"3"])
            yield b"POST /put HTTP/1.1\r\nContent-Length: " + lie + b"\r\n\r\n" + body
        else:
            verb = source.choice(
                [b"/lookup", b"/announce", b"/put", b"/get", b"/%00", b"*", b"//x"]
            )
            head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (verb, len(body))
            whole = head + b"Connection: close\r\n\r\n" + body
            yield whole if kind < 7 else _damaged(source, whole)


def _message(source: random.Random, token: bytes) -> bytes:
    node_id, target = source.randbytes(20), source.randbytes(20)
    name = source.randbytes(source.choice([0, 1, 8, 20, 200, 2_000]))
    contact = Contact(source.randbytes(20), (f"127.2.{source.randrange(256)}.1", 9))
    item = Item(v=source.randbytes(source.choice([0, 10, 1_000, 1_100])))
    if source.random() < 0.1:
        item = sign_item(source.randbytes(32), source.randbytes(9), seq=source.getrandbits(40))
    message = source.choice(
        [
            Query(b"x", node_id, Ping()),
            Query(b"x", node_id, FindNode(target)),
            Query(b"x", node_id, GetPeers(name)),
            Query(b"x", node_id, AnnouncePeer(name, port=source.randrange(1, 65_536), token=token)),
            Query(b"x", node_id, Get(target)),
            Query(b"x", node_id, Put(item, token=token)),
            Response(source.randbytes(2), node_id, nodes=(contact,) * 20, token=token),
            Response(source.randbytes(2), node_id, peers=(contact.address,) * 50, token=token),
            Failure(source.randbytes(2), 203, "no"),
        ]
    )
    return encode_message(message)


def _body(source: random.Random) -> bytes:
    return source.choice(
        [
            b"",
            b"null",
            b"[" * 8_000,
            b'{"data":' * 1_000,
            b'{"data":{"v":"' + source.randbytes(20) + b'"}}',
            b'{"data":{"v":' + b"[" * 200 + b"]" * 200 + b"}}",
            b'{"data":{"v":1e400}}',
            b'{"data":{"v":"x","k":"' + b"00" * 32 + b'","sig":"' + b"00" * 64 + b'","seq":1}}',
            b'{"data":{"hash":"' + b"00" * 20 + b'","salt":["a"]}}',
            b'{"data":["svc",1e3]}',
            b'{"data":["svc",-1e300]}',
            b'{"data":"\\ud800"}',
            b'{"data":"' + b"x" * source.choice([1, 8_000, 20_000]) + b'"}',
        ]
    )


def _damaged(source: random.Random, data: bytes) -> bytes:
    """The data with a few bytes replaced, removed, repeated or cut off."""
    damaged = bytearray(data)
    for _ in range(source.randrange(1, 5)):
        at = source.randrange(len(damaged) + 1)
        kind = source.randrange(4)
        if kind == 0:
            damaged[at : at + 1] = source.randbytes(1)
        elif kind == 1:
            del damaged[at : at + source.randrange(1, 9)]
        elif kind == 2:
            damaged[at:at] = damaged[max(0, at - 9) : at]
        else:
            damaged[at : at + 1] = source.choice([b"i-1e", b"d", b"l", b"e", b"0:", b"99999:"])
    return bytes(damaged)
