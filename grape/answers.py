"""How a node answers the six queries.

Reads the routing table, reads and writes the stores; decides nothing about who is believed to be a
contact (that is `dht`). Every refusal here is one that the asker may cause; what is malformed never
comes this far.

Source: BEP 5 and BEP 44, in the form of the grapes in the field: `values` or `nodes`, never both;
a bad signature is met with silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from grape.bencode import encode
from grape.contact import Address, Contact
from grape.events import CODES, Refusal
from grape.items import Item, fits, is_valid
from grape.krpc import AnnouncePeer, Failure, FindNode, Get, GetPeers, Ping, Put, Query, Response
from grape.routing import RoutingTable
from grape.storage import OWN_HOST, ItemStore, PeerStore, Tokens

BAD_TOKEN: Final = 203
TOO_LARGE: Final = 205


class Answers:
    """Answers queries out of one node's table and stores."""

    def __init__(
        self,
        own_id: bytes,
        *,
        table: RoutingTable,
        peers: PeerStore,
        items: ItemStore,
        tokens: Tokens,
        host_towards: Callable[[str], str],
    ) -> None:
        self._own_id = own_id
        self._table = table
        self._peers = peers
        self._items = items
        self._tokens = tokens
        self._host_towards = host_towards

    def answer(self, query: Query, address: Address, *, now_s: float) -> Response | Failure | None:
        """Return what the asker at `address` is told, None for silence."""
        host = address[0]
        transaction = query.transaction
        match query.arguments:
            case Ping():
                return Response(transaction, self._own_id)
            case FindNode(target=target):
                return Response(transaction, self._own_id, nodes=self._closest(target))
            case GetPeers(info_hash=name):
                token = self._tokens.give(host, now_s=now_s)
                if peers := self.peers(name, towards=host, now_s=now_s):
                    return Response(transaction, self._own_id, peers=peers, token=token)
                nodes = self._closest(name)
                return Response(transaction, self._own_id, nodes=nodes, token=token)
            case Get(target=target):
                token = self._tokens.give(host, now_s=now_s)
                if (item := self._items.get(target)) is not None:
                    return Response(transaction, self._own_id, token=token, item=item)
                nodes = self._closest(target)
                return Response(transaction, self._own_id, nodes=nodes, token=token)
            case AnnouncePeer() as announce:
                return self._answer_announce(announce, transaction, address, now_s=now_s)
            case Put() as put:
                return self._answer_put(put, transaction, address, now_s=now_s)

    def peers(self, name: bytes, *, towards: str, now_s: float) -> tuple[Address, ...]:
        """Return the stored peers of a service, our own at the address `towards` reaches us at."""
        return tuple(
            (self._host_towards(towards) if host == OWN_HOST else host, port)
            for host, port in self._peers.get(name, now_s=now_s)
        )

    def store(self, item: Item, *, cas: int | None, source: str) -> Refusal | None:
        """Store a valid item, unless the one it would replace is newer or not the expected one."""
        previous = self._items.get(item.target)
        if item.is_mutable and previous is not None:
            if cas is not None and previous.seq != cas:
                return Refusal.CAS_MISMATCH
            if item.seq <= previous.seq:
                return Refusal.OLD_SEQUENCE
        self._items.put(item, source=source, size_bytes=len(encode(item.v)))
        return None

    def certain_refusal(self, item: Item, *, cas: int | None) -> Refusal | None:
        """Return why nobody should store the item, if our own store already says so.

        Ours may be older than the network's, never newer: what is old for us is old everywhere.
        The same item once more is not refused here, so that it can be put to new nodes.
        """
        own = self._items.get(item.target)
        if own is None or not item.is_mutable:
            return None
        if cas is not None and own.seq > cas:
            return Refusal.CAS_MISMATCH
        if item.seq < own.seq or (item.seq == own.seq and item.v != own.v):
            return Refusal.OLD_SEQUENCE
        return None

    def _answer_announce(
        self, announce: AnnouncePeer, transaction: bytes | None, address: Address, *, now_s: float
    ) -> Response | Failure:
        host, port = address
        if not self._tokens.accepts(announce.token, host, now_s=now_s):
            text = "cannot `announce_peer` with bad token"
            return Failure(transaction, BAD_TOKEN, text)
        peer = (host, port if announce.implied_port else announce.port)
        self._peers.add(announce.info_hash, peer, now_s=now_s)
        return Response(transaction, self._own_id)

    def _answer_put(
        self, put: Put, transaction: bytes | None, address: Address, *, now_s: float
    ) -> Response | Failure | None:
        host = address[0]
        if not self._tokens.accepts(put.token, host, now_s=now_s):
            return Failure(transaction, BAD_TOKEN, "cannot `put` with bad token")
        if not fits(put.item.v):
            return Failure(transaction, TOO_LARGE, "data payload too large")
        if not is_valid(put.item):
            return None
        refusal = self.store(put.item, cas=put.cas, source=host)
        if refusal is not None:
            return Failure(transaction, CODES[refusal], refusal.value)
        return Response(transaction, self._own_id)

    def _closest(self, target: bytes) -> tuple[Contact, ...]:
        return tuple(self._table.closest(target))
