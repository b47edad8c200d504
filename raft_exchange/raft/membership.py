"""Who votes, along the log: configurations, what may change in one, and which is in force. Pure.

Rules (Raft thesis, chapter 4, single-server changes).

* A configuration is an entry of the log, whole, not a difference. The last one in a member's log
  is in force there, committed or not; cutting the log puts the one before back in force.
* One change at a time: a leader appends the next only when the last is committed, and an entry of
  its own term as well. Majorities of two successive configurations then always overlap.
* Who is added is a learner first: it gets the log and counts for nothing. One more entry makes it
  a voter, when it lacks no more than `PROMOTION_LAG_MAX` entries.
* Whoever is removed never returns: its id stays in `removed`, of the last `REMOVED_MAX`.
* No change leaves a majority that is out of reach of the leader who makes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from raft_exchange.raft.members import MEMBERS_MAX, MemberAddress, MemberId

PROMOTION_LAG_MAX: Final = 256
"""Entries: what a few heartbeats carry, so a new voter holds up no commit for longer."""
REMOVED_MAX: Final = 128
"""Ids are random, so only a folder that was kept could bring an older one back."""

Ids = Annotated[tuple[MemberId, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class Configuration(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Who votes, who only listens, who is gone; each sorted but `removed`, which is oldest first.

    `addresses` are those told when members were added: where they were then. The tag is the
    format's number.
    """

    voters: Ids
    learners: Ids = ()
    removed: Annotated[tuple[MemberId, ...], msgspec.Meta(max_length=REMOVED_MAX)] = ()
    addresses: Annotated[tuple[MemberAddress, ...], msgspec.Meta(max_length=MEMBERS_MAX)] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """Voters and learners, sorted."""
        return tuple(sorted((*self.voters, *self.learners)))

    @property
    def quorum(self) -> int:
        """How many voters are a majority."""
        return len(self.voters) // 2 + 1

    def is_majority(self, ids: Iterable[str]) -> bool:
        """Return whether the voters among `ids` are a majority. Of nobody there is none."""
        return len(set(ids) & set(self.voters)) >= self.quorum


class AddMember(msgspec.Struct, frozen=True, array_like=True, tag="add"):
    """Make a node a learner, to be a voter as soon as it has caught up."""

    member: MemberAddress


class RemoveMember(msgspec.Struct, frozen=True, array_like=True, tag="remove"):
    """Take a member out for ever; the leader may be told to remove itself."""

    id: MemberId


Change = AddMember | RemoveMember


class Refusal(StrEnum):
    """Why a change was not made."""

    PENDING = "change_pending"
    """Another one is not committed yet, or the leader is new; ask again."""
    NO_LEADER = "no_leader"
    NO_QUORUM = "no_quorum"
    """Too few members of what would be are in reach."""
    ID_REMOVED = "id_removed"
    TOO_MANY = "too_many_members"
    NOT_A_MEMBER = "not_a_member"
    UNKNOWN = "outcome_unknown"
    """It may still be made."""


class Refused(msgspec.Struct, frozen=True):
    """The change was not made."""

    code: Refusal
    detail: str


def changed(
    now: Configuration, change: Change, *, in_reach: Collection[str]
) -> Configuration | Refused:
    """Return the configuration after the change; `now` itself where nothing is to be done.

    Args:
        now: in force, and committed.
        change: what is asked for.
        in_reach: the ids that the leader is connected to, its own included.
    """
    if isinstance(change, AddMember):
        return _with_learner(now, change.member)
    if change.id in now.removed:
        return now
    if change.id not in now.members:
        return Refused(Refusal.NOT_A_MEMBER, f"{change.id} is no member")
    after = Configuration(
        tuple(id_ for id_ in now.voters if id_ != change.id),
        tuple(id_ for id_ in now.learners if id_ != change.id),
        (*now.removed, change.id)[-REMOVED_MAX:],
        tuple(member for member in now.addresses if member.id != change.id),
    )
    if change.id in now.voters and not after.is_majority(in_reach):
        reached = len(set(in_reach) & set(after.voters))
        return Refused(
            Refusal.NO_QUORUM,
            f"without {change.id} only {reached} of {len(after.voters)} voters are in reach",
        )
    return after


def is_made(now: Configuration, change: Change) -> bool:
    """Return whether a configuration is as the change asked for."""
    if isinstance(change, AddMember):
        return change.member.id in now.members
    return change.id in now.removed


def _with_learner(now: Configuration, member: MemberAddress) -> Configuration | Refused:
    if member.id in now.members:
        return now
    if member.id in now.removed:
        return Refused(
            Refusal.ID_REMOVED, f"{member.id} was removed; start it with an empty folder instead"
        )
    if len(now.members) >= MEMBERS_MAX:
        return Refused(Refusal.TOO_MANY, f"a group has at most {MEMBERS_MAX} members")
    return Configuration(
        now.voters,
        tuple(sorted((*now.learners, member.id))),
        now.removed,
        tuple(sorted((*now.addresses, member), key=lambda one: one.id)),
    )


def promoted(
    now: Configuration, learner: str, *, in_reach: Collection[str]
) -> Configuration | None:
    """Return the configuration in which the learner votes; None if its majority is out of reach."""
    assert learner in now.learners, learner
    after = Configuration(
        tuple(sorted((*now.voters, learner))),
        tuple(id_ for id_ in now.learners if id_ != learner),
        now.removed,
        now.addresses,
    )
    return after if after.is_majority(in_reach) else None


class History:
    """The configurations of one log: the one at its base, and those in entries after it."""

    def __init__(self, base: Configuration) -> None:
        self._found: list[tuple[int, Configuration]] = [(0, base)]
        self.revision = 0  # counts what changed here

    @property
    def current(self) -> Configuration:
        """The configuration in force."""
        return self._found[-1][1]

    @property
    def index(self) -> int:
        """The entry that holds it; at most the log's base where that entry is forgotten."""
        return self._found[-1][0]

    def at(self, index: int) -> Configuration:
        """Return the last configuration at or before an index that is not before the base."""
        return next(found for at, found in reversed(self._found) if at <= index)

    def since(self, index: int) -> list[Configuration]:
        """Return the one in force at `index` and all after it."""
        return [self.at(index), *(found for at, found in self._found if at > index)]

    def add(self, index: int, configuration: Configuration) -> None:
        """Note that the entry at `index`, the log's last, holds a configuration."""
        assert index > self.index, f"{index} is not after {self.index}"
        self._found.append((index, configuration))
        self.revision += 1

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on."""
        while self._found[-1][0] >= index:
            assert len(self._found) > 1, "the base stays"
            self._found.pop()
            self.revision += 1

    def forget_before(self, base_index: int) -> None:
        """Note that the log's base has moved to `base_index`."""
        while len(self._found) > 1 and self._found[1][0] <= base_index:
            del self._found[0]

    def restore(self, index: int, configuration: Configuration, *, last_index: int) -> None:
        """Note that a snapshot at `index` says so; of the log, entries up to `last_index` stay."""
        kept = [(at, found) for at, found in self._found if index < at <= last_index]
        self._found = [(index, configuration), *kept]
        self.revision += 1
