"""What this node has to say to the others through the log, and what the log says of this node.

Theory of operation. At each tick the witness compares what the replicated state knows with what is
so: who the members are (told by the leader), what this release reads, and what this node has at
the last checkpoints. What differs is proposed as a notice, again every `RETRY_S` until it is seen.
Nothing waits for it, and nobody is answered.

The other way round: where the members agreed on another value than this node has, or on none, it
is *fenced* for good: it applies nothing more. Where the log calls it fenced and nothing here is
known to be wrong (it was restarted or rebuilt since), it stands *aside*: it applies and reports,
asks for checkpoints, and serves again once the log has found its state to be right.

Pure apart from the callbacks it is given: times are the owner's monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from raft_exchange.raft.hooks import Standing
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Batch
from raft_exchange.sequencer.notices import (
    NOTICES_MAX,
    Checkpoint,
    Digest,
    Notice,
    Reads,
    Report,
    Roster,
)
from raft_exchange.sequencer.selfcheck import BALLOTS_MAX
from raft_exchange.sequencer.state import ReplicatedState

RETRY_S: Final = 1.0
CHECKPOINT_RETRY_S: Final = 10.0
"""How often a node that stands aside asks for a checkpoint: each costs all members a hash."""
LAST_WORDS_MAX: Final = 30
"""How often a node that was just fenced says what it differs by."""
LAST_WORDS_RETRY_S: Final = 0.05
"""After the first; twice as long each time, up to `RETRY_S`. A leader's are lost as it makes way,
and where entries come fast the checkpoint they are about is soon forgotten."""
OWN_MAX: Final = 4 * BALLOTS_MAX


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


class Hasher(Protocol):
    """Who hashes the state beside the trading; see `hashing.ForkedHasher`."""

    def start(self, index: int, encode: Callable[[], bytes]) -> bool:
        """Begin to hash what `encode` returns now, unless it is busy."""
        ...

    def poll(self) -> tuple[int, bytes] | None:
        """Return, once, the index and the hash that is ready."""
        ...

    def stop(self) -> None:
        """Give up what is under way."""
        ...


class Fence(Protocol):
    """Where it is kept, across restarts, that this node differs; see `fence.FenceFile`."""

    @property
    def is_up(self) -> bool:
        """Whether this node is fenced."""
        ...

    def put_up(self, reason: str) -> None:
        """Fence this node for good."""
        ...

    def note(self, member: str, index: int) -> None:
        """Take note that the log calls a member fenced since the checkpoint at `index`."""
        ...


class Witness:
    """Speaks for one node, which holds `state`."""

    def __init__(
        self, *, node: str, state: ReplicatedState, group: Group, hasher: Hasher, fence: Fence
    ) -> None:
        self._node = node
        self.state = state
        self._group = group
        self._hasher = hasher
        self._fence = fence
        self._said_at_s: dict[Notice, float] = {}
        self._own: dict[tuple[Digest, int], bytes] = {}
        self._noted: dict[str, int] = {}
        self._last_words: tuple[Report | None, int] = (None, 0)

    @property
    def standing(self) -> Standing:
        """What this node may do."""
        if self._fence.is_up:
            return Standing.FENCED
        return Standing.ASIDE if self._node in self.state.selfcheck.fenced else Standing.FULL

    def applied(self, applied: Applied) -> None:
        """Look at the state right after an entry: O(1) unless there is something to compare."""
        check = self.state.selfcheck
        if check.marked[Digest.EVENTS] == applied.index:
            self._keep(Digest.EVENTS, applied.index, check.chain)
        if check.marked[Digest.STATE] == applied.index:
            self._hasher.start(applied.index, self.state.encode)
        if not applied.node:
            self._compare()

    def tick(self, *, now_s: float) -> None:
        """Compare, then propose what the log does not know yet."""
        if self._fence.is_up:
            self._say_last_words(now_s)
            return
        if (hashed := self._hasher.poll()) is not None:
            self._keep(Digest.STATE, *hashed)
        self._compare()
        unsaid = list(self._unsaid())[:NOTICES_MAX]
        self._said_at_s = {n: s for n, s in self._said_at_s.items() if n in unsaid}
        due = [n for n in unsaid if now_s >= self._said_at_s.get(n, float("-inf")) + _retry_s(n)]
        if due:
            self._said_at_s |= dict.fromkeys(due, now_s)
            self._group.propose(self.state.write(Batch("", 0, 0, [], tuple(due))))

    def stop(self) -> None:
        """Give up the hash that is under way."""
        self._hasher.stop()

    def _keep(self, digest: Digest, index: int, value: bytes) -> None:
        self._own[digest, index] = value
        if len(self._own) > OWN_MAX:
            del self._own[next(iter(self._own))]

    def _compare(self) -> None:
        check = self.state.selfcheck
        for ballot in check.ballots():
            own = self._own.get((ballot.digest, ballot.index))
            if own is None or ballot.is_open or self._fence.is_up:
                continue
            if ballot.is_split:
                self._differ(ballot.digest, ballot.index, "no majority has one value")
            elif own != ballot.value:
                agreed = f"it is {own.hex()}, of a majority {ballot.value.hex()}"
                self._differ(ballot.digest, ballot.index, agreed)
        for member, index in check.fenced.items():
            if member != self._node and self._noted.get(member) != index:
                self._fence.note(member, index)
        self._noted = dict(check.fenced)

    def _differ(self, digest: Digest, index: int, how: str) -> None:
        report = Report(self._node, digest, index, self._own[digest, index])
        self._last_words = report, 0
        self._said_at_s.clear()
        what = "the digest of all events" if digest is Digest.EVENTS else "the hash of the state"
        self._fence.put_up(f"{what} at entry {index}: {how}")

    def _say_last_words(self, now_s: float) -> None:
        """Tell the others what is different here; whether they heard, it does not see any more."""
        report, times = self._last_words
        if report is None or times >= LAST_WORDS_MAX:
            return
        pause_s = min(RETRY_S, LAST_WORDS_RETRY_S * 2**times)
        if now_s >= self._said_at_s.get(report, float("-inf")) + pause_s:
            self._said_at_s[report] = now_s
            self._last_words = report, times + 1
            self._group.propose(self.state.write(Batch("", 0, 0, [], (report,))))

    def _unsaid(self) -> Iterator[Notice]:
        check, newest = self.state.selfcheck, self.state.versions.newest
        if self._group.is_settled and check.roster != (members := tuple(self._group.member_ids)):
            yield Roster(members)
        if self._node not in check.roster:
            return
        if check.reads.get(self._node) != newest:
            yield Reads(self._node, newest)
        for (digest, index), value in self._own.items():
            ballot = check.ballot(digest, index)
            if ballot is not None and self._node not in ballot.votes:
                yield Report(self._node, digest, index, value)
        if self._node in check.fenced:
            yield Checkpoint()


def _retry_s(notice: Notice) -> float:
    return CHECKPOINT_RETRY_S if isinstance(notice, Checkpoint) else RETRY_S
