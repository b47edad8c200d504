"""Whom this member talks to: who is a member by its log, who may be by others', who is gone.

The transport connects to those named here and refuses everybody else.

* Members of the committed configuration and of every later one in this member's log.
* Nodes *known* to belong to the cluster, though this log does not say so yet: a joiner, whose log
  is empty, knows those that it asked to be added; a member that was away may meet a leader that
  it never heard of. Who is known proved the secret and the cluster's id, as members do.
* Those that were removed, by a committed configuration: their only message is that they are.
  So a node that slept through its removal learns of it, and stops asking for votes.
"""

from __future__ import annotations

import logging
from typing import Final

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raft_exchange.raft.elections import Elections
from raft_exchange.raft.membership import History
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.seat import Seat
from raft_exchange.raft.wire import Removed

KNOWN_MAX: Final = 32

logger = logging.getLogger(__name__)


class Peers:
    """The other ends of one member's connections; `connected` are those that are up."""

    def __init__(
        self,
        seat: Seat,
        history: History,
        elections: Elections,
        outbox: Outbox,
        transport: Transport,
    ) -> None:
        self.connected: set[Node] = set()
        self.is_removed = False  # this member itself
        self._seat = seat
        self._history = history
        self._elections = elections
        self._outbox = outbox
        self._transport = transport
        self._known: dict[str, None] = {}  # in the order in which they became known
        self._members: set[str] = set()
        self._removed: frozenset[str] = frozenset()
        self._named: set[str] = set()  # to the transport
        self._is_open = False
        self._seen: tuple[int, bool] | None = None

    def open(self) -> None:
        """Begin to connect; before, nobody is named to the transport."""
        self._is_open = True
        self._renew()

    def know(self, member_id: str) -> None:
        """Let a node in that belongs to the cluster, whether this log says so or not."""
        if member_id not in self._known and member_id != self._seat.id:
            if len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[member_id] = None
            self._renew()

    def admits(self, node: Node) -> bool:
        """Return whether what that node says counts; one that was removed is told so."""
        self._tell_if_removed(node)
        return node.id in self._members

    def note_connected(self, node: Node) -> None:
        """Note that a connection is up."""
        self.connected.add(node)
        self._tell_if_removed(node)

    def in_reach(self) -> set[str]:
        """Return the ids of those that are connected, and this member's own."""
        return {self._seat.id, *(node.id for node in self.connected)}

    def follow_log(self) -> None:
        """Do what the log newly says of the members: connect, let go, leave."""
        is_committed = self._seat.commit_index >= self._history.index
        seen = (self._history.revision, is_committed)
        if seen == self._seen:
            return
        self._seen = seen
        self._renew()
        for id_ in sorted(self.in_reach()):
            self._tell_if_removed(Node(id_))
        if self._seat.id in self._history.at(self._seat.commit_index).removed:
            if (lead := self._elections.leadership) is not None:
                lead.abdicate(self.connected)
            self.leave("the log says that this member was removed")

    def leave(self, why: str) -> None:
        """Stand for no election any more, and talk to nobody: this member was removed."""
        if not self.is_removed:
            logger.warning("%s; it takes no part any more", why)
            self.is_removed = True
            self._elections.bar()
            self._elections.follow(None)
            self._renew()

    def _tell_if_removed(self, node: Node) -> None:
        if node.id in self._removed:
            self._outbox.send(node, Removed(self._seat.term))

    def _renew(self) -> None:
        in_force = self._history.since(self._seat.commit_index)
        self._removed = frozenset(in_force[0].removed)
        members = {id_ for one in in_force for id_ in one.members} | set(self._known)
        self._members = members - self._removed - {self._seat.id}
        wanted = self._members | self._removed - {self._seat.id}
        if self.is_removed or not self._is_open:
            wanted = set()
        for id_ in sorted(wanted - self._named):
            self._transport.addNode(Node(id_))
        for id_ in sorted(self._named - wanted):
            self._transport.dropNode(Node(id_))
        self._named = wanted
