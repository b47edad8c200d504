"""Keeps a node's Grenache services announced in the DHT while it may answer them.

Announcing begins when the node serves and ends when it drains; what was announced is found until it
lapses, because the DHT takes nothing back. Orders that have no id of their own are the leader's
alone: they are announced while this node leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Self

from grape.link import Announcement, Link

LEADER_POLL_S: Final = 0.2


class Services:
    """Announces services while its block runs.

    Args:
        link: to the grape at this node's own address; closed at the end.
        ports: each service and the port where it is.
        leader_ports: the same for what only a leader answers.
        is_leader: whether this node leads now.
        interval_s: mean time between two announcements of a service.
    """

    def __init__(
        self,
        link: Link,
        ports: Mapping[str, int],
        *,
        leader_ports: Mapping[str, int],
        is_leader: Callable[[], bool],
        interval_s: float,
    ) -> None:
        self._link = link
        self._ports = ports
        self._leader_ports = leader_ports
        self._is_leader = is_leader
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to announce."""
        self._announce(self._ports)
        self._task = asyncio.create_task(self._follow_leadership(), name="announce services")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Announce nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._link.close()

    def _announce(self, ports: Mapping[str, int]) -> list[Announcement]:
        return [
            self._link.start_announcing(name, port, interval_s=self._interval_s)
            for name, port in ports.items()
        ]

    async def _follow_leadership(self) -> None:
        held: list[Announcement] = []
        while True:
            if self._is_leader() and not held:
                held = self._announce(self._leader_ports)
            elif held and not self._is_leader():
                for announcement in held:
                    await self._link.stop_announcing(announcement)
                held = []
            await asyncio.sleep(LEADER_POLL_S)
