"""A node among others: what it states of itself, and where the others are.

It exists before there is a group and goes on beside it. What the node states is read from its
identity file at each question, so it never states what is not on stable storage.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from raft_exchange.address_book import AddressBook
from raft_exchange.candidates import Sighting
from raft_exchange.discovery import Discovery
from raft_exchange.introduction import introduce
from raft_exchange.raft.formation import Statement, conflict
from raft_exchange.raft.identity import IdentityFile
from raft_exchange.raft.members import MemberAddress
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.proof import sign

ANY_HOST: Final = "0.0.0.0"
_PURPOSE: Final = "new key"

logger = logging.getLogger(__name__)


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node is and what it expects. A host of 0.0.0.0 stands for where it is asked."""

    expect: int
    raft_address: str
    http_url: str

    def seen_at(self, host: str) -> Whereabouts:
        """Return the same for somebody who reached us at an IPv4 address of ours."""
        changes = {}
        if host and self.raft_address.startswith(f"{ANY_HOST}:"):
            changes["raft_address"] = self.raft_address.replace(ANY_HOST, host, 1)
        if host and self.http_url.partition("://")[2].startswith(f"{ANY_HOST}:"):
            changes["http_url"] = self.http_url.replace(ANY_HOST, host, 1)
        return msgspec.structs.replace(self, **changes)


class Neighbourhood:
    """Implements `sequencer.core.Membership`: the addresses are those that were proved last."""

    def __init__(
        self,
        identity: IdentityFile,
        where: Whereabouts,
        discovery: Discovery,
        *,
        book: AddressBook,
        secret: bytes,
    ) -> None:
        self.cluster = identity.current.cluster
        self.node = identity.current.node
        self._identity = identity
        self._where = where
        self._discovery = discovery
        self._secret = secret
        self._book = book
        self._told: frozenset[str] = frozenset()  # the clusters of our name in the last warning
        self._configuration: Callable[[], Configuration] = self._founded
        self._on_fellow: Callable[[Statement], None] = lambda said: None
        discovery.suggest(book.urls())
        discovery.add_listener(self._note)

    @property
    def cluster_id(self) -> str:
        """The cluster this node is bound to; empty before."""
        return self._identity.current.cluster_id

    @property
    def is_bound(self) -> bool:
        """Whether this node belongs to a cluster already."""
        return bool(self._identity.current.cluster_id)

    def _founded(self) -> Configuration:
        return Configuration(self._identity.current.founders)

    def settle(
        self, configuration: Callable[[], Configuration], on_fellow: Callable[[Statement], None]
    ) -> None:
        """Go on as a node of a cluster.

        Args:
            configuration: returns the group's members, by its log.
            on_fellow: is told what every node says that proves to be of the same cluster.
        """
        self._configuration, self._on_fellow = configuration, on_fellow
        for sighting in self._discovery.sightings():
            self._note(sighting)
        self._discovery.settle()

    def members(self) -> list[MemberAddress]:
        """Return where the members are: by themselves, else by the log, else nowhere."""
        logged = {member.id: member for member in self._configuration().addresses}
        own = MemberAddress(self.node, self._where.raft_address, self._where.http_url)
        return [
            own
            if id_ == self.node
            else self._book.get(id_) or logged.get(id_) or MemberAddress(id_, "", "")
            for id_ in self._configuration().members
        ]

    def seen_age_s(self, node_id: str) -> float | None:
        """Return how long ago a node last proved that it is there, None if it never did."""
        return self._discovery.seen_age_s(node_id)

    def raft_endpoint(self, node_id: str) -> tuple[str, int] | None:
        """Return where a node's Raft port is, None while that is unknown."""
        logged = {member.id: member for member in self._configuration().addresses}
        found = self._book.get(node_id) or logged.get(node_id)
        return None if found is None else found.raft_endpoint()

    def _note(self, sighting: Sighting) -> None:
        said = sighting.statement
        address = MemberAddress(said.id, said.raft_address, said.http_url)
        self._book.note(address, needed=self._configuration().members)
        bound_to = self._identity.current.cluster_id
        if bound_to and said.cluster_id == bound_to:
            self._on_fellow(said)
        elif bound_to and said.cluster_id:
            self._tell_conflict(bound_to)

    def _tell_conflict(self, bound_to: str) -> None:
        """Log that there is another cluster of our name, once for each set of them."""
        statements = self._discovery.statements()
        found = conflict(self.statement(), statements)
        clusters = frozenset(one.cluster_id for one in statements) | {"", bound_to}
        if found is not None and not clusters <= self._told:
            logger.error("%s; they share nothing, and one of them is to be ended", found.text)
            self._told = clusters

    def statement(self, asked_at: str = "") -> Statement:
        """Return what this node states now, to somebody who reached it at `asked_at`."""
        stored, where = self._identity.current, self._where.seen_at(asked_at)
        own = MemberAddress(stored.node, where.raft_address, where.http_url)
        members = [own if one.id == own.id else one for one in self.members()]
        return Statement(
            id=stored.node,
            name=stored.name,
            cluster=stored.cluster,
            expect=where.expect,
            raft_address=where.raft_address,
            http_url=where.http_url,
            cluster_id=stored.cluster_id,
            accepted=stored.accepted,
            refused=stored.refused,
            members=tuple(member for member in members if member.raft_address),
        )

    def introduce(self, nonce: str, asked_at: str) -> bytes:
        """Return the answer to `GET /v1/node`."""
        return introduce(self.statement(asked_at), nonce=nonce, secret=self._secret)

    def derive(self, *fields: bytes) -> bytes:
        """Return 32 bytes that every node of this cluster gives for these fields, and only they."""
        return sign(self._secret, _PURPOSE, self.cluster_id.encode(), *fields)
