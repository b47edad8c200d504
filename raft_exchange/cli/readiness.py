"""When the nodes of a starting cluster are ready, and when waiting has lost its sense.

A node with a large folder reads it before it answers anything, then replays its log, then finds the
others: minutes, at millions of orders. So there is no limit to the wait as such. It goes on while a
node lives that does not answer yet (it reads its folder), or while any node applies entries; only
when all answer and nothing has moved for `STALL_S_MAX` is something wrong.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Final

import msgspec

STALL_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 2.0


class Seen(msgspec.Struct, frozen=True):
    """What a node answered: whether it is ready, and how far it is in the log it knows of.

    `reason` says why it is not ready; both indexes are 0 while it is in no cluster.
    """

    is_ready: bool
    applied_index: int
    commit_index: int
    reason: str = ""


def look(url: str) -> Seen | None:
    """Ask the node at a base URL; None if it does not answer."""
    try:
        status, health = _get(f"{url}/readyz")
        reason = str(health.get("reason", ""))
        known, view = _get(f"{url}/v1/cluster")
        if known != 200:
            return Seen(False, 0, 0, reason)
        applied_index, commit_index = int(view["applied_index"]), int(view["commit_index"])
        return Seen(status == 200, applied_index, commit_index, reason)
    except (OSError, ValueError, KeyError):
        return None


def _get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S_MAX) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


class Readiness:
    """What was last seen of each node, and since when nothing has moved.

    Attributes:
        waiting: the nodes that have not been ready yet, in order.
    """

    def __init__(self, nodes: Sequence[str], *, now_s: float) -> None:
        self.waiting = list(nodes)
        self._seen: dict[str, Seen | None] = dict.fromkeys(nodes)
        self._moved_at_s = now_s

    def observe(self, node: str, seen: Seen | None, *, now_s: float) -> None:
        """Take what a living node answered."""
        before = self._seen[node]
        if seen is None:
            # Before its first answer it reads its folder; later it is only busy for a moment.
            if before is None:
                self._moved_at_s = now_s
            return
        if before is None or seen.applied_index > before.applied_index:
            self._moved_at_s = now_s
        self._seen[node] = seen
        if seen.is_ready and node in self.waiting:
            self.waiting.remove(node)
            self._moved_at_s = now_s

    def is_stalled(self, *, now_s: float) -> bool:
        """Say whether nothing has moved for too long."""
        return now_s - self._moved_at_s > STALL_S_MAX

    def progress(self, node: str) -> str:
        """Return a line about a node that is not ready."""
        seen = self._seen[node]
        if seen is None:
            return f"{node} reads its folder"
        if seen.applied_index < seen.commit_index:
            return f"{node} has applied {seen.applied_index:,} of {seen.commit_index:,} entries"
        return f"{node} is not ready: {seen.reason}"
