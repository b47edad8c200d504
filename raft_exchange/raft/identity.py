"""Who this data folder belongs to, whom it votes with, and which start this is.

One small file, replaced atomically and synced before anything else happens. A folder of another
node, cluster or list of members is refused: two lists could have majorities that share nobody.
Each start gets a `boot` that no other has, also where the folder was wiped or restored from a
backup, since it begins with the time of day: it names the sequencer's sessions.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

FILE_NAME: Final = "identity.json"
BOOT_RANDOM: Final = 2_048
"""A boot is microseconds since 1970 times this, plus a random part; 63 bits until 2112."""


class IdentityError(RuntimeError):
    """The data folder is not this node's; the message says whose it is."""


class Identity(msgspec.Struct, frozen=True):
    """The owner of a data folder, the ids it votes with, sorted, and this start."""

    cluster: str
    node: str
    members: tuple[str, ...]
    boot: int


def claim(
    folder: Path, *, cluster: str, node: str, members: Iterable[str], now_us: int
) -> Identity:
    """Return the identity of this start, after it is on stable storage.

    Raises:
        IdentityError: the folder belongs to another node, cluster or list of members, or its file
            is damaged.
        OSError: storage failed.
    """
    ids = tuple(sorted(members))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    boot = 0
    if path.exists():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Identity)
        except msgspec.DecodeError as error:
            raise IdentityError(f"{path} is damaged: {error}") from error
        if (found.cluster, found.node) != (cluster, node):
            raise IdentityError(
                f"{folder} belongs to node {found.node!r} of cluster {found.cluster!r}, "
                f"not to {node!r} of {cluster!r}"
            )
        if found.members != ids:
            raise IdentityError(
                f"{folder} belongs to a member of {', '.join(found.members)}; the list cannot be "
                f"changed to {', '.join(ids)} by editing it"
            )
        boot = found.boot
    drawn = now_us * BOOT_RANDOM + secrets.randbelow(BOOT_RANDOM)
    identity = Identity(cluster, node, ids, max(boot + 1, drawn))
    _replace(path, msgspec.json.encode(identity))
    return identity


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
