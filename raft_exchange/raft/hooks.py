"""What a member of the group is given: its clockwork, and whom it tells what happens."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NoReturn

import msgspec

from raft_exchange.raft.membership import Configuration


class Timing(msgspec.Struct, frozen=True):
    """The group's clockwork, in seconds. Elections need several lost heartbeats."""

    election_s_min: float = 0.3
    election_s_max: float = 0.6
    heartbeat_s: float = 0.05
    quorum_contact_s_max: float = 1.0
    transfer_s_max: float = 2.0


class Standing(Enum):
    """What a member may do beside storing the log and voting, which it may always."""

    FULL = "full"
    ASIDE = "aside"  # it applies what is committed, and does not lead
    FENCED = (
        "fenced"  # neither: it writes no snapshots, and takes the leader's to keep its log short
    )


class Hooks(msgspec.Struct, frozen=True):
    """What the group calls. None of them may call back into a tick.

    `admit` turns a proposed payload into the bytes to append (the leader's stamp), or None where
    it is not an entry at all. `apply` gets every committed ordinary entry once, in order. `fail`
    does not return: the replica stops rather than diverges. `restored` says that the state has
    been replaced by a snapshot's: entries were jumped over. `has_room` tells whether the disk is
    above its reserve: a leader without room makes way for a member that has some. `standing` is
    asked at each tick and entry. `configured` gets every committed configuration of the members, in
    order with what `apply` gets.
    """

    admit: Callable[[bytes], bytes | None]
    apply: Callable[[int, int, bytes], None]
    leader_changed: Callable[[str | None], None]
    propose_refused: Callable[[], None]
    wake: Callable[[], None]
    fail: Callable[[BaseException], NoReturn]
    restored: Callable[[], None] = lambda: None
    has_room: Callable[[], bool] = lambda: True
    standing: Callable[[], Standing] = lambda: Standing.FULL
    configured: Callable[[Configuration], None] = lambda configuration: None
