"""Who this data folder belongs to, which cluster it is bound to, and which start this is.

One small file with a sum over it, replaced atomically and synced before anything that rests on it
is said or done. Rules:

* The node's id is minted once for each folder and never again: a wiped folder is another node. So
  nobody votes, or forms a cluster, as somebody whose memory is gone.
* What was accepted, refused or bound to stays so for ever, as `formation` needs it.
* Each start gets a `boot` that no other has, also where the folder was restored from a backup,
  since it begins with the time of day: it names the sequencer's sessions.
* A folder of another node's name or another cluster's name is refused.

Folders from before ids were minted hold a list of members that was given to every node: they go
on as founders of a cluster with that list.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.raft.formation import Accept, Found, Join, Refuse, cluster_id_of
from raft_exchange.raft.storage import Directory

FILE_NAME: Final = "identity.json"
BOOT_RANDOM: Final = 2_048
"""A boot is microseconds since 1970 times this, plus a random part; 63 bits until 2112."""
ID_RANDOM_BYTES: Final = 6


class IdentityError(RuntimeError):
    """The data folder is not this node's; the message says whose it is."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a node must not forget of itself, and this start.

    `cluster_id` is empty until the node is bound to a cluster. `founders` are the ids that its
    group started from if this node is one of them; a joiner has none and gets them from the log.
    `accepted` and `refused` are those of `formation.Statement`.
    """

    cluster: str
    name: str
    node: str
    boot: int
    cluster_id: str = ""
    founders: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class _Sealed(msgspec.Struct):
    sha256: str
    identity: msgspec.Raw


class _Before(msgspec.Struct):
    """What the file held before ids were minted."""

    cluster: str
    node: str
    members: tuple[str, ...]
    boot: int


class IdentityFile:
    """The identity in one folder; `current` is what is on stable storage."""

    def __init__(self, path: Path, current: Identity) -> None:
        self._path = path
        self.current = current

    @classmethod
    def open(
        cls, folder: Path, *, cluster: str, name: str, now_us: int, node_id: str | None = None
    ) -> IdentityFile:
        """Return the identity of this start, after it is on stable storage.

        Args:
            folder: made where it is missing.
            cluster: the cluster's name.
            name: the node's name, for people; a new id begins with it.
            now_us: the time of day.
            node_id: the id of a new folder, where it is not to be minted.

        Raises:
            IdentityError: the folder belongs to another node or cluster, or its file is damaged.
            OSError: storage failed.
        """
        Directory.ensure_with_parents(folder).close()
        path = folder / FILE_NAME
        found = read_identity(path) if path.exists() else None
        if found is not None and (found.cluster, found.name) != (cluster, name):
            raise IdentityError(
                f"{folder} belongs to node {found.name!r} of cluster {found.cluster!r}, "
                f"not to {name!r} of {cluster!r}"
            )
        if found is None:
            minted = f"{name}-{secrets.token_hex(ID_RANDOM_BYTES)}"
            found = Identity(cluster=cluster, name=name, node=node_id or minted, boot=0)
        drawn = now_us * BOOT_RANDOM + secrets.randbelow(BOOT_RANDOM)
        file = cls(path, found)
        file._store(boot=max(found.boot + 1, drawn))
        return file

    def apply(self, decided: Accept | Refuse | Found | Join) -> None:
        """Make durable what `formation.step` decided, before anybody is told.

        Raises:
            OSError: storage failed; the process has to end.
        """
        was = self.current
        assert not was.cluster_id, f"bound to {was.cluster_id} for ever"
        match decided:
            case Accept(ids=ids):
                assert not was.accepted, "one list at a time"
                self._store(accepted=ids)
            case Refuse(ids=ids):
                refused = (*was.refused, cluster_id_of(was.cluster, ids))
                self._store(refused=refused, accepted=() if was.accepted == ids else was.accepted)
            case Found(ids=ids, cluster_id=cluster_id):
                assert was.accepted == ids, "founded is what was accepted"
                self._store(cluster_id=cluster_id, founders=ids)
            case Join(cluster_id=cluster_id):
                assert not was.accepted, "the list it holds may be founded"
                self._store(cluster_id=cluster_id)

    def found_with(self, members: Iterable[str]) -> None:
        """Bind a folder that is not bound to the cluster founded by a list given to every member.

        Raises:
            IdentityError: it is bound to another list.
            OSError: storage failed; the process has to end.
        """
        ids, was = tuple(sorted(members)), self.current
        if was.cluster_id and was.founders != ids:
            raise IdentityError(
                f"{self._path.parent} belongs to a member of {', '.join(was.founders)}; the list "
                f"cannot be changed to {', '.join(ids)} by editing it"
            )
        if not was.cluster_id:
            self.apply(Accept(ids))
            self.apply(Found(ids, cluster_id_of(was.cluster, ids), ()))

    def _store(self, **changes: object) -> None:
        changed = msgspec.structs.replace(self.current, **changes)
        raw = msgspec.json.encode(changed)
        _replace(self._path, msgspec.json.encode(_Sealed(_sum(raw), msgspec.Raw(raw))))
        self.current = changed


def _sum(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def read_identity(path: Path) -> Identity:
    """Return what the file says.

    Raises:
        IdentityError: it is damaged.
        OSError: storage failed.
    """
    data = path.read_bytes()
    try:
        if b'"sha256"' not in data:
            before = msgspec.json.decode(data, type=_Before)
            return Identity(
                cluster=before.cluster,
                name=before.node,
                node=before.node,
                boot=before.boot,
                cluster_id=cluster_id_of(before.cluster, before.members),
                founders=before.members,
                accepted=before.members,
            )
        sealed = msgspec.json.decode(data, type=_Sealed)
        if _sum(bytes(sealed.identity)) != sealed.sha256:
            raise IdentityError(f"{path} is damaged: its SHA-256 is another one")
        return msgspec.json.decode(sealed.identity, type=Identity)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path} is damaged: {error}") from error


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
