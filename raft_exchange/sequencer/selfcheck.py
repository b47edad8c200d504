"""What the log knows of the replicas themselves: their members, their releases, who differs.

Part of the replicated state, so that every node decides alike and at the same entry.

Rules.

* Every entry extends a chain over the bytes of its events. It begins with the first roster, from
  the hash of the state as it was.
* A checkpoint is the end of an entry, by a rule over the log alone. Members report what they have
  there: the chain at each, the hash of the whole state at some (`STATE_SHARE`).
* What more than half of the roster report is agreed. Whoever reports otherwise is fenced, then or
  later. Where no value can win any more, or a dispute is `DISPUTE_US` old, all reporters are.
* A fenced member comes back by reporting, of a later state, the hash that is agreed.
* A notice of a node that is not on the roster changes nothing, and is told again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from raft_exchange.sequencer.notices import Checkpoint, Digest, Notice, Reads, Report, Roster

CHECKPOINT_ENTRIES: Final = 1_000
"""Two entries a member for each checkpoint: well below one percent of the log; at 500 entries a
second, whoever differs has traded wrongly for two seconds."""
STATE_SHARE: Final = 20
"""The state is hashed once in so many entries as it holds twenties of orders and keys: at a
million of them two seconds of a child's work in 50,000 entries."""
DISPUTE_US: Final = 10_000_000
ON_DEMAND_US: Final = 1_000_000
"""At most one checkpoint in this time because somebody wants it."""
BALLOTS_MAX: Final = 8
"""Of each digest; a member that reports later than so many checkpoints is not heard."""


class Agreed(msgspec.Struct, frozen=True, array_like=True):
    """What a majority has at a checkpoint; `index` 0 before the first."""

    index: int = 0
    sequence: int = 0
    value: bytes = b""


class Ballot(msgspec.Struct, array_like=True):
    """One checkpoint of one digest; `value` is empty until it is agreed."""

    digest: Digest
    index: int
    sequence: int
    opened_us: int
    votes: dict[str, bytes] = {}
    value: bytes = b""
    is_split: bool = False

    @property
    def is_open(self) -> bool:
        """Whether nothing was decided."""
        return not self.value and not self.is_split

    @property
    def is_disputed(self) -> bool:
        """Whether nothing was decided, and the reports differ."""
        return self.is_open and len(set(self.votes.values())) > 1


class Record(msgspec.Struct, frozen=True, array_like=True):
    """The canonical form of a `SelfCheck`; whatever is by node is sorted."""

    roster: tuple[str, ...] = ()
    reads: tuple[tuple[str, int], ...] = ()
    chain: bytes = b""
    marked: tuple[int, int] = (0, 0)
    marked_at_us: int = 0
    ballots: tuple[Ballot, ...] = ()
    agreed: tuple[Agreed, Agreed] = (Agreed(), Agreed())
    fenced: tuple[tuple[str, int], ...] = ()


