"""The pump of the replicated state: bytes of committed entries in, `Applied` out.

Called by the Raft group for every committed entry, once and in order. An exception here is a bug
or an entry of another release; the group stops the process rather than let a half-applied state
serve.
"""

from __future__ import annotations

from collections.abc import Callable

from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import CodecError, decode_batch, stamp, time_of
from raft_exchange.sequencer.state import ReplicatedState


class Replica:
    """One node's copy of the replicated state."""

    def __init__(self, state: ReplicatedState, *, on_applied: Callable[[Applied], None]) -> None:
        self.state = state
        self._on_applied = on_applied

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Apply one committed entry and hand on what it did.

        Raises:
            CodecError: not an entry of this release; the caller stops the process.
        """
        time_us, batch = decode_batch(payload)
        self._on_applied(self.state.apply(index, term, time_us, batch))


class LeaderClock:
    """Stamps entries as the leader appends them: never earlier than the one before.

    The state machine takes the greatest time it has seen, so that a new leader whose clock is
    behind cannot turn the logged clock back either.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._previous_us = 0

    def admit(self, payload: bytes) -> bytes | None:
        """Return the stamped entry, or None for bytes that no replica could apply."""
        try:
            decode_batch(payload)
        except CodecError:
            return None
        stamped = stamp(payload, max(self._previous_us, self._now_us(), time_of(payload)))
        self._previous_us = time_of(stamped)
        return stamped
