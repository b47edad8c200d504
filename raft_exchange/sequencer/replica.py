"""The pump of the replicated state: bytes of committed entries in, `Applied` out; snapshots.

Called by the Raft group for every committed entry, once and in order. An exception here is a bug
or an entry of another release; the group stops the process rather than let a half-applied state
serve.

What a snapshot holds is decided here: the replicated state, whose hash the replicas compare, and
beside it the projection of its events, without which a restored node would answer less than one
that saw the whole log.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

from raft_exchange.marketdata import snapshot as projection
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.metrics.durations import APPLY_BUCKETS_S, Durations
from raft_exchange.raft.snapshot_file import Image
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import CodecError, decode_batch, stamp, version_of
from raft_exchange.sequencer.state import ReplicatedState

SLACK_US: Final = 1_000_000
"""A wall clock that gained less on time itself was not set; it is caught up with gently."""
STEP_OUT_US: Final = 60_000_000
"""A wall clock that stands ahead for so long was put right, not wrong."""


class Replica:
    """One node's copy of the replicated state, and what its events tell."""

    def __init__(
        self,
        state: ReplicatedState,
        marketdata: MarketData,
        *,
        on_applied: Callable[[Applied], None],
    ) -> None:
        self.state = state
        self.marketdata = marketdata
        self.match_durations = Durations(APPLY_BUCKETS_S)
        self.apply_durations = Durations(APPLY_BUCKETS_S)
        self._on_applied = on_applied

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Apply one committed entry, fold its events, and hand on what it did.

        Raises:
            CodecError: not an entry; the caller stops the process.
            NewerVersion: of a later release, as above.
        """
        started_s = time.perf_counter()
        time_us, batch = decode_batch(payload, self.state.versions)
        assert version_of(payload) <= self.state.version, "the leader admits none of a later one"
        decoded_s = time.perf_counter()
        applied = self.state.apply(index, term, time_us, batch)
        self.match_durations.observe(time.perf_counter() - decoded_s)
        for result in applied.results:
            # A replayed result tells again what was folded when it happened.
            events = () if result.replayed_sequence else result.events
            self.marketdata.apply(result.sequence, applied.time_us, events)
        self._on_applied(applied)
        self.apply_durations.observe(time.perf_counter() - started_s)

    def capture(self) -> Image:
        """Return everything as of the last applied entry, in canonical bytes. O(n), seconds."""
        state = self.state.encode()
        exchange = self.state.exchange
        return Image(
            exchange.sequence,
            exchange.time_us,
            hashlib.sha256(state).hexdigest(),
            (state, projection.encode(self.marketdata)),
        )

    def prepare(self, image: Image) -> Callable[[], None]:
        """Decode an image; what is returned puts it in place of the present state. O(n log n).

        Raises:
            ValueError: not what `capture` gives; nothing has changed.
            NewerVersion: of a later release; nothing has changed.
        """
        if len(image.sections) != 2:
            raise ValueError(f"{len(image.sections)} sections; a state and its projection are two")
        encoded, folded = image.sections
        state_hash = hashlib.sha256(encoded).hexdigest()
        if state_hash != image.state_hash:
            raise ValueError(f"the state hash is {state_hash}, not {image.state_hash}")
        state = ReplicatedState.decode(encoded, self.state.versions)
        if (state.exchange.sequence, state.exchange.time_us) != (image.sequence, image.time_us):
            raise ValueError(f"a state at sequence {state.exchange.sequence}, not {image.sequence}")
        marketdata = projection.restore(folded, state.exchange)

        def adopt() -> None:
            self.state.adopt(state)
            self.marketdata.adopt(marketdata)

        return adopt


class LeaderClock:
    """Stamps entries as the leader appends them: never earlier than the one before.

    The state machine takes the greatest time it has seen, so that a new leader whose clock is
    behind cannot turn the logged clock back either. What it has taken cannot be undone, so a wall
    clock that is set ahead is not followed at once: until it has stood there for `STEP_OUT_US`,
    stamps go on with the time that passed, at most twice as fast. The first stamp of a process
    has nothing to be measured by.
    """

    def __init__(
        self, now_us: Callable[[], int], elapsed_us: Callable[[], int], state: ReplicatedState
    ) -> None:
        """Stamp the wall clock's `now_us`, checked by `elapsed_us`, which nobody can set."""
        self._now_us = now_us
        self._elapsed_us = elapsed_us
        self._state = state
        self._previous_us = 0
        self._previous_at_us: int | None = None
        self._ahead_since_us: int | None = None

    def admit(self, payload: bytes) -> bytes | None:
        """Return the stamped entry, or None for bytes that not every replica could apply.

        An entry of a version that is not active *here* yet is one: its node proposes it again.
        """
        try:
            decode_batch(payload, self._state.versions)
        except (CodecError, NewerVersion):
            return None
        if version_of(payload) > self._state.version:
            return None
        at_us = self._elapsed_us()
        self._previous_us = max(self._previous_us, self._believed_us(at_us))
        self._previous_at_us = at_us
        return stamp(payload, self._previous_us)

    def _believed_us(self, at_us: int) -> int:
        """Return the wall clock's time, or what may be believed of it."""
        wall_us = self._now_us()
        if self._previous_at_us is None:
            return wall_us
        passed_us = at_us - self._previous_at_us
        expected_us = self._previous_us + passed_us
        if wall_us <= expected_us + SLACK_US:
            self._ahead_since_us = None
        elif self._ahead_since_us is None:
            self._ahead_since_us = at_us
        elif at_us - self._ahead_since_us >= STEP_OUT_US:
            return wall_us
        return min(wall_us, expected_us + min(passed_us, SLACK_US))
