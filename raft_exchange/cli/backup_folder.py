"""A backup: a folder with a manifest of the SHA-256 of each file, and of the state in it.

    OUT/manifest.json    OUT/snapshots/*.snapshot    and of a stopped node its journal and identity

One of a stopped node has its whole folder, up to the end of its log; one of a running node is a
snapshot. Both are read by the same code, and say at which entry which state they come to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.raft.identity import FILE_NAME
from raft_exchange.raft.storage import Directory

MANIFEST: Final = "manifest.json"
PARTS: Final = ("journal", "snapshots")


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is of, the state it comes to, and the SHA-256 of each of its files.

    `state_hash` is empty in backups of earlier releases.
    """

    cluster: str
    cluster_id: str
    node: str
    index: int
    files: dict[str, str]
    sequence: int = 0
    state_hash: str = ""


def parts_of(folder: Path) -> list[Path]:
    """Return the files of a node's folder that are its state, or of a backup that are its own."""
    paths = [path for part in PARTS for path in sorted((folder / part).glob("*"))]
    identity = folder / FILE_NAME
    return [identity, *paths] if identity.exists() else paths


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup whose files are all there and as they were.

    Raises:
        ValueError: one is missing, too many or damaged; the message names it.
        OSError: they cannot be read.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    found = {str(part.relative_to(folder)) for part in parts_of(folder)}
    if found != set(manifest.files):
        raise ValueError(f"{path} tells of other files: {sorted(found ^ set(manifest.files))}")
    for name, wanted in manifest.files.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
            raise ValueError(f"{folder / name} is damaged: its SHA-256 is another one")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a folder a backup: whatever is in it is there and synced."""
    write_new(folder / MANIFEST, [msgspec.json.format(msgspec.json.encode(manifest))])


def write_new(path: Path, pieces: Iterable[bytes]) -> tuple[int, str]:
    """Write a file, durably, and the folders above it; return its size and SHA-256."""
    directory = Directory.ensure_with_parents(path.parent)
    total, size_bytes = hashlib.sha256(), 0
    try:
        file = directory.create(path.name, 0)
        try:
            for piece in pieces:
                directory.write(file, piece, size_bytes)
                total.update(piece)
                size_bytes += len(piece)
            directory.sync_data(file)
        finally:
            directory.close_file(file)
        directory.sync()
    finally:
        directory.close()
    return size_bytes, total.hexdigest()
