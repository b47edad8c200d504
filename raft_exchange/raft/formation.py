"""How nodes without data become one cluster, and never two that share a member. Pure.

A node without data is asked again and again what to do, given what other nodes state of
themselves (authenticated, but as late as the network likes). What it decides it stores durably
before it states it or does anything else, so a restart forgets nothing.

* A list is N ids. A node holds at most one list at a time, and *accepting* a list is durable.
* A list is *founded* when all N of it stated that they accepted exactly it. The cluster's id is
  the hash of its name and the list, so all founders know it without another round.
* A node that never accepted a list may *refuse* it, for ever. Nobody can then ever see all N
  accept it: it is dead. Only the holders of a dead list let it go, by refusing it as well.
* A node *bound* to a cluster, as founder or as joiner, never accepts another list, so every list
  with it that is not the cluster's own is dead, too: it let go of what it had accepted before.

Why no two founded lists share an id: that member accepted both, and let the first go before it
accepted the second; so the first was dead, and a dead list is never founded.

Liveness. The lowest free id proposes, by accepting. Of two lists the greater gives way, so with
everybody reachable one list wins. With exactly N nodes there is only one list and it is never
refused. A member that accepted and never comes back holds up its list: only it could say whether
it had already seen all others accept. More than N nodes in two halves that do not see each other
may found two clusters of one name, of distinct members; they refuse each other, loudly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import combinations, islice
from typing import Annotated, Final

import msgspec

from raft_exchange.raft.members import (
    MEMBERS_MAX,
    HttpUrl,
    MemberAddress,
    MemberId,
    RaftAddress,
)

REFUSED_MAX: Final = 256
"""How many lists a node refuses; after that it accepts what it holds or nothing."""
PROPOSALS_TRIED_MAX: Final = 1_000
"""How many lists of the candidates are looked at for one that nobody refused."""
CLUSTER_ID_CHARS: Final = 32

ClusterId = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{32})?\Z")]
Ids = Annotated[tuple[MemberId, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself.

    `cluster_id` is empty until the node is bound to a cluster; `members` are then the members it
    knows. `accepted` is the list it holds, sorted, or empty; `refused` are the ids that clusters
    of the refused lists would have had.
    """

    id: MemberId
    name: str
    cluster: str
    expect: Annotated[int, msgspec.Meta(ge=1, le=MEMBERS_MAX)]
    raft_address: RaftAddress
    http_url: HttpUrl
    cluster_id: ClusterId = ""
    accepted: Ids = ()
    refused: Annotated[tuple[ClusterId, ...], msgspec.Meta(max_length=REFUSED_MAX)] = ()
    members: Annotated[tuple[MemberAddress, ...], msgspec.Meta(max_length=MEMBERS_MAX)] = ()

    @property
    def is_free(self) -> bool:
        """Return whether the node is neither bound nor holds a list."""
        return not self.cluster_id and not self.accepted


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do; `reason` is for the operator."""

    reason: str


class Accept(msgspec.Struct, frozen=True):
    """Store durably that this list is accepted, then state it."""

    ids: tuple[str, ...]


class Refuse(msgspec.Struct, frozen=True):
    """Store durably that this list is refused for ever (and let go, if it is held)."""

    ids: tuple[str, ...]


class Found(msgspec.Struct, frozen=True):
    """The accepted list is founded: bind to it durably, and start the group of these ids.

    `members` says where they are, as far as it is known.
    """

    ids: tuple[str, ...]
    cluster_id: str
    members: tuple[MemberAddress, ...]


class Join(msgspec.Struct, frozen=True):
    """Bind durably to this cluster, then ask one of its members to be added."""

    cluster_id: str
    members: tuple[MemberAddress, ...]


class Conflict(msgspec.Struct, frozen=True):
    """Two clusters of one name: nothing is done until an operator ends one of them."""

    text: str


Action = Wait | Accept | Refuse | Found | Join | Conflict


def cluster_id_of(cluster: str, ids: Iterable[str]) -> str:
    """Return the id of the cluster of that name founded by these members, in any order."""
    text = "\x00".join((cluster, *sorted(ids)))
    return hashlib.sha256(text.encode()).hexdigest()[:CLUSTER_ID_CHARS]


def conflict(me: Statement, statements: Iterable[Statement]) -> Conflict | None:
    """Return what is wrong where more than one cluster of our name is seen, ours included."""
    bound: dict[str, str] = {}
    for one in (me, *statements):
        if one.cluster == me.cluster and one.cluster_id:
            bound.setdefault(one.cluster_id, one.id)
    if len(bound) < 2:
        return None
    named = ", ".join(f"{cluster_id} ({node})" for cluster_id, node in sorted(bound.items()))
    return Conflict(f"there are {len(bound)} clusters named {me.cluster!r}: {named}")


def step(me: Statement, statements: Iterable[Statement]) -> Action:
    """Return what node `me` does next. Ask again after each change, its own included.

    Args:
        me: what this node has stored durably.
        statements: the newest of each other node that proved the cluster secret; at most one of
            each id. Those of other clusters' names and of `me.id` are ignored.
    """
    seen = {one.id: one for one in statements if one.cluster == me.cluster and one.id != me.id}
    if me.cluster_id:
        found = conflict(me, seen.values())
        return found if found is not None else Wait("bound to its cluster")
    if me.accepted:
        return _holding(me, seen)
    found = conflict(me, seen.values())
    if found is not None:
        return found
    for one in _in_order(seen):
        if one.cluster_id and one.members:
            return Join(one.cluster_id, one.members)
    return _accept_or_propose(me, seen)


def _in_order(seen: dict[str, Statement]) -> list[Statement]:
    return [seen[id_] for id_ in sorted(seen)]


def _is_refused_by(one: Statement, list_id: str) -> bool:
    """Whether that node can never again be seen to have accepted the list it is in."""
    return list_id in one.refused or one.cluster_id not in ("", list_id)


def _holding(me: Statement, seen: dict[str, Statement]) -> Action:
    """Found the accepted list, let it go if it is dead, or refuse what competes with it."""
    list_id = cluster_id_of(me.cluster, me.accepted)
    others = [seen[id_] for id_ in me.accepted if id_ in seen]
    agreed = [one for one in others if list_id in (one.cluster_id, _list_id(one))]
    # Whoever is bound to the cluster has seen it founded, or knows somebody who has.
    is_founded = any(one.cluster_id == list_id for one in seen.values())
    if is_founded or len(agreed) == len(me.accepted) - 1:
        return Found(me.accepted, list_id, _addresses(me, seen, list_id))
    if len(me.refused) < REFUSED_MAX:
        if any(_is_refused_by(one, list_id) for one in others):
            return Refuse(me.accepted)
        for one in _in_order(seen):
            rival = one.accepted
            is_news = _list_id(one) not in me.refused
            if me.id in rival and rival > me.accepted and is_news:
                return Refuse(rival)
    missing = sorted(set(me.accepted) - {me.id, *(one.id for one in agreed)})
    return Wait(
        f"{len(agreed) + 1} of {len(me.accepted)} founders have accepted each other; missing: "
        + ", ".join(missing)
    )


def _list_id(one: Statement) -> str:
    return cluster_id_of(one.cluster, one.accepted)


def _addresses(
    me: Statement, seen: dict[str, Statement], list_id: str
) -> tuple[MemberAddress, ...]:
    """Return where the founders are, by themselves or else by a fellow; some may be unknown."""
    known = {
        member.id: member
        for one in seen.values()
        if one.cluster_id == list_id
        for member in one.members
    }
    for one in (me, *seen.values()):
        known[one.id] = MemberAddress(one.id, one.raft_address, one.http_url)
    return tuple(known[id_] for id_ in me.accepted if id_ in known)


def _accept_or_propose(me: Statement, seen: dict[str, Statement]) -> Action:
    offered = sorted(
        one.accepted
        for one in seen.values()
        if not one.cluster_id and me.id in one.accepted and one.expect == me.expect
    )
    for ids in offered:
        if len(ids) == me.expect and _is_open(me, seen, ids):
            return Accept(ids)
    same = [one for one in (me, *_in_order(seen)) if one.expect == me.expect]
    free = sorted(one.id for one in same if one.is_free)
    if len(free) < me.expect:
        return Wait(_too_few(me, seen, len(free)))
    if free[0] != me.id:
        return Wait(f"{len(free)} nodes are there; {free[0]} is to propose the list")
    for others in islice(combinations(free[1:], me.expect - 1), PROPOSALS_TRIED_MAX):
        if _is_open(me, seen, (me.id, *others)):
            return Accept((me.id, *others))
    return Wait(f"every list of these {len(free)} nodes was refused; start another node")


def _is_open(me: Statement, seen: dict[str, Statement], ids: Sequence[str]) -> bool:
    """Whether nobody seen has refused that list."""
    list_id = cluster_id_of(me.cluster, ids)
    return not any(_is_refused_by(seen.get(id_, me), list_id) for id_ in ids)


def _too_few(me: Statement, seen: dict[str, Statement], free: int) -> str:
    other = sorted(
        f"{one.id} expects {one.expect}"
        for one in seen.values()
        if one.expect != me.expect and not one.cluster_id
    )
    hint = f" ({'; '.join(other)})" if other else ""
    return f"{free} of {me.expect} nodes are here{hint}"
