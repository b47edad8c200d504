"""When to close a batch, and what goes into it.

A group of requests (one HTTP request) is never split. While few entries are in flight a batch
leaves at once, so that a lone order pays no waiting; else groups gather until an entry returns, so
that under load one entry, one sync and one round trip carry hundreds of orders.

Cancels have a lane of their own. Its bound is its own, so that a queue full of orders refuses none,
and it is served before the orders, up to `CANCEL_SHARE` of a batch while these wait, so that it
does not hold them up for ever either. A cancel that does not name its order by id (all of them, or
one by its label) keeps its place among what its owner sent: it stays behind orders of the owner
that wait, and orders that the owner sends afterwards stay behind it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

from raft_exchange.matching.limits import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, REQUEST_GROUP_MAX

IN_FLIGHT_MAX: Final = 2
"""One on its way while the next gathers. Measured on two cores with three nodes: more in flight
means smaller batches, more syncs and fewer orders a second."""
CLOSE_COMMANDS: Final = 400
CLOSE_BYTES: Final = 48 * 1024
QUEUE_COMMANDS_MAX: Final = 20_000
QUEUE_CANCELS_MAX: Final = 4_000
"""Beside the others, wherever they wait."""
CANCEL_SHARE: Final = 2
"""One in so many commands of a batch may be a cancel that overtook waiting orders."""
BATCH_OVERHEAD_BYTES: Final = 256
GROUP_BYTES_MAX: Final = BATCH_BYTES_MAX - BATCH_OVERHEAD_BYTES

assert CLOSE_COMMANDS <= BATCH_COMMANDS_MAX
assert REQUEST_GROUP_MAX <= BATCH_COMMANDS_MAX
assert CLOSE_BYTES <= GROUP_BYTES_MAX

Group = TypeVar("Group")


class Priority(IntEnum):
    """What a group may overtake."""

    NONE = 0
    CANCEL = 1
    """Everybody's orders but its owner's."""
    CANCEL_BY_ID = 2
    """All orders: who knows the id of one has seen it placed."""


class _Queued(NamedTuple, Generic[Group]):
    group: Group
    commands: int
    size_bytes: int
    owner: str
    priority: Priority


class _Room:
    """What is left of a batch."""

    def __init__(self) -> None:
        self.commands = 0
        self.size_bytes = 0

    def takes(self, queued: _Queued[Group], *, commands_max: int) -> bool:
        """Say whether a group goes into the batch as well; the first one always does."""
        return not self.commands or (
            self.commands + queued.commands <= commands_max
            and self.size_bytes + queued.size_bytes <= CLOSE_BYTES
        )


class Batcher(Generic[Group]):
    """A bounded queue of groups that gives them back as batches."""

    def __init__(self) -> None:
        self._orders: deque[_Queued[Group]] = deque()
        self._cancels: deque[_Queued[Group]] = deque()
        self._ordered_by: Counter[str] = Counter()  # groups in `_orders`, by owner
        self._swept_by: Counter[str] = Counter()  # those of `Priority.CANCEL` in `_cancels`
        self._ordinary = 0
        self._canceling = 0

    def __len__(self) -> int:
        return len(self._orders) + len(self._cancels)

    @property
    def commands(self) -> int:
        """How many commands wait, in both lanes."""
        return self._ordinary + self._canceling

    @property
    def use(self) -> float:
        """How much of its bound the fuller of orders and cancels uses, from 0 to 1."""
        return max(self._ordinary / QUEUE_COMMANDS_MAX, self._canceling / QUEUE_CANCELS_MAX)

    def add(
        self,
        group: Group,
        *,
        commands: int,
        size_bytes: int,
        owner: str = "",
        priority: Priority = Priority.NONE,
    ) -> bool:
        """Queue a group; return False, changing nothing, when its part of the queue is full. O(1).

        `size_bytes` is at most `GROUP_BYTES_MAX`, `commands` at most `REQUEST_GROUP_MAX`.
        """
        assert 0 <= commands <= REQUEST_GROUP_MAX, commands
        commands = max(1, commands)  # a barrier is empty, and must not be unbounded
        assert size_bytes <= GROUP_BYTES_MAX, size_bytes
        waiting, most = self._ordinary, QUEUE_COMMANDS_MAX
        if priority is not Priority.NONE:
            waiting, most = self._canceling, QUEUE_CANCELS_MAX
        if waiting + commands > most:
            return False
        queued = _Queued(group, commands, size_bytes, owner, priority)
        stays_behind = priority is Priority.CANCEL and owner in self._ordered_by
        lane = self._orders if priority is Priority.NONE or stays_behind else self._cancels
        lane.append(queued)
        self._count(queued, lane, 1)
        return True

    def take(self, *, in_flight: int) -> list[Group]:
        """Return the groups of the next batch in their order; nothing when it should wait."""
        batch: list[Group] = []
        if in_flight >= IN_FLIGHT_MAX:
            return batch
        room = _Room()
        share = CLOSE_COMMANDS // CANCEL_SHARE if self._orders else CLOSE_COMMANDS
        for lane, commands_max in (
            (self._cancels, share),
            (self._orders, CLOSE_COMMANDS),
            (self._cancels, CLOSE_COMMANDS),
        ):
            while lane and room.takes(lane[0], commands_max=commands_max):
                if lane is self._orders and lane[0].owner in self._swept_by:
                    break  # an earlier cancel of its owner would end it
                batch.append(self._pop(lane, room))
        return batch

    def drop(self, is_overdue: Callable[[Group], bool]) -> list[Group]:
        """Forget the groups that wait longest, while they are overdue, and return them."""
        dropped = []
        for lane in (self._cancels, self._orders):
            while lane and is_overdue(lane[0].group):
                dropped.append(self._pop(lane, _Room()))
        return dropped

    def _pop(self, lane: deque[_Queued[Group]], room: _Room) -> Group:
        queued = lane.popleft()
        self._count(queued, lane, -1)
        room.commands += queued.commands
        room.size_bytes += queued.size_bytes
        return queued.group

    def _count(self, queued: _Queued[Group], lane: deque[_Queued[Group]], sign: int) -> None:
        if queued.priority is Priority.NONE:
            self._ordinary += sign * queued.commands
        else:
            self._canceling += sign * queued.commands
        owners = self._ordered_by if lane is self._orders else self._swept_by
        if lane is self._orders or queued.priority is Priority.CANCEL:
            owners[queued.owner] += sign
            if not owners[queued.owner]:
                del owners[queued.owner]
