"""What this node has to say to the others through the log, and what the log says of this node.

Theory of operation. At each tick the witness compares what the replicated state knows with what is
so: who the members are (told by the leader), and what this release reads. What differs is proposed
as a notice, again every `RETRY_S` until it is seen. Nothing waits for it, and nobody is answered.

Pure apart from the callbacks it is given: times are the owner's monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from raft_exchange.sequencer.codec import Batch
from raft_exchange.sequencer.notices import Notice, Reads, Roster
from raft_exchange.sequencer.state import ReplicatedState

RETRY_S: Final = 1.0


class Group(Protocol):
    """What the witness needs of the Raft group."""

    @property
    def is_settled(self) -> bool:
        """Return whether this node leads and its term has committed an entry."""
        ...

    @property
    def member_ids(self) -> list[str]:
        """Return the ids of the members, sorted."""
        ...

    def propose(self, payload: bytes) -> bool:
        """Send `payload` off to whoever leads; return whether that was possible."""
        ...


class Witness:
    """Speaks for one node."""

    def __init__(self, *, node: str, state: ReplicatedState, group: Group) -> None:
        self._node = node
        self._state = state
        self._group = group
        self._said_at_s: dict[type[Notice], float] = {}

    def tick(self, *, now_s: float) -> None:
        """Propose what the log does not know yet."""
        notices = []
        for notice in self._unsaid():
            if now_s >= self._said_at_s.get(type(notice), float("-inf")) + RETRY_S:
                self._said_at_s[type(notice)] = now_s
                notices.append(notice)
        if notices:
            self._group.propose(self._state.write(Batch("", 0, 0, [], tuple(notices))))

    def _unsaid(self) -> Iterator[Notice]:
        known, newest = self._state.selfcheck, self._state.versions.newest
        if self._group.is_settled and known.roster != (members := tuple(self._group.member_ids)):
            yield Roster(members)
        if self._node in known.roster and known.reads.get(self._node) != newest:
            yield Reads(self._node, newest)
