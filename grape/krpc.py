"""KRPC: the messages of the DHT <-> datagrams.

Six queries, responses and errors, as BEP 5 and BEP 44 define them, with the one difference of this
network: an `info_hash` is the raw bytes of a service name, of any length. Unknown keys are ignored
and not kept; what is missing or of the wrong type is refused here, so that the rest of the package
only meets messages that mean something.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from grape.bencode import BencodeError, Value, decode, encode
from grape.contact import (
    ADDRESS_BYTES,
    CONTACT_BYTES,
    NODE_ID_BYTES,
    PORT_MAX,
    Address,
    Contact,
    pack_address,
    pack_contact,
    unpack_address,
    unpack_contact,
)
from grape.items import Item

NAME_BYTES_MAX: Final = 8_192  # a whole HTTP body of the default size
TRANSACTION_BYTES_MAX: Final = 32
TOKEN_BYTES_MAX: Final = 64
CONTACTS_MAX: Final = 64  # read of one response; grapes send 20
PEERS_MAX: Final = 100  # read of one response; a real grape sends all, and tells its callers 100
ERROR_TEXT_CHARACTERS_MAX: Final = 200


class KrpcError(ValueError):
    """The datagram is no message. `answer` is what its sender is told, None for silence."""

    def __init__(self, reason: str, *, answer: Failure | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


class Ping(msgspec.Struct, frozen=True):
    """Ask whether the node is there."""


class FindNode(msgspec.Struct, frozen=True):
    """Ask for the contacts nearest to `target`."""

    target: bytes


class GetPeers(msgspec.Struct, frozen=True):
    """Ask who announced the service `info_hash`, or who is nearer to it."""

    info_hash: bytes


class AnnouncePeer(msgspec.Struct, frozen=True):
    """Announce a service at the sender's address, on `port` or on the datagram's own port."""

    info_hash: bytes
    port: int
    token: bytes
    implied_port: bool = False


class Get(msgspec.Struct, frozen=True):
    """Ask for the item named `target`, or for who is nearer to it."""

    target: bytes


class Put(msgspec.Struct, frozen=True):
    """Store an item; `cas` is the sequence number it replaces, None for any."""

    item: Item
    token: bytes
    cas: int | None = None


Arguments: TypeAlias = Ping | FindNode | GetPeers | AnnouncePeer | Get | Put


class Query(msgspec.Struct, frozen=True):
    """A question. `transaction` is None if the sender gave none, `sender_id` if it had no id."""

    transaction: bytes | None
    sender_id: bytes | None
    arguments: Arguments


class Response(msgspec.Struct, frozen=True):
    """An answer; None is "not in the message"."""

    transaction: bytes | None
    sender_id: bytes
    nodes: tuple[Contact, ...] | None = None
    peers: tuple[Address, ...] | None = None
    token: bytes | None = None
    item: Item | None = None


class Failure(msgspec.Struct, frozen=True):
    """A refusal."""

    transaction: bytes | None
    code: int
    message: str


Message: TypeAlias = Query | Response | Failure

METHODS: Final[dict[type, bytes]] = {
    Ping: b"ping",
    FindNode: b"find_node",
    GetPeers: b"get_peers",
    AnnouncePeer: b"announce_peer",
    Get: b"get",
    Put: b"put",
}
"""The names of the six queries, by what they carry."""


def encode_message(message: Message) -> bytes:
    """Return the datagram of a message."""
    if isinstance(message, Query):
        body: dict[bytes, Value] = {
            b"a": _arguments(message),
            b"q": METHODS[type(message.arguments)],
            b"y": b"q",
        }
    elif isinstance(message, Response):
        body = {b"r": _results(message), b"y": b"r"}
    else:
        body = {b"e": [message.code, message.message.encode()], b"y": b"e"}
    if message.transaction is not None:
        body[b"t"] = message.transaction
    return encode(body)


def decode_message(data: bytes) -> Message:
    """Return the message of a datagram.

    Raises:
        KrpcError: for everything that is not one. Nothing else is ever raised.
    """
    try:
        body = decode(data)
    except BencodeError as error:
        raise KrpcError(str(error)) from None
    if not isinstance(body, dict):
        raise KrpcError("not a dictionary")
    transaction = body.get(b"t")
    if transaction is not None and (
        not isinstance(transaction, bytes) or len(transaction) > TRANSACTION_BYTES_MAX
    ):
        raise KrpcError("not a transaction id")
    kind = body.get(b"y")
    if kind == b"q":
        return _read_query(body, transaction)
    if kind == b"r":
        return _read_response(body, transaction)
    if kind == b"e":
        return _read_failure(body, transaction)
    raise KrpcError("neither query nor response nor error")


def _arguments(query: Query) -> dict[bytes, Value]:
    assert query.sender_id is not None, "we always say who we are"
    found: dict[bytes, Value] = {b"id": query.sender_id}
    match query.arguments:
        case FindNode(target=target) | Get(target=target):
            found[b"target"] = target
        case GetPeers(info_hash=info_hash):
            found[b"info_hash"] = info_hash
        case AnnouncePeer() as announce:
            found[b"implied_port"] = int(announce.implied_port)
            found[b"info_hash"] = announce.info_hash
            found[b"port"] = announce.port
            found[b"token"] = announce.token
        case Put() as put:
            found[b"token"] = put.token
            found |= _item_fields(put.item)
            if put.item.salt:
                found[b"salt"] = put.item.salt
            if put.cas is not None:
                found[b"cas"] = put.cas
    return found


def _results(response: Response) -> dict[bytes, Value]:
    found: dict[bytes, Value] = {b"id": response.sender_id}
    if response.nodes is not None:
        found[b"nodes"] = b"".join(map(pack_contact, response.nodes))
    if response.peers is not None:
        found[b"values"] = [pack_address(peer) for peer in response.peers]
    if response.token is not None:
        found[b"token"] = response.token
    if response.item is not None:
        found |= _item_fields(response.item)
    return found


def _item_fields(item: Item) -> dict[bytes, Value]:
    if not item.is_mutable:
        return {b"v": item.v}
    return {b"k": item.k, b"seq": item.seq, b"sig": item.sig, b"v": item.v}


def _read_query(body: dict[bytes, Value], transaction: bytes | None) -> Query:
    given = body.get(b"a")
    method = body.get(b"q")
    if not isinstance(given, dict) or not isinstance(method, bytes):
        raise KrpcError("a query without name or arguments")
    match method:
        case b"ping":
            arguments: Arguments = Ping()
        case b"find_node":
            arguments = FindNode(_required(given, b"target", method, transaction))
        case b"get_peers":
            arguments = GetPeers(_required(given, b"info_hash", method, transaction))
        case b"announce_peer":
            arguments = _read_announce(given)
        case b"get":
            arguments = Get(_bytes(given, b"target", NODE_ID_BYTES))
        case b"put":
            arguments = _read_put(given)
        case _:
            raise KrpcError("unknown query")
    return Query(transaction, _node_id(given), arguments)


def _required(
    given: dict[bytes, Value], key: bytes, method: bytes, transaction: bytes | None
) -> bytes:
    """Return an argument without which the sender is told so: a 203 error."""
    value = given.get(key)
    if isinstance(value, bytes) and len(value) <= NAME_BYTES_MAX:
        return value
    text = f"`{method.decode()}` missing required `a.{key.decode()}` field"
    raise KrpcError(text, answer=Failure(transaction, 203, text))


def _read_announce(given: dict[bytes, Value]) -> AnnouncePeer:
    implied_port = given.get(b"implied_port")
    port = given.get(b"port", 0)
    if not implied_port and not (isinstance(port, int) and 0 < port <= PORT_MAX):
        raise KrpcError("announce_peer: not a port")
    return AnnouncePeer(
        info_hash=_bytes(given, b"info_hash", NAME_BYTES_MAX),
        port=port if isinstance(port, int) else 0,
        token=_bytes(given, b"token", TOKEN_BYTES_MAX),
        implied_port=bool(implied_port),
    )


def _read_put(given: dict[bytes, Value]) -> Put:
    if _node_id(given) is None:
        raise KrpcError("put: no id")
    cas = given.get(b"cas")
    if cas is not None and not isinstance(cas, int):
        raise KrpcError("put: cas is not an integer")
    item = _read_item(given)
    if item is None:
        raise KrpcError("put: no value")
    return Put(item=item, token=_bytes(given, b"token", TOKEN_BYTES_MAX), cas=cas)


def _read_item(given: dict[bytes, Value]) -> Item | None:
    """Return the item among the keys of a put or of its answer; it may still be a lie."""
    if b"v" not in given:
        return None
    k, salt, sig = (given.get(key, b"") for key in (b"k", b"salt", b"sig"))
    seq = given.get(b"seq", 0)
    if not (isinstance(k, bytes) and isinstance(salt, bytes) and isinstance(sig, bytes)):
        raise KrpcError("an item with a field that is not a string")
    if not isinstance(seq, int) or bool(k) is not bool(sig):
        raise KrpcError("an item that is neither mutable nor immutable")
    return Item(v=given[b"v"], k=k, salt=salt if k else b"", seq=seq if k else 0, sig=sig)


def _read_response(body: dict[bytes, Value], transaction: bytes | None) -> Response:
    given = body.get(b"r")
    sender_id = _node_id(given) if isinstance(given, dict) else None
    if not isinstance(given, dict) or sender_id is None:
        raise KrpcError("a response without id")
    nodes = given.get(b"nodes")
    values = given.get(b"values")
    token = given.get(b"token")
    return Response(
        transaction=transaction,
        sender_id=sender_id,
        nodes=_read_contacts(nodes) if isinstance(nodes, bytes) else None,
        peers=_read_peers(values) if isinstance(values, list) else None,
        token=token if isinstance(token, bytes) and len(token) <= TOKEN_BYTES_MAX else None,
        item=_read_item(given),
    )


def _read_failure(body: dict[bytes, Value], transaction: bytes | None) -> Failure:
    match body.get(b"e"):
        case [int(code), bytes(text), *_]:
            message = text.decode(errors="replace")[:ERROR_TEXT_CHARACTERS_MAX]
            return Failure(transaction, code, message)
        case _:
            return Failure(transaction, 0, "")


def _read_contacts(data: bytes) -> tuple[Contact, ...]:
    """Return the contacts of a `nodes` string; an incomplete one at its end is ignored."""
    end = min(len(data) - CONTACT_BYTES + 1, CONTACTS_MAX * CONTACT_BYTES)
    return tuple(
        unpack_contact(data[at : at + CONTACT_BYTES]) for at in range(0, end, CONTACT_BYTES)
    )


def _read_peers(values: list[Value]) -> tuple[Address, ...]:
    """Return the peers with a port of a `values` list; what is no peer is ignored."""
    packed = (
        value
        for value in values[:PEERS_MAX]
        if isinstance(value, bytes) and len(value) == ADDRESS_BYTES
    )
    return tuple(peer for peer in map(unpack_address, packed) if peer[1])


def _node_id(given: dict[bytes, Value]) -> bytes | None:
    node_id = given.get(b"id")
    return node_id if isinstance(node_id, bytes) and len(node_id) == NODE_ID_BYTES else None


def _bytes(given: dict[bytes, Value], key: bytes, bytes_max: int) -> bytes:
    """Return an argument without which the query is silently ignored."""
    value = given.get(key)
    if not isinstance(value, bytes) or len(value) > bytes_max:
        raise KrpcError(f"no {key.decode()}")
    return value
