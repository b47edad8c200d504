"""As of when a member may take what it reads, where it stood still a moment ago. Pure.

What a stopped or starved process finds in its sockets afterwards may be as old as its pause. For
elections that is good enough: others decide by silence as well. A reader who asked for fresh data
must not be told that a quorum was heard now.
"""

from __future__ import annotations

from typing import Final

PAUSE_S_MAX: Final = 0.25
"""Between two ticks, several heartbeats: longer, and others may have gone on alone."""
CATCH_UP_S: Final = 0.25
"""After a pause, until the sockets are taken to be empty of what came meanwhile."""


class Attention:
    """One member's; times are the owner's monotonic seconds."""

    def __init__(self) -> None:
        self._ticked_at_s = self._paused_at_s = self._resumed_at_s = float("-inf")

    def tick(self, now_s: float) -> None:
        """Note that the member is awake."""
        if now_s - self._ticked_at_s > PAUSE_S_MAX:
            self._paused_at_s, self._resumed_at_s = self._ticked_at_s, now_s
        self._ticked_at_s = now_s

    def said_at_s(self, now_s: float) -> float:
        """Return when, at the earliest, what is read now may have arrived."""
        if now_s - self._ticked_at_s > PAUSE_S_MAX:
            return self._ticked_at_s
        return self._paused_at_s if now_s - self._resumed_at_s < CATCH_UP_S else now_s
