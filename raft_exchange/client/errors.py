"""What can come of a request that is no result.

An outcome has three values:

- it took effect: the method returns it;
- it did not and will not: `RequestRefused` (the exchange says why), `Unavailable` (nobody took it);
- nobody knows yet: `OutcomeUnknown`. The same call under the same key finds out.
"""

from __future__ import annotations

from raft_exchange.client.models import Problem, WriteKey


class ExchangeError(Exception):
    """A request that gave no result."""


class RequestRefused(ExchangeError):
    """The exchange refused it, and nothing happened. Sending it again gives the same answer.

    Attributes:
        problem: what was wrong.
        sequence: where in the log it was refused; None where it was refused before.
    """

    def __init__(self, problem: Problem, *, sequence: int | None = None) -> None:
        self.problem = problem
        self.sequence = sequence
        text = f"{problem.code}: {problem.detail}"
        if problem.field:
            sent = "" if problem.value is None else f": {problem.value!r}"
            text += f" ({problem.field}{sent})"
        if problem.allowed is not None:
            text += f"; allowed: {problem.allowed}"
        super().__init__(text)

    @property
    def code(self) -> str:
        """Which refusal of the exchange's closed list it is."""
        return self.problem.code


class Unavailable(ExchangeError):
    """No node took it in time, and nothing happened: it is safe to send it again."""


class OutcomeUnknown(ExchangeError):
    """It may have taken effect, or still do so until `key.deadline`.

    The same call with `key` returns its result, or executes it now, but never twice.
    """

    def __init__(self, text: str, key: WriteKey) -> None:
        self.key = key
        super().__init__(f"{text}; the same call with key={key!r} finds out")
