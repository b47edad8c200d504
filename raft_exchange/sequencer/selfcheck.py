"""What the log knows of the replicas themselves: who they are, and what their releases read.

Part of the replicated state, so that every node decides alike and at the same entry. Notices come
from nodes; a notice of a node that is not on the roster changes nothing, and is told again.
"""

from __future__ import annotations

import msgspec

from raft_exchange.sequencer.notices import Notice, Reads, Roster


class Record(msgspec.Struct, frozen=True, array_like=True):
    """The canonical form of a `SelfCheck`."""

    roster: tuple[str, ...] = ()
    reads: tuple[tuple[str, int], ...] = ()  # by node


class SelfCheck:
    """The members as the log knows them; changed by `take` alone."""

    def __init__(self, record: Record | None = None) -> None:
        record = Record() if record is None else record
        self.roster = record.roster
        self.reads = dict(record.reads)

    def take(self, notice: Notice) -> None:
        """Note what a node says. O(members)."""
        match notice:
            case Roster(members=members):
                self.roster = members
                self.reads = {m: v for m, v in self.reads.items() if m in members}
            case Reads(node=node, version=version):
                if node in self.roster:
                    self.reads[node] = version

    def version_all_read(self) -> int:
        """Return the newest version that the release of every member reads; 0 if not known."""
        return min((self.reads.get(member, 0) for member in self.roster), default=0)

    def record(self) -> Record:
        """Return the canonical form."""
        return Record(self.roster, tuple(sorted(self.reads.items())))

    def check(self) -> None:
        """Assert every invariant."""
        assert set(self.reads) <= set(self.roster)
