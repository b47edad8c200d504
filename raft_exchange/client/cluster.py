"""Answers about the cluster itself, and to who operates it; further fields are skipped."""

from __future__ import annotations

import msgspec


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the cluster as one node sees it."""

    id: str
    http_url: str
    reachable: bool
    raft_address: str = ""
    match_lag: int | None = None
    fenced: bool = False
    votes: bool = True


class Voter(msgspec.Struct, frozen=True, kw_only=True):
    """A member after a change, and whether it votes already."""

    id: str
    votes: bool


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Who the members are once a change was committed."""

    members: list[Voter]


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as one node sees it."""

    cluster: str
    node: str
    role: str
    term: int
    sequence: int
    members: list[Member]
    leader: str | None = None
    commit_index: int = 0
    applied_index: int = 0
    state_hash: str | None = None
    draining: bool = False
    cluster_id: str = ""
    snapshot_index: int = 0
    checkpoint_sequence: int | None = None
    standing: str = "full"
    version: int = 1
    version_newest: int = 1
    read_only: bool = False
    removed: bool = False


class SnapshotAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A node writes a snapshot: it is there when its `snapshot_index` reaches `applied_index`."""

    node: str
    applied_index: int
    snapshot_index: int


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads, after `node` did."""

    node: str
    leader: str | None


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """A node stops: its process ends when what it took is finished."""

    node: str
    draining: bool


class RecoveredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key, `bearer`, which is shown only here."""

    account: str
    id: str
    bearer: str
