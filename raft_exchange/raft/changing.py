"""Changes of who votes: what this member asks the leader for, and what it does while it leads.

A request goes to whoever leads, again and again until its outcome is known or its time is over.
That is harmless: a change that is made already is not made twice. It is done when a configuration
that is as asked is committed *here*. The leader makes one at a time, and makes voters of learners
that have caught up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from pysyncobj.node import Node

from raft_exchange.raft.elections import Elections
from raft_exchange.raft.following import encode_configuration
from raft_exchange.raft.leading import Leadership
from raft_exchange.raft.membership import (
    PROMOTION_LAG_MAX,
    Change,
    Configuration,
    History,
    Refusal,
    Refused,
    changed,
    is_made,
    promoted,
)
from raft_exchange.raft.outbox import Outbox
from raft_exchange.raft.peers import Peers
from raft_exchange.raft.seat import Seat, monotonic_s
from raft_exchange.raft.wire import ChangeReply, ProposeChange

REQUESTS_MAX: Final = 16
REQUEST_S_MAX: Final = 5.0
ASK_AGAIN_S: Final = 0.2
PROMOTION_SILENCE_S_MAX: Final = 1.0
"""A learner that was not heard for longer is not made a voter."""

Resolve = Callable[[Configuration | Refused], None]

logger = logging.getLogger(__name__)


class _Request:
    def __init__(self, change: Change, resolve: Resolve, now_s: float) -> None:
        self.change = change
        self.resolve = resolve
        self.deadline_s = now_s + REQUEST_S_MAX
        self.ask_at_s = now_s
        self.index = 0  # where a leader says it is; 0: not known to be anywhere
        self.refused = Refused(Refusal.NO_LEADER, "no leader was found to make the change")


class Changes:
    """The changes that one member asks for, and those that it makes."""

    def __init__(
        self, seat: Seat, history: History, elections: Elections, outbox: Outbox, peers: Peers
    ) -> None:
        self._seat = seat
        self._history = history
        self._elections = elections
        self._outbox = outbox
        self._peers = peers
        self._requests: dict[int, _Request] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._requests)

    def request(self, change: Change, resolve: Resolve) -> None:
        """Ask for a change; `resolve` is called once, with what is committed or why not.

        It takes `REQUEST_S_MAX` at most.
        """
        if len(self._requests) >= REQUESTS_MAX:
            resolve(Refused(Refusal.PENDING, f"{REQUESTS_MAX} requests wait here already"))
            return
        self._count += 1
        self._requests[self._count] = _Request(change, resolve, monotonic_s())

    def tick(self, now_s: float) -> None:
        """Ask, ask again, answer; as leader, make voters of learners."""
        lead = self._elections.leadership
        if lead is not None and self._history.current.learners:
            self._promote(lead, now_s)
        for number, request in list(self._requests.items()):
            self._pursue(number, request, now_s)

    # As the one who asks --------------------------------------------------------------------------

    def _pursue(self, number: int, request: _Request, now_s: float) -> None:
        commit_index = self._seat.commit_index
        if request.index and commit_index >= request.index:
            committed = self._history.at(commit_index)
            if is_made(committed, request.change):
                self._resolve(number, committed)
                return
            request.index = 0  # that leader's entry was cut off
        if now_s >= request.deadline_s:
            unknown = Refused(Refusal.UNKNOWN, "the change may still be made")
            self._resolve(number, unknown if request.index else request.refused)
        elif not request.index and now_s >= request.ask_at_s:
            request.ask_at_s = now_s + ASK_AGAIN_S
            self._ask(number, request)

    def _ask(self, number: int, request: _Request) -> None:
        if self._elections.leadership is not None:
            self._take_answer(number, self._decide(request.change))
            return
        leader, question = self._seat.leader, ProposeChange(number, request.change)
        is_there = leader is not None and leader in self._peers.connected
        if is_there and self._outbox.send(leader, question):
            request.refused = Refused(Refusal.UNKNOWN, "the leader did not answer")

    def on_reply(self, message: ChangeReply) -> None:
        """Take the leader's answer."""
        self._take_answer(message.number, message.refused or message.index)

    def _take_answer(self, number: int, answer: int | Refused) -> None:
        request = self._requests.get(number)
        if request is None:
            return
        if isinstance(answer, int):
            request.index = answer
        elif answer.code in (Refusal.PENDING, Refusal.NO_LEADER):
            request.refused = answer
        else:
            self._resolve(number, answer)

    def _resolve(self, number: int, outcome: Configuration | Refused) -> None:
        self._requests.pop(number).resolve(outcome)

    # As leader ------------------------------------------------------------------------------------

    def on_propose(self, node: Node, message: ProposeChange) -> None:
        """Answer a member that asks for a change."""
        answer = self._decide(message.change)
        if isinstance(answer, int):
            reply = ChangeReply(self._seat.term, message.number, answer)
        else:
            reply = ChangeReply(self._seat.term, message.number, refused=answer)
        self._outbox.send(node, reply)

    def _decide(self, change: Change) -> int | Refused:
        """Append the change, or not; return where it is, or why not."""
        lead, now = self._elections.leadership, self._history.current
        if lead is None or lead.is_handing_over:
            return Refused(Refusal.NO_LEADER, "this member does not lead, or stops to")
        if not self._may_change(lead):
            return Refused(Refusal.PENDING, "another change is under way; ask again")
        after = changed(now, change, in_reach=self._peers.in_reach())
        if isinstance(after, Refused):
            return after
        if after is not now:
            logger.info("members: %s", change)
            self._append(lead, after)
        return max(1, self._history.index)

    def _may_change(self, lead: Leadership) -> bool:
        """Whether the last change is committed, and an entry of this term as well.

        Without the second, two leaders' changes from one configuration could both be committed by
        majorities that share nobody (Raft thesis, and the correction to it of 2015).
        """
        return self._seat.commit_index >= max(lead.first_index, self._history.index)

    def _promote(self, lead: Leadership, now_s: float) -> None:
        if not self._may_change(lead) or lead.is_handing_over:
            return
        for learner in self._history.current.learners:
            node = Node(learner)
            progress = lead.progress[node]
            if (
                node in self._peers.connected
                and not progress.is_probing
                and now_s - progress.heard_at_s <= PROMOTION_SILENCE_S_MAX
                and self._seat.log.last_index - progress.match_index <= PROMOTION_LAG_MAX
            ):
                after = promoted(self._history.current, learner, in_reach=self._peers.in_reach())
                if after is not None:
                    logger.info("members: %s has caught up and votes from now on", learner)
                    self._append(lead, after)
                    return

    def _append(self, lead: Leadership, after: Configuration) -> None:
        index = self._seat.log.last_index + 1
        self._seat.log.add(encode_configuration(after), index, self._seat.term)
        self._history.add(index, after)
        lead.reconfigure(after, now_s=monotonic_s())
