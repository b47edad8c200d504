"""One member of the Raft group: pysyncobj's `SyncObj`, corrected from outside.

What the library gives: the state (role, term, vote, log, commit and apply index), the constructor
that restores it from a journal, the no-op at the begin of a term, the commit rule of the current
term. What is done instead of it, each for a reason that a test shows on the stock class:

* appended entries are compared before anything is truncated, and nothing committed ever is;
* replies carry the term and the index they answer, so that late ones count for nothing;
* the leader probes, then pipelines (`progress.py`); a lagging follower catches up in a few trips;
* votes come from members only, after a pre-vote, and never against a leader that is heard;
* nothing leaves that reflects unsynced state: messages are held until `journal.sync()` returned;
  the entries themselves leave before it, so that leader disk and follower network overlap;
* entries are opaque bytes handed to `apply(index, term, payload)`; nothing is pickled;
* the log is compacted, and followers that lack what is gone are sent a snapshot (`snapshots.py`);
* who the members are is in the log, and changes there, one at a time (`membership.py`).

The library's private names are mangled attributes looked up through `self`, so methods named
`_SyncObj__x` override it; its state is read through `seat.py`. The version is pinned and
`library.check_library` refuses any other.

Single-threaded: every method runs on the event loop's thread. `wake` asks the owner for a tick.
"""

from __future__ import annotations

from collections.abc import Iterable

from pysyncobj import syncobj
from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raft_exchange.raft.applying import Applying
from raft_exchange.raft.changing import Changes, Resolve
from raft_exchange.raft.elections import Elections
from raft_exchange.raft.following import Following, configurations
from raft_exchange.raft.hooks import Hooks, Standing, Timing
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.leading import Leadership
from raft_exchange.raft.library import NoPoller
from raft_exchange.raft.membership import Change, Configuration, History
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.peers import Peers
from raft_exchange.raft.seat import Seat, monotonic_s
from raft_exchange.raft.snapshots import Snapshots
from raft_exchange.raft.storage import StorageFailed
from raft_exchange.raft.wire import (
    AppendEntries,
    AppendReply,
    ChangeReply,
    Propose,
    ProposeChange,
    ProposeRefused,
    Removed,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    WireMessage,
)


