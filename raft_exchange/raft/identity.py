"""Who this data folder belongs to, and how often it was started.

One small file, replaced atomically and synced before anything else happens: a folder that belongs
to another node or cluster is refused, and each start gets a greater `boot` than all before, which
numbers the sequencer's sessions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

FILE_NAME: Final = "identity.json"


class IdentityError(RuntimeError):
    """The data folder is not this node's; the message says whose it is."""


class Identity(msgspec.Struct, frozen=True):
    """The owner of a data folder; `boot` counts its starts from 1."""

    cluster: str
    node: str
    boot: int


def claim(folder: Path, *, cluster: str, node: str) -> Identity:
    """Return the identity of this start, after it is on stable storage.

    Raises:
        IdentityError: the folder belongs to another node or cluster, or its file is damaged.
        OSError: storage failed.
    """
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
        boot = found.boot
    identity = Identity(cluster, node, boot + 1)
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