class SelfCheck:
    """The members as the log knows them; changed by `begin`, `take` and `end_entry` alone.

    Attributes:
        roster: the members, sorted.
        reads: the newest version that each member's release reads.
        chain: the digest of all events, empty before the first roster.
        marked: by digest, the entry of the last checkpoint.
        agreed: by digest, what a majority had last.
        fenced: the members that differ, and the entry at which they did.
    """

    def __init__(self, record: Record | None = None) -> None:
        record = Record() if record is None else record
        self.roster = record.roster
        self.reads = dict(record.reads)
        self.chain = record.chain
        self.marked = list(record.marked)
        self.agreed = list(record.agreed)
        self.fenced = dict(record.fenced)
        self._marked_at_us = record.marked_at_us
        self._is_wanted = False  # within one entry
        self._disputed: list[Ballot] = []  # oldest first; follows from the ballots
        self._ballots = {(b.digest, b.index): _canonical(b) for b in record.ballots}
        self._note_disputes()

    @property
    def has_begun(self) -> bool:
        """Whether the chain has begun."""
        return bool(self.chain)

    def begin(self, state_hash: bytes) -> None:
        """Begin the chain from the hash of the state."""
        assert not self.has_begun
        self.chain = state_hash

    # An entry -------------------------------------------------------------------------------------

    def take(self, notice: Notice, *, time_us: int) -> None:
        """Note what a node says. O(members)."""
        match notice:
            case Roster(members=members):
                self.roster = members
                self.reads = {m: v for m, v in self.reads.items() if m in members}
                self.fenced = {m: i for m, i in self.fenced.items() if m in members}
            case Reads(node=node, version=version):
                if node in self.roster:
                    self.reads[node] = version
            case Report(node=node):
                if node in self.roster:
                    self._take_report(notice)
            case Checkpoint():
                self._is_wanted = time_us >= self._marked_at_us + ON_DEMAND_US

    def end_entry(
        self, index: int, events: bytes, *, size: int, sequence: int, time_us: int
    ) -> None:
        """Extend the chain by the bytes of an entry's events, and open what is due. O(1).

        Args:
            index: of the entry.
            events: of the entry, encoded.
            size: how many orders and keys the state holds.
            sequence: of its last command.
            time_us: the logged clock.
        """
        is_wanted, self._is_wanted = self._is_wanted, False
        if not self.has_begun:
            return
        self.chain = hashlib.blake2b(self.chain + events, digest_size=32).digest()
        if self._disputed and time_us > self._disputed[0].opened_us + DISPUTE_US:
            self._split(self._disputed[0])
        is_wanted = is_wanted or not self.marked[Digest.STATE]  # the first comes at once
        if is_wanted or index >= self.marked[Digest.EVENTS] + CHECKPOINT_ENTRIES:
            self._marked_at_us = time_us
            self._open(Ballot(Digest.EVENTS, index, sequence, time_us))
            entries = max(CHECKPOINT_ENTRIES, size // STATE_SHARE)
            if is_wanted or index >= self.marked[Digest.STATE] + entries:
                self._open(Ballot(Digest.STATE, index, sequence, time_us))

    def _open(self, ballot: Ballot) -> None:
        self.marked[ballot.digest] = ballot.index
        self._ballots[ballot.digest, ballot.index] = ballot
        older = [b for b in self._ballots.values() if b.digest is ballot.digest]
        for oldest in older[:-BALLOTS_MAX]:
            if oldest.is_disputed:
                self._split(oldest)  # and seen to be so until the next checkpoint
            else:
                del self._ballots[oldest.digest, oldest.index]

    # Ballots --------------------------------------------------------------------------------------

    def ballot(self, digest: Digest, index: int) -> Ballot | None:
        """Return the ballot of a checkpoint, if it was not too long ago."""
        return self._ballots.get((digest, index))

    def ballots(self) -> Iterator[Ballot]:
        """Yield the last checkpoints, oldest first."""
        yield from self._ballots.values()

    def _take_report(self, report: Report) -> None:
        ballot = self._ballots.get((report.digest, report.index))
        if ballot is None or report.node in ballot.votes:
            return
        ballot.votes[report.node] = report.value
        if ballot.is_open:
            self._decide(ballot)
        else:
            self._judge(ballot, report.node)
        self._note_disputes()

    def _note_disputes(self) -> None:
        self._disputed = [ballot for ballot in self._ballots.values() if ballot.is_disputed]

    def _decide(self, ballot: Ballot) -> None:
        votes = Counter(v for node, v in ballot.votes.items() if node in self.roster)
        needed = len(self.roster) // 2 + 1
        value, count = max(votes.items(), key=lambda item: item[1])
        missing = len(set(self.roster) - set(ballot.votes))
        if count >= needed:
            ballot.value = value
            self.agreed[ballot.digest] = Agreed(ballot.index, ballot.sequence, value)
            for node in ballot.votes:
                self._judge(ballot, node)
        elif count + missing < needed:
            self._split(ballot)

    def _split(self, ballot: Ballot) -> None:
        ballot.is_split = True
        for node in ballot.votes:
            self._judge(ballot, node)
        self._note_disputes()

    def _judge(self, ballot: Ballot, node: str) -> None:
        """Fence or free a member by what it reported to a decided ballot."""
        if ballot.is_split or ballot.votes[node] != ballot.value:
            if node in self.roster:
                self.fenced[node] = max(ballot.index, self.fenced.get(node, 0))
        elif ballot.digest is Digest.STATE and self.fenced.get(node, ballot.index) < ballot.index:
            del self.fenced[node]

    # Versions, snapshots --------------------------------------------------------------------------

    def version_all_read(self) -> int:
        """Return the newest version that the release of every member reads; 0 if not known."""
        return min((self.reads.get(member, 0) for member in self.roster), default=0)

    def record(self) -> Record:
        """Return the canonical form."""
        return Record(
            self.roster,
            tuple(sorted(self.reads.items())),
            self.chain,
            (self.marked[0], self.marked[1]),
            self._marked_at_us,
            tuple(map(_canonical, self._ballots.values())),
            (self.agreed[0], self.agreed[1]),
            tuple(sorted(self.fenced.items())),
        )

    def check(self) -> None:
        """Assert every invariant."""
        assert set(self.reads) <= set(self.roster)
        assert set(self.fenced) <= set(self.roster)
        assert self._disputed == [b for b in self._ballots.values() if b.is_disputed]
        for digest in Digest:
            ballots = [b for b in self._ballots.values() if b.digest is digest]
            assert len(ballots) <= BALLOTS_MAX + 1
            indexes = [b.index for b in ballots]
            assert indexes == sorted(set(indexes))
            assert all(b.index <= self.marked[digest] for b in ballots)


def _canonical(ballot: Ballot) -> Ballot:
    """Return a copy whose votes are sorted."""
    return msgspec.structs.replace(ballot, votes=dict(sorted(ballot.votes.items())))
