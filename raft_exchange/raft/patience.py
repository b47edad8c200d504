"""How much longer than usual one member waits, where everything takes longer than usual. Pure.

The times in `Timing` suit machines that answer within a few dozen milliseconds. Starved of CPU, a
vote may come back after seconds, when whoever asked for it is standing in a later term already:
every term goes by, and none has a leader. So a member that gave up on several terms in a row waits
twice as long, and twice again. What it waits for heals by itself, so the waiting has a bound; and
it falls back a step at a time, when silences have been so short that the lesser patience would
have borne them easily.
"""

from __future__ import annotations

from typing import Final

STRETCH_MAX: Final = 16
"""Times `Timing`'s: elections after 4.8 to 9.6 s of silence."""
FREE_FAILURES: Final = 2
"""So many in a row cost no patience: votes are split, and leaders freeze, on good days as well."""
CALM_S: Final = 5.0
"""How long silences must have been short for a step back."""
EASY_SHARE: Final = 4
"""A silence is short if it is so small a part of the wait: half of what the step back allows."""

FAILURES_MAX: Final = FREE_FAILURES + STRETCH_MAX.bit_length() - 1


class Patience:
    """One member's patience; times are the owner's monotonic seconds."""

    def __init__(self) -> None:
        self._failures = 0
        self._calm_since_s = float("inf")
        self._given_up_term = -1

    @property
    def stretch(self) -> int:
        """By how much every wait for others is longer than usual: a power of 2, 1 as a rule."""
        return 1 << max(0, self._failures - FREE_FAILURES)

    def excuse(self, term: int) -> None:
        """Note that this term's end says nothing of how slow the others are."""
        self._given_up_term = term

    def give_up(self, term: int, now_s: float) -> None:
        """Note that a term came to nothing, or to an end, because nothing was heard for too long.

        A term counts once.
        """
        if term != self._given_up_term:
            self._given_up_term = term
            self._failures = min(self._failures + 1, FAILURES_MAX)
            self._calm_since_s = now_s

    def note_silence(self, silence_s: float, *, usual_s: float, now_s: float) -> None:
        """Note how long nothing was heard of whom this member waits for, `usual_s` at most."""
        if not self._failures:
            return
        if silence_s > usual_s * self.stretch / EASY_SHARE:
            self._calm_since_s = now_s
        elif now_s - self._calm_since_s >= CALM_S:
            self._failures -= 1
            self._calm_since_s = now_s