class Group(syncobj.SyncObj):  # type: ignore[misc]
    """A member that replicates opaque payloads in one order.

    `last_applied` and `commit_index` are log indexes; `propose` never blocks. `do_tick` must run
    after every `wake` and at least every few heartbeats.

    Args:
        self_id: this member's id.
        founders: the ids that the group started from, if this node is one of them. A joiner has
            none: it learns from the log who the members are, and stands for no election before.
        journal: the log.
        transport: how to reach others; it is told whom by `connect_members` and the log.
        hooks: whom to tell.
        timing: the clockwork.
    """

    def __init__(
        self,
        *,
        self_id: str,
        founders: Iterable[str],
        journal: Journal,
        transport: Transport,
        hooks: Hooks,
        timing: Timing,
    ) -> None:
        self._hooks = hooks
        self._timing = timing
        self._log = journal
        self._ticked_at_s = float("-inf")
        self._is_late = False
        self._leader_told: str | None = None
        seat = self._seat = Seat(self, journal)
        self.patience = seat.patience
        history = self._history = History(Configuration(tuple(sorted(founders))))
        outbox = self._outbox = Outbox(transport, hooks.wake)
        elections = Elections(seat, history, outbox, timing=timing, hooks=hooks)
        self._elections = elections
        self._following = Following(seat, history, elections, outbox, has_room=hooks.has_room)
        self._applying = Applying(seat, history, elections, outbox, hooks)
        self._peers = Peers(seat, history, elections, outbox, transport)
        self.changes = Changes(seat, history, elections, outbox, self._peers)
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
        super().__init__(Node(self_id), [], conf, nodeClass=Node, transport=transport)
        for index, configuration in configurations(journal):
            history.add(index, configuration)
        journal.sync()
        self._replay_index = self.commit_index
        self._peers.follow_log()

    def keep_snapshots(self, snapshots: Snapshots) -> None:
        """Put the newest snapshot in place, and keep the log short from now on.

        Called once, before the first tick.

        Raises:
            SnapshotsUnusable: the log needs a snapshot that is not there.
        """
        self._applying.keep(snapshots)

    def connect_members(self) -> None:
        """Begin to take part: connect to the other members, now and as they change."""
        self._peers.open()

    # What the node asks -----------------------------------------------------------------------

    @property
    def role(self) -> str:
        """Return "leader", "follower" or "candidate"."""
        return self._seat.role_name

    @property
    def is_leader(self) -> bool:
        """Return whether this member leads its term (another may already lead a later one)."""
        return self._seat.is_leader

    @property
    def term(self) -> int:
        """Return the current term."""
        return self._seat.term

    @property
    def commit_index(self) -> int:
        """Return the greatest index known to be committed."""
        return self._seat.commit_index

    @property
    def last_applied(self) -> int:
        """Return the index of the last applied entry."""
        return self._seat.last_applied

    @property
    def leader_id(self) -> str | None:
        """Return the leader of the current term, if known."""
        leader = self._seat.leader
        return None if leader is None else str(leader.id)

    @property
    def is_settled(self) -> bool:
        """Return whether this is a leader whose term has committed an entry, so commits flow."""
        lead = self.leadership
        return lead is not None and self.commit_index >= lead.first_index

    @property
    def leadership(self) -> Leadership | None:
        """Return this member's lead, while it leads."""
        return self._elections.leadership

    @property
    def configuration(self) -> Configuration:
        """Return who the members are by this member's log, committed or not."""
        return self._history.current

    @property
    def member_ids(self) -> list[str]:
        """Return the ids of those who vote, sorted; as `configuration`."""
        return list(self._history.current.voters)

    @property
    def is_removed(self) -> bool:
        """Return whether this member was removed from the group, which is for ever."""
        return self._peers.is_removed

    def is_connected(self, member_id: str) -> bool:
        """Return whether the transport holds a connection to that member."""
        return Node(member_id) in self._peers.connected

    def match_lag(self, member_id: str) -> int | None:
        """Return how many entries the member lacks; None where this is not the leader."""
        lead = self.leadership
        progress = lead.progress.get(Node(member_id)) if lead is not None else None
        return None if progress is None else self._log.last_index - progress.match_index

    def contact_age_s(self) -> float | None:
        """Return how old what is applied here may be; see `Elections.contact_age_s`."""
        return self._elections.contact_age_s()

    def request_change(self, change: Change, resolve: Resolve) -> None:
        """Add or remove a member, through the leader, whoever that is; see `Changes.request`.

        Who is added is a learner when it is done, and votes soon after it has caught up.
        """
        self.changes.request(change, resolve)
        self._hooks.wake()

    def know(self, member_id: str) -> None:
        """Let a node in that proved to be of this cluster, though the log may not say so yet."""
        self._peers.know(member_id)

    def propose(self, payload: bytes) -> bool:
        """Hand `payload` to the leader, this member or another; return whether it was sent off.

        True promises nothing: only `apply` tells that it committed. False: no leader is known, or
        it is out of reach, or the queue (`PROPOSALS_MAX`) is full; nothing happened.
        """
        if self.leadership is not None:
            return self._enqueue(self.leadership, payload)
        leader = self._seat.leader
        if leader is None or leader not in self._peers.connected:
            return False
        return self._outbox.send(leader, Propose(payload))

    def hand_over(self, to: str | None = None) -> None:
        """As leader: stop taking proposals and make the most advanced member, or `to`, the leader.

        Bounded by `Timing.transfer_s_max`; afterwards proposals are taken again. Ask `is_leader`.
        """
        self._elections.hand_over(self._peers.connected, to=to)

    @property
    def is_handing_over(self) -> bool:
        """Return whether a hand-over is under way: this member leads and takes no proposals."""
        return self.leadership is not None and self.leadership.is_handing_over

    @property
    def snapshot_index(self) -> int:
        """Return up to which entry the newest snapshot reaches; 0 while there is none."""
        return self._applying.snapshot_index

    def request_snapshot(self) -> None:
        """Write a snapshot soon, though none is due; nothing where the newest says it all."""
        self._applying.request_snapshot()

    def do_tick(self) -> None:
        """Do everything that is due: elections, commits, applies, sends, one sync."""
        self.doTick(0.0)

    # One tick -----------------------------------------------------------------------------------

    def _onTick(self, timeToWait: float = 0.0) -> None:
        now_s = monotonic_s()
        # After a pause of our own, what others said meanwhile is still unread: look a tick later.
        pause_s, self._ticked_at_s = now_s - self._ticked_at_s, now_s
        self._seat.attention.tick(now_s)
        self._elections.note_silence(pause_s, now_s)
        self._is_late = not self._is_late and pause_s > self._timing.quorum_contact_s_max / 2
        if self._hooks.standing() is not Standing.FULL:
            self._elections.stand_aside(self._peers.connected)
        if self.leadership is not None:
            self._advance_commit(self.leadership)
            if not self._is_late:
                self._elections.check_quorum_contact(now_s)
        elif now_s >= self._seat.election_deadline_s:
            if self.last_applied < self._replay_index:
                self._seat.postpone_election()  # no use as a leader before it has caught up
            else:
                self._elections.start_pre_vote()
        self._applying.advance(now_s)
        self._elections.note_contact(self._following.met, now_s)
        if (lead := self.leadership) is not None:
            lead.append_proposals(self._hooks.admit)
        self.changes.tick(now_s)
        self._peers.follow_log()
        if (lead := self.leadership) is not None:
            self._lead(lead, now_s)
        self._sync_and_release()
        self._applying.pursue_snapshots(now_s)
        self._tell_leader()

    def _lead(self, lead: Leadership, now_s: float) -> None:
        connected = self._peers.connected
        lead.replicate(
            connected, commit_index=self.commit_index, now_s=now_s, store=self._applying.store
        )
        lead.make_way(
            connected,
            has_room=self._hooks.has_room(),
            now_s=now_s,
            deadline_s=now_s + self._timing.transfer_s_max,
        )
        lead.pursue_hand_over(now_s)

    def _advance_commit(self, lead: Leadership) -> None:
        """Commit what a majority has synced, if it is of this term (Raft section 5.4.2)."""
        index = lead.committed_index()
        if index > self.commit_index and self._log.term_at(index) == self.term:
            self._seat.commit(index)

    def _sync_and_release(self) -> None:
        """Make everything of this tick durable, then let out what speaks of it."""
        if self._log.pending:
            try:
                self._log.sync()
            except StorageFailed as error:
                self._hooks.fail(error)
            if self.is_leader:
                self._hooks.wake()  # now this member's own copy counts
        if self.leadership is not None:
            self.leadership.synced_index = self._log.last_index
        self._outbox.release()

    def _tell_leader(self) -> None:
        leader = self.leader_id if not self.is_leader or self.is_settled else None
        if leader != self._leader_told:
            self._leader_told = leader
            self._hooks.leader_changed(leader)

    # What members say -----------------------------------------------------------------------------

    def _SyncObj__onMessageReceived(self, node: Node, message: WireMessage) -> None:
        if not self._peers.admits(node):
            return
        try:
            self._receive(node, message)
        except Exception as error:
            # Members are authenticated and speak a closed list: only a bug leads here.
            self._hooks.fail(error)

    def _receive(self, node: Node, message: WireMessage) -> None:
        match message:
            case AppendEntries():
                self._following.receive(node, message)
            case AppendReply() | SnapshotReply():
                self._on_reply(node, message)
            case SnapshotChunk():
                self._applying.receive(node, message)
            case Propose(payload=payload):
                lead = self.leadership
                if lead is None or lead.is_handing_over or not self._enqueue(lead, payload):
                    self._outbox.send(node, ProposeRefused(self.term))
            case ProposeRefused():
                self._hooks.propose_refused()
            case TimeoutNow():
                if message.term == self.term and node == self._seat.leader:
                    self._elections.start_election()
            case _:
                self._receive_other(node, message)
        self._hooks.wake()

    def _receive_other(self, node: Node, message: WireMessage) -> None:
        match message:
            case ProposeChange():
                self.changes.on_propose(node, message)
            case ChangeReply():
                self.changes.on_reply(message)
            case Removed():
                self._peers.leave(f"{node.id} says that this member was removed")
            case _:
                self._elections.receive(node, message)

    def _enqueue(self, lead: Leadership, payload: bytes) -> bool:
        self._hooks.wake()
        return lead.propose(payload)

    def _on_reply(self, node: Node, message: AppendReply | SnapshotReply) -> None:
        if message.term > self.term:
            self._elections.follow(None, term=message.term)
        elif (lead := self.leadership) is not None:
            if isinstance(message, AppendReply):
                lead.answered(node, message, now_s=monotonic_s())
            else:
                lead.snapshot_answered(node, message, now_s=monotonic_s())

    # Connections ----------------------------------------------------------------------------------

    def _SyncObj__onNodeConnected(self, node: Node) -> None:
        self._peers.note_connected(node)
        if self.leadership is not None:
            self.leadership.connection_changed(node, now_s=monotonic_s())
        self._hooks.wake()

    def _SyncObj__onNodeDisconnected(self, node: Node) -> None:
        self._peers.connected.discard(node)
        if self.leadership is not None:
            self.leadership.connection_changed(node, now_s=monotonic_s())
        self._elections.lose_link(node)
        self._hooks.wake()
