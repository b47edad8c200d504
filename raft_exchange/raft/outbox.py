"""What a member says: at once, or only after its log is synced.

Whatever speaks of a change to this member's own log, term or vote waits for the sync of the tick
that it was made in. Nothing else may wait: entries leave before the leader's own disk is asked.
"""

from __future__ import annotations

from collections.abc import Callable

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raft_exchange.raft.wire import WireMessage


class Outbox:
    """The messages of one member. `wake` asks for the tick that releases what is held."""

    def __init__(self, wire: Transport, wake: Callable[[], None]) -> None:
        self._wire = wire
        self._wake = wake
        self._held: list[tuple[Node, WireMessage]] = []

    def send(self, node: Node, message: WireMessage) -> bool:
        """Send a message that speaks of nothing unsynced; return whether it left."""
        return bool(self._wire.send(node, message))

    def send_after_sync(self, node: Node, message: WireMessage) -> None:
        """Send a message when what it speaks of is durable."""
        self._held.append((node, message))
        self._wake()

    def release(self) -> None:
        """Send what was held: the log is synced."""
        held, self._held = self._held, []
        for node, message in held:
            self._wire.send(node, message)
