"""File descriptors: what the node needs for itself comes first, HTTP gets from what is left."""

from __future__ import annotations

import resource
from typing import Final

CONNECTIONS_MAX: Final = 10_000
CONNECTIONS_MIN: Final = 16
RESERVED: Final = 256
"""For journal, snapshots, members, strangers at the Raft port, and what the loop itself opens."""


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
