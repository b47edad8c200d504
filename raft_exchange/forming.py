"""From a folder without data to a member of a cluster: runs `formation.step` for real.

Each decision is stored durably before anybody can hear of it, since what a node states is what its
identity file holds. Then the step is asked again, until there is nothing to do but wait for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from raft_exchange.candidates import Sighting
from raft_exchange.discovery import Discovery
from raft_exchange.raft.formation import (
    Accept,
    Conflict,
    Found,
    Join,
    Refuse,
    Statement,
    Wait,
    step,
)
from raft_exchange.raft.identity import IdentityFile

STEP_S_MAX: Final = 0.25
"""Also without news a step is due: whoever is silent is no longer counted."""

logger = logging.getLogger(__name__)


class Forming:
    """What one node does until it is bound to a cluster.

    Attributes:
        reason: why it is not bound yet, for people.
    """

    def __init__(
        self, identity: IdentityFile, discovery: Discovery, *, state: Callable[[], Statement]
    ) -> None:
        """Begin with what is stored; `state` returns what this node states now."""
        self.reason = "looking for other nodes"
        self._identity = identity
        self._discovery = discovery
        self._state = state
        self._news = asyncio.Event()
        discovery.add_listener(self._on_sighting)

    async def run(self) -> Found | Join:
        """Return once this node is bound to a cluster, as founder or as joiner.

        Raises:
            OSError: storage failed; the process has to end.
        """
        while True:
            self._news.clear()
            bound = self._advance()
            if bound is not None:
                return bound
            try:
                async with asyncio.timeout(STEP_S_MAX):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _on_sighting(self, _: Sighting) -> None:
        self._news.set()

    def _advance(self) -> Found | Join | None:
        """Decide and store until there is nothing to do, or nothing more to form."""
        while True:
            match step(self._state(), self._discovery.statements()):
                case Wait(reason=reason):
                    self._wait(logging.INFO, reason)
                    return None
                case Conflict(text=text):
                    self._wait(logging.ERROR, text)
                    return None
                case Accept() | Refuse() as decided:
                    self._identity.apply(decided)
                    logger.info("%s: %s", type(decided).__name__.lower(), ", ".join(decided.ids))
                case Found() | Join() as bound:
                    self._identity.apply(bound)
                    return bound

    def _wait(self, level: int, reason: str) -> None:
        if reason != self.reason:
            logger.log(level, "%s", reason)
        self.reason = reason
