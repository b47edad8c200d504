"""When to close a batch, and what goes into it.

A group of requests (one HTTP request) is never split. While few entries are in flight a batch
leaves at once, so that a lone order pays no waiting; else groups gather until an entry returns, so
that under load one entry, one sync and one round trip carry hundreds of orders.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from raft_exchange.matching.limits import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, REQUEST_GROUP_MAX

IN_FLIGHT_MAX: Final = 2
"""One on its way while the next gathers. Measured on two cores with three nodes: more in flight
means smaller batches, more syncs and fewer orders a second."""
CLOSE_COMMANDS: Final = 400
CLOSE_BYTES: Final = 48 * 1024
QUEUE_COMMANDS_MAX: Final = 20_000
BATCH_OVERHEAD_BYTES: Final = 256
GROUP_BYTES_MAX: Final = BATCH_BYTES_MAX - BATCH_OVERHEAD_BYTES

assert CLOSE_COMMANDS <= BATCH_COMMANDS_MAX
assert REQUEST_GROUP_MAX <= BATCH_COMMANDS_MAX
assert CLOSE_BYTES <= GROUP_BYTES_MAX

Group = TypeVar("Group")


class Batcher(Generic[Group]):
    """A bounded queue of groups that gives them back as batches."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Group, int, int]] = deque()
        self.commands = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, group: Group, *, commands: int, size_bytes: int) -> bool:
        """Queue a group; return False, changing nothing, when the queue is full.

        `size_bytes` is at most `GROUP_BYTES_MAX`, `commands` at most `REQUEST_GROUP_MAX`.
        """
        assert 0 <= commands <= REQUEST_GROUP_MAX, commands
        commands = max(1, commands)  # a barrier is empty, and must not be unbounded
        assert size_bytes <= GROUP_BYTES_MAX, size_bytes
        if self.commands + commands > QUEUE_COMMANDS_MAX:
            return False
        self._queue.append((group, commands, size_bytes))
        self.commands += commands
        return True

    def take(self, *, in_flight: int) -> list[Group]:
        """Return the groups of the next batch, oldest first; nothing when it should wait."""
        if in_flight >= IN_FLIGHT_MAX:
            return []
        batch: list[Group] = []
        commands_taken = bytes_taken = 0
        while self._queue:
            group, commands, size_bytes = self._queue[0]
            is_first = not batch
            if not is_first and (
                commands_taken + commands > CLOSE_COMMANDS or bytes_taken + size_bytes > CLOSE_BYTES
            ):
                break
            self._queue.popleft()
            batch.append(group)
            commands_taken += commands
            bytes_taken += size_bytes
        self.commands -= commands_taken
        return batch

    def oldest(self) -> Group | None:
        """Return the group that waits longest, if any."""
        return self._queue[0][0] if self._queue else None

    def drop_oldest(self) -> None:
        """Forget the group that waits longest: it waited in vain."""
        self.commands -= self._queue.popleft()[1]
