"""What the library keeps of this member, by names of ours: role, term, vote, leader, indexes.

pysyncobj's state lies in name-mangled attributes of the `SyncObj`. They are read and written here
and nowhere else, so that elections, replication and the tick can be files of their own.
"""

from __future__ import annotations

from typing import Any, cast

from pysyncobj import syncobj
from pysyncobj.node import Node

from raft_exchange.raft.attention import Attention
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.library import FOLLOWER, LEADER, ROLE_NAMES
from raft_exchange.raft.patience import Patience


def monotonic_s() -> float:
    """Return the library's clock: in tests it is the world's."""
    return float(syncobj.monotonicTime())


class Seat:
    """One member's place in the group. `log` is its journal, which makes term and vote durable.

    `patience` says how much longer than usual it waits for the others, `attention` as of when what
    they say may be taken.
    """

    def __init__(self, raft: Any, log: Journal) -> None:
        self._raft = raft
        self.log = log
        self.patience = Patience()
        self.attention = Attention()

    @property
    def node(self) -> Node:
        """The library's name of this member."""
        return self._raft._SyncObj__selfNode

    @property
    def id(self) -> str:
        """This member's id."""
        return str(self.node.id)

    # Role, term, vote, leader ---------------------------------------------------------------------

    @property
    def role(self) -> int:
        """One of `library.FOLLOWER`, `CANDIDATE`, `LEADER`."""
        return cast(int, self._raft._SyncObj__raftState)

    @role.setter
    def role(self, role: int) -> None:
        self._raft._SyncObj__setState(role)

    @property
    def role_name(self) -> str:
        """The role in words."""
        return ROLE_NAMES[self.role]

    @property
    def is_follower(self) -> bool:
        """Whether this member neither leads nor stands for election."""
        return self.role == FOLLOWER

    @property
    def is_leader(self) -> bool:
        """Whether this member leads its term."""
        return self.role == LEADER

    @property
    def leader(self) -> Node | None:
        """The leader of the term, if known."""
        return self._raft._SyncObj__raftLeader

    @leader.setter
    def leader(self, leader: Node | None) -> None:
        self._raft._SyncObj__raftLeader = leader

    @property
    def term(self) -> int:
        """The current term."""
        return cast(int, self._raft._SyncObj__raftCurrentTerm)

    @property
    def vote(self) -> str | None:
        """Whom this member voted for in the current term."""
        return cast("str | None", self._raft._SyncObj__votedForNodeId)

    def enter(self, term: int, vote: str | None) -> None:
        """Enter a term, or vote in it. The log is to be synced before anybody is told."""
        self._raft._SyncObj__setCurrentTerm(term, vote)

    # Indexes --------------------------------------------------------------------------------------

    @property
    def commit_index(self) -> int:
        """The greatest index known to be committed."""
        return cast(int, self._raft._SyncObj__raftCommitIndex)

    @property
    def last_applied(self) -> int:
        """The index of the last applied entry."""
        return cast(int, self._raft._SyncObj__raftLastApplied)

    @last_applied.setter
    def last_applied(self, index: int) -> None:
        self._raft._SyncObj__raftLastApplied = index

    def commit(self, index: int) -> None:
        """Note that everything up to `index`, which is held, is committed."""
        assert self.commit_index <= index <= self.log.last_index
        self._raft._SyncObj__raftCommitIndex = index
        self.log.setRaftCommitIndex(index)

    @property
    def last_log_term(self) -> int:
        """The term of the last entry held."""
        term = self.log.term_at(self.log.last_index)
        assert term is not None
        return term

    def is_up_to_date(self, last_log_term: int, last_log_index: int) -> bool:
        """Compare a candidate's log (Raft section 5.4.1): the later term, then the longer log."""
        return (last_log_term, last_log_index) >= (self.last_log_term, self.log.last_index)

    # The deadline of the leader -------------------------------------------------------------------

    @property
    def election_deadline_s(self) -> float:
        """When this member stands for election, if it does not hear a leader before."""
        return cast(float, self._raft._SyncObj__raftElectionDeadline)

    def postpone_election(self, *, in_s: float | None = None) -> None:
        """Draw the next deadline; or set it, that far from now."""
        wait_s = self.draw_patience_s() if in_s is None else in_s
        self._raft._SyncObj__raftElectionDeadline = monotonic_s() + wait_s

    def draw_usual_s(self) -> float:
        """Return a random time between the two bounds of `Timing`."""
        return cast(float, self._raft._SyncObj__generateRaftTimeout())

    def draw_patience_s(self) -> float:
        """Return such a time, stretched by this member's patience."""
        return self.draw_usual_s() * self.patience.stretch
