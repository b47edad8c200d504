"""What one log entry did: the stream from the state machine to everything that folds it."""

from __future__ import annotations

import msgspec

from raft_exchange.matching.messages import Event


class Result(msgspec.Struct, frozen=True, gc=False):
    """One command of an entry and its events, in order.

    `sequence` is the command's own position; `replayed_sequence` is 0, or the position of the
    earlier command whose stored events these are. Folds skip replayed results: their events were
    folded when they happened.
    """

    sequence: int
    events: tuple[Event, ...]
    replayed_sequence: int
    replayed_time_us: int


class Applied(msgspec.Struct, frozen=True, gc=False):
    """One applied log entry.

    `results[0]` is always the time advance at the entry's begin. `node`, `boot`, `number` name
    the batch; `duplicate` means that the session had moved past it, so nothing but time happened.
    """

    index: int
    term: int
    time_us: int
    node: str
    boot: int
    number: int
    duplicate: bool
    results: tuple[Result, ...]
