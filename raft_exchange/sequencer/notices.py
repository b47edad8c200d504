"""What nodes tell each other through the log besides requests: the vocabulary of the self-check.

A notice belongs to no session: whoever tells it again changes nothing. So it is proposed until it
is seen in the replicated state, and lost or doubled proposals do no harm.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

NOTICES_MAX: Final = 16
"""In one entry."""
ROSTER_MAX: Final = 64
"""Members that a roster names; far above any sensible group."""
NODE_BYTES_MAX: Final = 64
DIGEST_BYTES: Final = 32


class Digest(IntEnum):
    """What replicas compare at a checkpoint."""

    EVENTS = 0  # the chained digest of the events of all entries
    STATE = 1  # the SHA-256 of the canonical bytes of the whole state


class _Notice(
    msgspec.Struct, frozen=True, array_like=True, tag_field="kind", forbid_unknown_fields=True
):
    """An array of its tag and its fields, in order."""


class Roster(_Notice, frozen=True, tag="roster"):
    """The leader says whom the group consists of, sorted."""

    members: tuple[str, ...]


class Reads(_Notice, frozen=True, tag="reads"):
    """A node says up to which version its release reads."""

    node: str
    version: int


class Report(_Notice, frozen=True, tag="report"):
    """A node says what it has at the checkpoint of entry `index`."""

    node: str
    digest: Digest
    index: int
    value: bytes


class Checkpoint(_Notice, frozen=True, tag="checkpoint"):
    """Somebody wants one now: after this entry the whole state is compared."""


Notice = Roster | Reads | Report | Checkpoint


def is_bounded(notice: Notice) -> bool:
    """Return whether a decoded notice keeps the bounds of this file."""
    match notice:
        case Roster(members=members):
            return len(members) <= ROSTER_MAX and all(map(_is_node, members))
        case Reads(node=node):
            return _is_node(node)
        case Report(node=node, value=value):
            return _is_node(node) and len(value) == DIGEST_BYTES
        case Checkpoint():
            return True


def _is_node(name: str) -> bool:
    return 0 < len(name.encode()) <= NODE_BYTES_MAX
