"""What the members of a Raft group say to each other.

A closed list of msgspec structs, `array_like` and tagged: the transport decodes a frame into
exactly one of them or drops the connection. Nothing is ever unpickled. Every message but
`Propose` carries the sender's term. The bounds stand in the types: what is outside them is no
message, and the peer that sent it is dropped.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec

from raft_exchange.raft.membership import Change, Refused

ENTRY_BYTES_MAX: Final = 1024 * 1024
"""Upper bound of one entry's payload; the sequencer keeps its own far below."""

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Upper bound of one encoded message. Senders split their entries to stay under a quarter of it."""

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Upper bound of the data in one chunk of a snapshot."""

SNAPSHOT_BYTES_MAX: Final = 4 * 1024**3
SHA256_BYTES: Final = 32

COMMAND_BYTES_MAX: Final = 1 + ENTRY_BYTES_MAX  # pysyncobj's type byte, then the payload

ENTRIES_PER_MESSAGE_MAX: Final = 16_384
"""Upper bound of the entries in one `AppendEntries`; senders keep to it as to the bytes."""

NUMBER_MAX: Final = 2**62
"""Upper bound of terms and indexes: never reached, and far from where 64 bits end."""

Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
SnapshotBytes = Annotated[int, msgspec.Meta(ge=0, le=SNAPSHOT_BYTES_MAX)]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the log; `command` is pysyncobj's: a type byte, then the payload."""

    command: Annotated[bytes, msgspec.Meta(max_length=COMMAND_BYTES_MAX)]
    index: Number
    term: Number


class RequestVote(msgspec.Struct, frozen=True, array_like=True, tag="vote?"):
    """A candidate asks for a vote in `term` (Raft section 5.2)."""

    term: Number
    last_log_index: Number
    last_log_term: Number


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag="vote!"):
    """Whether the sender votes for the receiver in `term`.

    A refusal carries the sender's own term, so that a candidate left behind catches up.
    """

    term: Number
    granted: bool


class RequestPreVote(msgspec.Struct, frozen=True, array_like=True, tag="prevote?"):
    """Would you vote for me in `next_term`? Changes no state (Raft thesis section 9.6)."""

    term: Number
    next_term: Number
    last_log_index: Number
    last_log_term: Number


class PreVoteReply(msgspec.Struct, frozen=True, array_like=True, tag="prevote!"):
    """Whether the sender would vote for the receiver in `next_term`; `term` is the sender's own."""

    term: Number
    next_term: Number
    granted: bool


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """The leader's entries after `previous_index`, or none as a heartbeat (Raft section 5.3)."""

    term: Number
    commit_index: Number
    previous_index: Number
    previous_term: Number
    entries: Annotated[list[Entry], msgspec.Meta(max_length=ENTRIES_PER_MESSAGE_MAX)]


class AppendReply(msgspec.Struct, frozen=True, array_like=True, tag="append!"):
    """The answer to one `AppendEntries`.

    With `success`, the sender's log equals the leader's up to `match_index`, stored as durably as
    configured. Without, `match_index` is a hint: the last index at which it may still agree.
    A reply with a higher term tells a deposed leader. `has_room` says whether the sender's disk is
    above its reserve, so that it may lead.
    """

    term: Number
    previous_index: Number
    success: bool
    match_index: Number
    has_room: bool = True


class SnapshotChunk(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """A part of the leader's snapshot of everything up to (`index`, `snapshot_term`).

    Without data it is an offer and a heartbeat. `size_bytes` and `sha256` name the bytes: a
    transfer that was cut goes on where it was if they are the same.
    """

    term: Number
    index: Number
    snapshot_term: Number
    size_bytes: SnapshotBytes
    sha256: Annotated[bytes, msgspec.Meta(min_length=SHA256_BYTES, max_length=SHA256_BYTES)]
    offset: SnapshotBytes
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES_MAX)]


class SnapshotStatus(IntEnum):
    """What a follower says to a chunk."""

    WANTED = 0
    INSTALLED = 1
    REFUSED = 2


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, tag="snapshot!"):
    """How far the transfer of the snapshot at `index` is, in bytes that are here.

    `INSTALLED`: this member's state includes everything up to `index`, durably. `REFUSED`: it
    could not be used, and nothing of it was kept. `WANTED` of index 0 asks for the newest snapshot,
    though the log reaches back: an earlier release takes no notice.
    """

    term: Number
    index: Number
    offset: SnapshotBytes
    status: SnapshotStatus


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="timeout"):
    """The leader asks the receiver to stand for election at once (Raft thesis section 3.10)."""

    term: Number


class Propose(msgspec.Struct, frozen=True, array_like=True, tag="propose"):
    """A follower hands the leader a payload to append."""

    payload: Annotated[bytes, msgspec.Meta(max_length=ENTRY_BYTES_MAX)]


class ProposeChange(msgspec.Struct, frozen=True, array_like=True, tag="change?"):
    """A member asks the leader for another configuration; `number` is its own, for the answer."""

    number: Number
    change: Change


class ChangeReply(msgspec.Struct, frozen=True, array_like=True, tag="change!"):
    """What the leader did: appended the change at `index`, or refused it."""

    term: Number
    number: Number
    index: Number = 0
    refused: Refused | None = None


class Removed(msgspec.Struct, frozen=True, array_like=True, tag="removed!"):
    """The receiver is no longer a member, and never will be again: that is committed."""

    term: Number


class ProposeRefused(msgspec.Struct, frozen=True, array_like=True, tag="propose!"):
    """The receiver of a `Propose` is not the leader and dropped it; ask again elsewhere."""

    term: Number


WireMessage = (
    RequestVote
    | VoteReply
    | RequestPreVote
    | PreVoteReply
    | AppendEntries
    | AppendReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
    | Propose
    | ProposeRefused
    | ProposeChange
    | ChangeReply
    | Removed
)
