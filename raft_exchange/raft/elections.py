"""Who leads: questions before an election, votes in it, and the lead of whoever won.

Rules beside Raft's own (section 5.2, thesis 4.2.3 and 9.6).

* A pre-vote comes first: nobody who hears a leader, or whose log is longer, grants it, so a node
  back from a partition disturbs nobody.
* Of two who ask at once, the one with the shorter log gives way, or the lesser id, so that the
  votes are not split. Whoever refuses for having the better claim asks, at once, itself: the other
  has noticed by now that nobody leads. Whoever grants lets the other try before it asks.
* Asking disturbs nobody, so it is done again sooner than standing.
* Who votes is what the configuration in force says; whoever is not a voter there never stands.
  A vote is *given* to any member that asks, because the one that asks may know a later
  configuration; it is *counted* only if it comes from a voter.
* Refusals carry the sender's term, so that whoever was left behind catches up.
* Whoever gave up on several terms in a row waits longer for the next, for votes as well as for
  heartbeats (`patience.py`): where everybody is slow, the usual time is never enough.
* Votes and requests for them leave after the sync that makes term and vote durable.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final, NamedTuple

from pysyncobj.node import Node

from raft_exchange.raft.hooks import Hooks, Standing, Timing
from raft_exchange.raft.leading import Leadership
from raft_exchange.raft.library import CANDIDATE, FOLLOWER, LEADER
from raft_exchange.raft.membership import Configuration, History
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.seat import Seat, monotonic_s
from raft_exchange.raft.wire import (
    PreVoteReply,
    RequestPreVote,
    RequestVote,
    VoteReply,
    WireMessage,
)

ASK_AGAIN_SHARE: Final = 3
"""A pre-vote is repeated after so small a part of the patience with a leader."""
GIVE_WAY_SHARE: Final = 5
"""So is, by another, the time that whoever was granted one has to win."""

logger = logging.getLogger(__name__)


class Met(NamedTuple):
    """What was committed by the last word that this log is level with, and when that was said."""

    commit_index: int
    said_at_s: float


class Elections:
    """One member's part in elections; `leadership` is what it has while it leads."""

    def __init__(
        self,
        seat: Seat,
        history: History,
        outbox: Outbox,
        *,
        timing: Timing,
        hooks: Hooks,
    ) -> None:
        self.leadership: Leadership | None = None
        self._is_barred = False
        self.leader_heard_at_s = float("-inf")  # for votes: forgotten when its link dies
        self._contact_at_s = float("-inf")  # for readers: how old what they see may be
        self._seat = seat
        self._history = history
        self._outbox = outbox
        self._timing = timing
        self._hooks = hooks
        self._aside_in_term = -1
        self._votes: set[str] = set()
        self._pre_votes: set[str] = set()

    @property
    def _configuration(self) -> Configuration:
        return self._history.current

    def others(self) -> list[Node]:
        """Return the other members in a fixed order."""
        return [Node(id_) for id_ in self._configuration.members if id_ != self._seat.id]

    def bar(self) -> None:
        """Stand for no election from now on, whatever the log says."""
        self._is_barred = True

    @property
    def _may_stand(self) -> bool:
        is_voter = self._seat.id in self._configuration.voters
        return is_voter and not self._is_barred and self._hooks.standing() is Standing.FULL

    # Contact --------------------------------------------------------------------------------------

    def contact_age_s(self) -> float | None:
        """Return the seconds since a moment of which all that was committed is applied here.

        By the leader's word, on the leader by a quorum's; None where that never was.
        """
        if self._contact_at_s == float("-inf"):
            return None
        return monotonic_s() - self._contact_at_s

    def note_contact(self, met: Met, now_s: float) -> None:
        """Note as of when all that was committed is applied here, by what the leader said last.

        On the leader it is what a quorum said: nobody else has committed anything by then.
        """
        lead = self.leadership
        if lead is not None:
            index = max(lead.first_index, self._seat.commit_index)
            met = Met(index, lead.quorum_said_at_s(now_s))
        if self._seat.last_applied >= met.commit_index:
            self._contact_at_s = max(self._contact_at_s, met.said_at_s)

    def hear_leader(self, node: Node, term: int) -> None:
        """Follow whoever leads this or a later term, and stand for no election meanwhile."""
        if term > self._seat.term or self._seat.leader != node:
            assert not (self._seat.is_leader and term == self._seat.term), "two leaders in one term"
            self.follow(node, term=term)
        self._pre_votes = set()
        now_s = monotonic_s()
        self.note_silence(now_s - self.leader_heard_at_s, now_s)
        self.leader_heard_at_s = now_s
        self._seat.postpone_election()

    def note_silence(self, silence_s: float, now_s: float) -> None:
        """Note how long this member heard nothing of others: while they are slow, it is patient."""
        usual_s = self._timing.election_s_min
        self._seat.patience.note_silence(silence_s, usual_s=usual_s, now_s=now_s)

    def lose_link(self, node: Node) -> None:
        """If that was the leader, stand soon: its process died or the link is cut.

        After a moment's jitter, so that others may stand as well.
        """
        if node == self._seat.leader:
            self.leader_heard_at_s = float("-inf")
            self._seat.leader = None
            self._seat.patience.excuse(self._seat.term)  # a dead link is no slow one
            jitter_s = self._seat.draw_usual_s() - self._timing.election_s_min
            self._seat.postpone_election(in_s=jitter_s / 5)

    def check_quorum_contact(self, now_s: float) -> None:
        """Stop leading where no majority is heard: reads would be stale."""
        lead = self.leadership
        assert lead is not None
        silence_s, patience = now_s - lead.quorum_heard_at_s(now_s), self._seat.patience
        self.note_silence(silence_s, now_s)
        if silence_s > self._timing.quorum_contact_s_max * patience.stretch:
            logger.warning("leader of term %d hears no majority; stepping down", self._seat.term)
            patience.give_up(self._seat.term, now_s)
            self.follow(None)

    def hand_over(self, connected: Collection[Node], *, to: str | None = None) -> None:
        """If this member leads, begin to make a voter the leader: the most advanced, or `to`."""
        if self.leadership is not None:
            deadline_s = monotonic_s() + self._timing.transfer_s_max
            self.leadership.hand_over(connected, deadline_s=deadline_s, to=to)
            self._hooks.wake()

    def stand_aside(self, connected: Collection[Node]) -> None:
        """If this member leads, hand over once; step down when that came to nothing."""
        lead, term = self.leadership, self._seat.term
        if lead is None:
            return
        if self._aside_in_term != term:
            logger.error("leader of term %d stands aside: its state may differ", term)
            self._aside_in_term = term
            self.hand_over(connected)
        if not lead.is_handing_over:
            self.follow(None)

    # Roles ----------------------------------------------------------------------------------------

    def start_pre_vote(self) -> None:
        """Ask whether an election could be won, before disturbing anybody with a new term."""
        if self._seat.leader is not None or self._seat.vote is not None:  # it waited for somebody
            self._seat.patience.give_up(self._seat.term, monotonic_s())
        self._seat.postpone_election(in_s=self._seat.draw_patience_s() / ASK_AGAIN_SHARE)
        if not self._may_stand:
            return
        self.follow(None)
        self._pre_votes = {self._seat.id}
        if self._configuration.is_majority(self._pre_votes):
            self.start_election()
            return
        log = self._seat.log
        term = self._seat.term
        request = RequestPreVote(term, term + 1, log.last_index, self._seat.last_log_term)
        for node in self.others():
            self._outbox.send(node, request)

    def start_election(self) -> None:
        """Stand for election in the next term, at once."""
        if not self._may_stand:
            return
        seat = self._seat
        seat.postpone_election()
        self._pre_votes = set()
        self.leader_heard_at_s = float("-inf")
        seat.leader = None
        seat.role = CANDIDATE
        seat.enter(seat.term + 1, seat.id)
        self._votes = {seat.id}
        request = RequestVote(seat.term, seat.log.last_index, seat.last_log_term)
        for node in self.others():
            self._outbox.send_after_sync(node, request)
        if self._configuration.is_majority(self._votes):
            seat.log.sync()  # no other's vote is waited for, and entries leave before the next one
            self._lead()

    def _lead(self) -> None:
        seat = self._seat
        logger.info("leader of term %d from index %d", seat.term, seat.log.last_index + 1)
        seat.leader = seat.node
        seat.role = LEADER
        self.leadership = Leadership(
            seat,
            self._outbox,
            configuration=self._configuration,
            heartbeat_s=self._timing.heartbeat_s,
            now_s=monotonic_s(),
        )
        self._hooks.wake()

    def follow(self, leader: Node | None, *, term: int | None = None) -> None:
        """Follow `leader`, if any is known, in this term or a later one; drop the lead."""
        if term is not None and term > self._seat.term:
            self._seat.enter(term, None)
        if self.leadership is not None:
            self._seat.postpone_election()
        self._seat.leader = leader
        self._seat.role = FOLLOWER
        self._pre_votes = set()
        self.leadership = None
        self._hooks.wake()

    # What members say -----------------------------------------------------------------------------

    def receive(self, node: Node, message: WireMessage) -> None:
        """Take a message of an election; others are not for here."""
        match message:
            case RequestPreVote():
                self._on_request_pre_vote(node, message)
            case PreVoteReply():
                self._on_pre_vote_reply(node, message)
            case RequestVote():
                self._on_request_vote(node, message)
            case VoteReply():
                self._on_vote_reply(node, message)

    def _on_request_pre_vote(self, node: Node, message: RequestPreVote) -> None:
        seat = self._seat
        is_wanted = (
            message.next_term > seat.term
            and not seat.is_leader
            and monotonic_s() - self.leader_heard_at_s
            >= self._timing.election_s_min * seat.patience.stretch
        )
        granted = is_wanted and not self._has_better_claim(node, message)
        self._outbox.send(node, PreVoteReply(seat.term, message.next_term, granted))
        if granted:
            self._pre_votes = set()
            wait_s = seat.draw_patience_s() / GIVE_WAY_SHARE
            seat.postpone_election(in_s=max(wait_s, seat.election_deadline_s - monotonic_s()))
        elif is_wanted:
            seat.postpone_election(in_s=0.0)

    def _has_better_claim(self, node: Node, message: RequestPreVote) -> bool:
        seat = self._seat
        if not seat.is_up_to_date(message.last_log_term, message.last_log_index):
            return True
        asked = (message.last_log_term, message.last_log_index, str(node.id))
        return bool(self._pre_votes) and asked < (seat.last_log_term, seat.log.last_index, seat.id)

    def _on_pre_vote_reply(self, node: Node, message: PreVoteReply) -> None:
        if message.term > self._seat.term:
            self.follow(None, term=message.term)
            self._pre_votes = set()
        elif self._pre_votes and message.granted and message.next_term == self._seat.term + 1:
            self._pre_votes.add(str(node.id))
            if self._configuration.is_majority(self._pre_votes):
                self.start_election()

    def _on_request_vote(self, node: Node, message: RequestVote) -> None:
        if message.term > self._seat.term:
            self.follow(None, term=message.term)
        granted = (
            message.term == self._seat.term
            and self._seat.is_follower
            and self._seat.vote in (None, node.id)
            and self._seat.is_up_to_date(message.last_log_term, message.last_log_index)
        )
        if granted:
            self._seat.enter(self._seat.term, str(node.id))
            self._seat.postpone_election()
        self._outbox.send_after_sync(node, VoteReply(self._seat.term, granted))

    def _on_vote_reply(self, node: Node, message: VoteReply) -> None:
        if message.term > self._seat.term:
            self.follow(None, term=message.term)
        elif self._seat.role == CANDIDATE and message.granted and message.term == self._seat.term:
            self._votes.add(str(node.id))
            if self._configuration.is_majority(self._votes):
                self._lead()
