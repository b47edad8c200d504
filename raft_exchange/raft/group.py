"""One member of the Raft group: pysyncobj's `SyncObj`, corrected from outside.

What the library gives: the state (role, term, vote, log, commit and apply index), the constructor
that restores it from a journal, the no-op at the begin of a term, the commit rule of the current
term. What this class does instead of it, each for a reason that a test shows on the stock class:

* appended entries are compared before anything is truncated, and nothing committed ever is;
* replies carry the term and the index they answer, so that late ones count for nothing;
* the leader probes, then pipelines (`progress.py`); a lagging follower catches up in a few trips;
* votes come from members only, after a pre-vote, and never against a leader that is heard;
* nothing leaves that reflects unsynced state: messages are held until `journal.sync()` returned;
  the entries themselves leave before it, so that leader disk and follower network overlap;
* entries are opaque bytes handed to `apply(index, term, payload)`; nothing is pickled;
* the log is compacted, and followers that lack what is gone are sent a snapshot (`snapshots.py`).

The library's private names are mangled attributes looked up through `self`, so methods named
`_SyncObj__x` override it. The version is pinned and `library.check_library` refuses any other.

Single-threaded: every method runs on the event loop's thread. `wake` asks the owner for a tick.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from pysyncobj import syncobj
from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raft_exchange.raft.following import append_missing, conflict
from raft_exchange.raft.hooks import Hooks, Standing, Timing
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.leading import APPEND_BYTES_MAX, Leadership
from raft_exchange.raft.library import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
    REGULAR,
    ROLE_NAMES,
    NoPoller,
)
from raft_exchange.raft.snapshot_file import Header
from raft_exchange.raft.snapshots import Snapshots
from raft_exchange.raft.storage import StorageFailed
from raft_exchange.raft.wire import (
    AppendEntries,
    AppendReply,
    PreVoteReply,
    Propose,
    ProposeRefused,
    RequestPreVote,
    RequestVote,
    SnapshotChunk,
    SnapshotReply,
    SnapshotStatus,
    TimeoutNow,
    VoteReply,
    WireMessage,
)

logger = logging.getLogger(__name__)

APPLY_ENTRIES_MAX: Final = 256
APPLY_SLICE_S: Final = 0.02
"""How long one tick applies entries before it lets the loop and the heartbeats run."""


class Group(syncobj.SyncObj):  # type: ignore[misc]
    """A member that replicates opaque payloads in one order.

    `last_applied` and `commit_index` are log indexes; `propose` never blocks. `do_tick` must run
    after every `wake` and at least every few heartbeats.
    """

    def __init__(
        self,
        *,
        self_id: str,
        member_ids: Iterable[str],
        journal: Journal,
        transport: Transport,
        hooks: Hooks,
        timing: Timing,
    ) -> None:
        self._hooks = hooks
        self._timing = timing
        self._log = journal
        self._snapshots: Snapshots | None = None
        self._log_bytes = 0  # of all commands applied since the log began
        self._wire = transport
        self._leadership: Leadership | None = None
        self._held: list[tuple[Node, WireMessage]] = []
        self._votes: set[str] = set()
        self._pre_votes: set[str] = set()
        self._leader_heard_at_s = float("-inf")  # for votes: forgotten when its link dies
        self._leader_contact_at_s = float("-inf")  # for readers: how old what they see may be
        self._leader_commit_index = 0
        self._ticked_at_s = float("-inf")
        self._is_late = False
        self._aside_in_term = -1
        self._leader_told: str | None = None
        self._connected: set[Node] = set()
        conf = SyncObjConf(
            autoTick=False,
            journalFile=journal,
            pollerType=NoPoller(),
            commandsWaitLeader=False,
            raftMinTimeout=timing.election_s_min,
            raftMaxTimeout=timing.election_s_max,
            appendEntriesPeriod=timing.heartbeat_s,
            leaderFallbackTimeout=timing.quorum_contact_s_max,
            connectionTimeout=max(2.0, timing.election_s_max),
        )
        super().__init__(
            Node(self_id),
            [Node(id_) for id_ in sorted(member_ids) if id_ != self_id],
            conf,
            nodeClass=Node,
            transport=transport,
        )
        journal.sync()
        self._replay_index = self.commit_index

    def keep_snapshots(self, snapshots: Snapshots) -> None:
        """Put the newest snapshot in place, and keep the log short from now on.

        Called once, before the first tick.

        Raises:
            SnapshotsUnusable: the log needs a snapshot that is not there.
        """
        self._snapshots = snapshots
        restored = snapshots.recover()
        if restored is not None:
            self._jump_to(restored)
        self._log.sync()

    def _jump_to(self, restored: Header) -> None:
        """Go on after a snapshot that is in place: what it holds was committed and applied."""
        if restored.term > self.term:
            self._SyncObj__setCurrentTerm(restored.term, None)
        self._SyncObj__raftLastApplied = restored.index
        self._log_bytes = restored.log_bytes
        self._commit(max(self.commit_index, restored.index))

    # What the node asks -----------------------------------------------------------------------

    @property
    def role(self) -> str:
        """Return "leader", "follower" or "candidate"."""
        return ROLE_NAMES[self._SyncObj__raftState]

    @property
    def is_leader(self) -> bool:
        """Return whether this member leads its term (another may already lead a later one)."""
        return bool(self._SyncObj__raftState == LEADER)

    @property
    def term(self) -> int:
        """Return the current term."""
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        """Return the greatest index known to be committed."""
        return int(self._SyncObj__raftCommitIndex)

    @property
    def last_applied(self) -> int:
        """Return the index of the last applied entry."""
        return int(self._SyncObj__raftLastApplied)

    @property
    def leader_id(self) -> str | None:
        """Return the leader of the current term, if known."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    @property
    def is_settled(self) -> bool:
        """Return whether this is a leader whose term has committed an entry, so commits flow."""
        lead = self._leadership
        return lead is not None and self.commit_index >= lead.first_index

    @property
    def member_ids(self) -> list[str]:
        """Return the ids of the members, this one included, sorted."""
        return sorted([self.selfNode.id, *(node.id for node in self._SyncObj__otherNodes)])

    def is_connected(self, member_id: str) -> bool:
        """Return whether the transport holds a connection to that member."""
        return Node(member_id) in self._connected

    def match_lag(self, member_id: str) -> int | None:
        """Return how many entries the member lacks; None where this is not the leader."""
        lead = self._leadership
        progress = lead.progress.get(Node(member_id)) if lead is not None else None
        return None if progress is None else self._log.last_index - progress.match_index

    def contact_age_s(self) -> float | None:
        """Return the seconds since the leader (on it: a quorum) was heard; None for never."""
        now_s = syncobj.monotonicTime()
        if self._leadership is not None:
            return float(now_s - self._leadership.quorum_heard_at_s(now_s))
        if self._leader_contact_at_s == float("-inf"):
            return None
        return float(now_s - self._leader_contact_at_s)

    def propose(self, payload: bytes) -> bool:
        """Hand `payload` to the leader, this member or another; return whether it was sent off.

        True promises nothing: only `apply` tells that it committed. False: no leader is known, or
        it is out of reach, or the queue (`PROPOSALS_MAX`) is full; nothing happened.
        """
        if self._leadership is not None:
            return self._enqueue(self._leadership, payload)
        leader = self._SyncObj__raftLeader
        if leader is None or leader not in self._connected:
            return False
        return bool(self._wire.send(leader, Propose(payload)))

    def hand_over(self) -> None:
        """As leader: stop taking proposals and make the most advanced member the leader.

        Bounded by `Timing.transfer_s_max`; afterwards proposals are taken again. Ask `is_leader`.
        """
        if self._leadership is not None:
            deadline_s = syncobj.monotonicTime() + self._timing.transfer_s_max
            self._leadership.hand_over(self._connected, deadline_s=deadline_s)
            self._hooks.wake()

    @property
    def is_handing_over(self) -> bool:
        """Return whether a hand-over is under way: this member leads and takes no proposals."""
        return self._leadership is not None and self._leadership.is_handing_over

    @property
    def snapshot_index(self) -> int:
        """Return up to which entry the newest snapshot reaches; 0 while there is none."""
        newest = self._snapshots.store.newest if self._snapshots is not None else None
        return 0 if newest is None else newest.index

    def request_snapshot(self) -> None:
        """Write a snapshot soon, though none is due; nothing where the newest says it all."""
        if self._snapshots is not None and self.last_applied > self.snapshot_index:
            self._snapshots.request()

    def node(self, member_id: str) -> Node:
        """Return the library's name for a member."""
        return Node(member_id)

    def do_tick(self) -> None:
        """Do everything that is due: elections, commits, applies, sends, one sync."""
        self.doTick(0.0)

    # One tick -----------------------------------------------------------------------------------

    def _onTick(self, timeToWait: float = 0.0) -> None:
        now_s = syncobj.monotonicTime()
        # After a pause of our own, what others said meanwhile is still unread: look a tick later.
        pause_s, self._ticked_at_s = now_s - self._ticked_at_s, now_s
        self._is_late = not self._is_late and pause_s > self._timing.quorum_contact_s_max / 2
        standing = self._hooks.standing()
        if self._leadership is not None and standing is not Standing.FULL:
            self._stand_aside(self._leadership)
        if self._leadership is not None:
            self._advance_commit(self._leadership)
            if not self._is_late:
                self._check_quorum_contact(self._leadership, now_s)
        elif now_s >= self._SyncObj__raftElectionDeadline:
            if self.last_applied < self._replay_index or standing is not Standing.FULL:
                self._reset_election_deadline()  # no use as a leader, before it has caught up
            else:
                self._start_pre_vote()
        self._apply_committed(now_s)
        if self.last_applied >= self._leader_commit_index:
            self._leader_contact_at_s = max(self._leader_contact_at_s, self._leader_heard_at_s)
        if (lead := self._leadership) is not None:
            lead.append_proposals(self._hooks.admit)
            lead.replicate(
                self._connected,
                commit_index=self.commit_index,
                now_s=now_s,
                store=None if self._snapshots is None else self._snapshots.store,
            )
            self._make_way(lead, now_s)
            lead.pursue_hand_over(now_s)
        self._sync_and_release()
        self._pursue_snapshots(now_s)
        self._tell_leader()

    def _stand_aside(self, lead: Leadership) -> None:
        """Hand over once; step down when that came to nothing."""
        if self._aside_in_term != self.term:
            logger.error("leader of term %d stands aside: its state may differ", self.term)
            self._aside_in_term = self.term
            self.hand_over()
        if not lead.is_handing_over:
            self._become_follower(leader=None)

    def _make_way(self, lead: Leadership, now_s: float) -> None:
        lead.make_way(
            self._connected,
            has_room=self._hooks.has_room(),
            now_s=now_s,
            deadline_s=now_s + self._timing.transfer_s_max,
        )

    def _pursue_snapshots(self, now_s: float) -> None:
        if self._snapshots is not None and self._hooks.standing() is not Standing.FENCED:
            lead = self._leadership
            self._snapshots.tick(
                index=self.last_applied,
                log_bytes=self._log_bytes,
                is_sending=lead is not None and lead.is_sending_snapshot(now_s),
                now_s=now_s,
            )

    def _advance_commit(self, lead: Leadership) -> None:
        """Commit what a majority stores, if it is of this term (Raft section 5.4.2).

        This member's own log counts whole: the last tick ended with its sync.
        """
        index = lead.committed_index()
        if index > self.commit_index and self._log.term_at(index) == self.term:
            self._commit(index)

    def _commit(self, index: int) -> None:
        assert self.commit_index <= index <= self._log.last_index
        self._SyncObj__raftCommitIndex = index
        self._log.setRaftCommitIndex(index)

    def _check_quorum_contact(self, lead: Leadership, now_s: float) -> None:
        """A leader that hears no majority stops leading: its reads would be stale."""
        if now_s - lead.quorum_heard_at_s(now_s) > self._timing.quorum_contact_s_max:
            logger.warning("leader of term %d hears no majority; stepping down", self.term)
            self._become_follower(leader=None)

    def _apply_committed(self, now_s: float) -> None:
        while self.last_applied < self.commit_index:
            entries = self._log.entries_from(
                self.last_applied + 1, bytes_max=APPEND_BYTES_MAX, count_max=APPLY_ENTRIES_MAX
            )
            assert entries, "committed entries are in the log"
            for command, index, term in entries:
                if index > self.commit_index or self._hooks.standing() is Standing.FENCED:
                    return
                assert index == self.last_applied + 1, (index, self.last_applied)
                if command[:1] == REGULAR:
                    self._apply_one(index, term, command[1:])
                self._SyncObj__raftLastApplied = index
                self._log_bytes += len(command)
                if syncobj.monotonicTime() - now_s > APPLY_SLICE_S:
                    self._hooks.wake()
                    return

    def _apply_one(self, index: int, term: int, payload: bytes) -> None:
        try:
            self._hooks.apply(index, term, payload)
        except BaseException as error:
            # A half-applied state must neither serve nor vote.
            self._hooks.fail(error)

    def _sync_and_release(self) -> None:
        """Make everything of this tick durable, then let out what speaks of it."""
        if self._log.pending:
            try:
                self._log.sync()
            except StorageFailed as error:
                self._hooks.fail(error)
            if self.is_leader:
                self._hooks.wake()  # now this member's own copy counts
        held, self._held = self._held, []
        for node, message in held:
            self._wire.send(node, message)

    def _send_after_sync(self, node: Node, message: WireMessage) -> None:
        self._held.append((node, message))
        self._hooks.wake()

    def _tell_leader(self) -> None:
        leader = self.leader_id if not self.is_leader or self.is_settled else None
        if leader != self._leader_told:
            self._leader_told = leader
            self._hooks.leader_changed(leader)

    # Roles ----------------------------------------------------------------------------------------

    @property
    def _quorum(self) -> int:
        return (len(self._SyncObj__otherNodes) + 1) // 2 + 1

    def _others(self) -> list[Node]:
        """Return the other members in a fixed order: the library keeps them in a set."""
        return sorted(self._SyncObj__otherNodes, key=lambda node: node.id)

    def _reset_election_deadline(self) -> None:
        self._SyncObj__raftElectionDeadline = (
            syncobj.monotonicTime() + self._SyncObj__generateRaftTimeout()
        )

    def _start_pre_vote(self) -> None:
        """Ask whether an election could be won, before disturbing anybody with a new term."""
        self._reset_election_deadline()
        self._become_follower(leader=None)
        self._pre_votes = {str(self.selfNode.id)}
        if len(self._pre_votes) >= self._quorum:
            self._start_election()
            return
        request = RequestPreVote(
            self.term, self.term + 1, self._log.last_index, self._last_log_term
        )
        for node in self._others():
            self._wire.send(node, request)

    def _start_election(self) -> None:
        self._reset_election_deadline()
        self._pre_votes = set()
        if self._hooks.standing() is not Standing.FULL:
            return
        self._leader_heard_at_s = float("-inf")
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(CANDIDATE)
        self._SyncObj__setCurrentTerm(self.term + 1, self.selfNode.id)
        self._votes = {str(self.selfNode.id)}
        request = RequestVote(self.term, self._log.last_index, self._last_log_term)
        for node in self._others():
            self._send_after_sync(node, request)
        if len(self._votes) >= self._quorum:
            self._become_leader()

    def _become_leader(self) -> None:
        logger.info("leader of term %d from index %d", self.term, self._log.last_index + 1)
        self._SyncObj__raftLeader = self.selfNode
        self._SyncObj__setState(LEADER)
        self._leadership = Leadership(
            term=self.term,
            others=self._others(),
            log=self._log,
            wire=self._wire,
            heartbeat_s=self._timing.heartbeat_s,
            now_s=syncobj.monotonicTime(),
        )
        self._hooks.wake()

    def _become_follower(self, *, leader: Node | None, term: int | None = None) -> None:
        if term is not None and term > self.term:
            self._SyncObj__setCurrentTerm(term, None)
        if (lead := self._leadership) is not None:
            self._reset_election_deadline()
            now_s = syncobj.monotonicTime()
            self._leader_contact_at_s = max(
                self._leader_contact_at_s, lead.quorum_heard_at_s(now_s)
            )
        self._SyncObj__raftLeader = leader
        self._SyncObj__setState(FOLLOWER)
        self._leadership = None
        self._hooks.wake()

    @property
    def _last_log_term(self) -> int:
        term = self._log.term_at(self._log.last_index)
        assert term is not None
        return term

    def _is_up_to_date(self, last_log_term: int, last_log_index: int) -> bool:
        """Raft section 5.4.1: the later term, then the longer log."""
        return (last_log_term, last_log_index) >= (self._last_log_term, self._log.last_index)

    # What members say -----------------------------------------------------------------------------

    def _SyncObj__onMessageReceived(self, node: Node, message: WireMessage) -> None:
        if node not in self._SyncObj__otherNodes:
            return
        try:
            self._receive(node, message)
        except Exception as error:
            # Members are authenticated and speak a closed list: only a bug leads here.
            self._hooks.fail(error)

    def _receive(self, node: Node, message: WireMessage) -> None:
        match message:
            case AppendEntries():
                self._on_append_entries(node, message)
            case AppendReply():
                self._on_append_reply(node, message)
            case SnapshotChunk():
                self._on_snapshot_chunk(node, message)
            case SnapshotReply():
                self._on_snapshot_reply(node, message)
            case Propose(payload=payload):
                lead = self._leadership
                if lead is None or lead.is_handing_over or not self._enqueue(lead, payload):
                    self._wire.send(node, ProposeRefused(self.term))
            case ProposeRefused():
                self._hooks.propose_refused()
            case TimeoutNow():
                if message.term == self.term and node == self._SyncObj__raftLeader:
                    self._start_election()
            case _:
                self._on_election_message(node, message)
        self._hooks.wake()

    def _on_election_message(self, node: Node, message: WireMessage) -> None:
        match message:
            case RequestPreVote():
                self._on_request_pre_vote(node, message)
            case PreVoteReply():
                self._on_pre_vote_reply(node, message)
            case RequestVote():
                self._on_request_vote(node, message)
            case VoteReply():
                self._on_vote_reply(node, message)

    def _enqueue(self, lead: Leadership, payload: bytes) -> bool:
        self._hooks.wake()
        return lead.propose(payload)

    def _on_request_pre_vote(self, node: Node, message: RequestPreVote) -> None:
        heard_s = syncobj.monotonicTime() - self._leader_heard_at_s
        granted = (
            message.next_term > self.term
            and not self.is_leader
            and heard_s >= self._timing.election_s_min
            and self._is_up_to_date(message.last_log_term, message.last_log_index)
        )
        self._wire.send(node, PreVoteReply(self.term, message.next_term, granted))

    def _on_pre_vote_reply(self, node: Node, message: PreVoteReply) -> None:
        if message.term > self.term:
            self._become_follower(leader=None, term=message.term)
            self._pre_votes = set()
        elif self._pre_votes and message.granted and message.next_term == self.term + 1:
            self._pre_votes.add(str(node.id))
            if len(self._pre_votes) >= self._quorum:
                self._start_election()

    def _on_request_vote(self, node: Node, message: RequestVote) -> None:
        if message.term > self.term:
            self._become_follower(leader=None, term=message.term)
        granted = (
            message.term == self.term
            and self._SyncObj__raftState == FOLLOWER
            and self._SyncObj__votedForNodeId in (None, node.id)
            and self._is_up_to_date(message.last_log_term, message.last_log_index)
        )
        if granted:
            self._SyncObj__setCurrentTerm(self.term, node.id)
            self._reset_election_deadline()
        self._send_after_sync(node, VoteReply(self.term, granted))

    def _on_vote_reply(self, node: Node, message: VoteReply) -> None:
        if message.term > self.term:
            self._become_follower(leader=None, term=message.term)
        elif (
            self._SyncObj__raftState == CANDIDATE and message.granted and message.term == self.term
        ):
            self._votes.add(str(node.id))
            if len(self._votes) >= self._quorum:
                self._become_leader()

    def _on_append_entries(self, node: Node, message: AppendEntries) -> None:
        if message.term < self.term:
            # Without an answer a deposed leader would learn of its fate late.
            refusal = AppendReply(self.term, message.previous_index, False, self.commit_index)
            self._send_after_sync(node, refusal)
            return
        self._hear_leader(node, message.term)
        hint_index = conflict(self._log, self.commit_index, message)
        if hint_index is not None:
            reply = AppendReply(self.term, message.previous_index, False, hint_index)
            self._send_after_sync(node, reply)
            return
        self._leader_commit_index = message.commit_index
        match_index = append_missing(self._log, self.commit_index, message)
        # Only what was compared with the leader's log may be committed on its word.
        if min(message.commit_index, match_index) > self.commit_index:
            self._commit(min(message.commit_index, match_index))
        has_room = self._hooks.has_room()
        self._send_after_sync(
            node, AppendReply(self.term, message.previous_index, True, match_index, has_room)
        )

    def _hear_leader(self, node: Node, term: int) -> None:
        """Follow whoever leads this or a later term, and stand for no election meanwhile."""
        if term > self.term or self._SyncObj__raftLeader != node:
            assert not (self.is_leader and term == self.term), "two leaders in one term"
            self._become_follower(leader=node, term=term)
        self._pre_votes = set()
        self._leader_heard_at_s = syncobj.monotonicTime()
        self._reset_election_deadline()

    def _on_snapshot_chunk(self, node: Node, message: SnapshotChunk) -> None:
        status, offset = SnapshotStatus.REFUSED, 0
        if message.term >= self.term:
            self._hear_leader(node, message.term)
            if self._snapshots is not None and self._hooks.standing() is not Standing.FENCED:
                status, offset, restored = self._snapshots.receive(
                    message, commit_index=self.commit_index
                )
                if restored is not None:
                    self._jump_to(restored)
                    self._hooks.restored()
                    self._hear_leader(node, message.term)  # decoding took its time
        self._send_after_sync(node, SnapshotReply(self.term, message.index, offset, status))

    def _on_snapshot_reply(self, node: Node, message: SnapshotReply) -> None:
        if message.term > self.term:
            self._become_follower(leader=None, term=message.term)
        elif self._leadership is not None:
            self._leadership.snapshot_answered(node, message, now_s=syncobj.monotonicTime())

    def _on_append_reply(self, node: Node, message: AppendReply) -> None:
        if message.term > self.term:
            self._become_follower(leader=None, term=message.term)
            return
        if self._leadership is not None:
            self._leadership.answered(node, message, now_s=syncobj.monotonicTime())

    # Connections ----------------------------------------------------------------------------------

    def _SyncObj__onNodeConnected(self, node: Node) -> None:
        self._connected.add(node)
        if self._leadership is not None:
            self._leadership.connection_changed(node, now_s=syncobj.monotonicTime())
        self._hooks.wake()

    def _SyncObj__onNodeDisconnected(self, node: Node) -> None:
        self._connected.discard(node)
        if self._leadership is not None:
            self._leadership.connection_changed(node, now_s=syncobj.monotonicTime())
        if node == self._SyncObj__raftLeader:
            # Its process died or the link is cut: do not wait for the deadline, only for a
            # moment's jitter, and let others stand as well.
            self._leader_heard_at_s = float("-inf")
            self._SyncObj__raftLeader = None
            jitter = self._SyncObj__generateRaftTimeout() - self._timing.election_s_min
            self._SyncObj__raftElectionDeadline = syncobj.monotonicTime() + jitter / 5
        self._hooks.wake()
