"""How a node that belongs to the cluster becomes a member of its group: the leader adds it.

A joiner binds itself to the cluster and states so, proved with the cluster secret over the asker's
nonce: that statement is its request. Whoever leads and sees it has the log add the node, as a
learner first. Rules:

* Only the leader asks for the change, one for each node at a time, and again after a pause.
* Who was removed is not added again, whatever it states: it has to come with an empty folder.
* A refusal is told once in the log, until there is another for the same node.
"""

from __future__ import annotations

import logging
from typing import Final

from raft_exchange.raft.formation import Statement
from raft_exchange.raft.group import Group
from raft_exchange.raft.members import MEMBERS_MAX, MemberAddress
from raft_exchange.raft.membership import AddMember, Configuration, Refused

ASK_AGAIN_S: Final = 5.0
TOLD_MAX: Final = 64
"""Nodes whose last outcome is remembered, so that it is told once."""

logger = logging.getLogger(__name__)


class Welcome:
    """Adds those who belong to the cluster to `group`, while this member leads it."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._asked_s: dict[str, float] = {}
        self._told: dict[str, str] = {}  # by id, told longest ago first

    def on_fellow(self, said: Statement, *, now_s: float) -> None:
        """Take note of a node that proved to be bound to this cluster."""
        self._group.know(said.id)
        found = self._group.configuration
        if said.id in (*found.members, *found.removed) or not self._group.is_settled:
            return
        if now_s < self._asked_s.get(said.id, -ASK_AGAIN_S) + ASK_AGAIN_S:
            return
        if len(self._asked_s) >= MEMBERS_MAX:
            del self._asked_s[next(iter(self._asked_s))]
        self._asked_s[said.id] = now_s
        member = MemberAddress(said.id, said.raft_address, said.http_url)
        self._group.request_change(
            AddMember(member), lambda outcome: self._on_outcome(said.id, outcome)
        )

    def _on_outcome(self, node_id: str, outcome: Configuration | Refused) -> None:
        text = f"{node_id} is added"
        if isinstance(outcome, Refused):
            text = f"{node_id} is not added: {outcome.detail}"
        if text == self._told.pop(node_id, ""):
            self._told[node_id] = text
            return
        if len(self._told) >= TOLD_MAX:
            del self._told[next(iter(self._told))]
        self._told[node_id] = text
        logger.info("%s", text)
