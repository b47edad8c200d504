"""Who the members are, index by index: what every node of a world must agree on, checked all along.

The rules are those of the Raft thesis (4.1) and of `membership.py`: a change is appended only when
the one before is committed, and an entry of the leader's own term as well; it makes or unmakes one
voter; and whatever a node starts from, its log, a snapshot or both, the members at an index are the
same to everybody.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from raft_exchange.raft.library import CONFIGURATION
from raft_exchange.raft.membership import Configuration

if TYPE_CHECKING:
    from tests.support.sim_node import SimNode


class Roll:
    """The configurations that any node ever held as committed, by the entry that holds them."""

    def __init__(self, founders: tuple[str, ...]) -> None:
        self._indexes = [0]
        self._found = [Configuration(tuple(sorted(founders)))]
        self._noted: dict[str, object] = {}

    def note(self, node: SimNode) -> None:
        """Look at a node after a tick; nothing where its members are as they were."""
        group, history = node.group, node.group._history
        commit_index = group.commit_index
        known = (node.boot, history.revision, commit_index >= history.index, group.is_leader)
        if self._noted.get(node.id) == known:
            return
        self._noted[node.id] = known
        self._check_pending(node)
        for index, configuration in history._found:
            if 0 < index <= commit_index:
                self._check(node, index, configuration)
        self._check_in_force(node, commit_index)

    def _check_pending(self, node: SimNode) -> None:
        lead, history = node.group.leadership, node.group._history
        if lead is None or history.index <= lead.first_index:
            return
        earlier = max((index for index, _ in history._found[:-1]), default=0)
        committed = node.group.commit_index
        assert committed >= lead.first_index, f"{node.id} changes members in a term not settled"
        assert committed >= earlier, (
            f"{node.id} changed the members at {history.index}, "
            f"and its change at {earlier} is not committed"
        )

    def _at(self, index: int) -> tuple[int, Configuration]:
        place = bisect_right(self._indexes, index) - 1
        return self._indexes[place], self._found[place]

    def _check(self, node: SimNode, index: int, configuration: Configuration) -> None:
        """Take in the entry at `index`; or, of a snapshot, compare it with what was taken in."""
        at, known = self._at(index)
        if at != index and self._is_entry(node, index):
            assert index > self._indexes[-1], f"{node.id} holds a change at {index} unseen before"
            changed = set(known.voters) ^ set(configuration.voters)
            assert len(changed) <= 1, f"the change at {index} is of {sorted(changed)} at once"
            self._indexes.append(index)
            self._found.append(configuration)
            return
        assert configuration == known, (
            f"{node.id} has {configuration} as members at {index}; others have {known} from {at} on"
        )

    def _is_entry(self, node: SimNode, index: int) -> bool:
        if not node.journal.base.index < index <= node.journal.last_index:
            return False
        ((command, _, _),) = node.journal.entries_from(index, bytes_max=1, count_max=1)
        return bool(command[:1] == CONFIGURATION)

    def _check_in_force(self, node: SimNode, commit_index: int) -> None:
        at, known = self._at(commit_index)
        mine = node.group._history.at(commit_index)
        if not mine.voters:  # it joins, and has not come to the entry that says who the others are
            assert at == 0 or node.journal.base.index < at, f"{node.id} forgot who the members are"
            return
        assert mine == known, (
            f"{node.id} goes by {mine} at {commit_index}; others have {known} from {at} on"
        )
