"""File descriptors: what the node needs for itself comes first, HTTP gets from what is left.

HTTP is every port that strangers reach: the doors, pub/sub, and the API of the grape.
"""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

CONNECTIONS_MAX: Final = 10_000
CONNECTIONS_MIN: Final = 16
RESERVED: Final = 256
"""For journal, snapshots, members, strangers at the Raft port, and what the loop itself opens."""
SUBSCRIBERS_SHARE: Final = 8
"""One in so many connections may be a Grenache subscriber's."""
GRAPE_SHARE: Final = 8
"""One in so many may be at the API of the node's grape."""


class Connections(NamedTuple):
    """How many connections each kind of port may hold."""

    doors: int
    subscribers: int
    grape: int


class TooFewDescriptors(RuntimeError):
    """The system's limit leaves no room to serve anybody; the message names it."""


def connections_affordable() -> int:
    """Raise this process's limit as far as it needs; return how many HTTP connections fit in it.

    Raises:
        TooFewDescriptors: the hard limit is below `RESERVED + CONNECTIONS_MIN`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVED + CONNECTIONS_MAX
    if resource.RLIM_INFINITY not in (soft, hard):
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Not to the hard limit, which may be a thousand million: a forked child closes them all.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < RESERVED + CONNECTIONS_MIN:
        raise TooFewDescriptors(
            f"open files: the limit is {wanted}; allowed: {RESERVED + CONNECTIONS_MIN} or more "
            "(ulimit -n)"
        )
    return min(CONNECTIONS_MAX, wanted - RESERVED)


def share_out(connections_max: int) -> Connections:
    """Return who gets how many of the connections that can be afforded."""
    subscribers, grape = connections_max // SUBSCRIBERS_SHARE, connections_max // GRAPE_SHARE
    return Connections(connections_max - subscribers - grape, subscribers, grape)
