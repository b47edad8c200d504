"""`raft-exchange backup`, `restore` and `recover`: a state outlives its cluster.

All three work on stopped nodes' folders and change none of them. A backup is a copy with a manifest
of sums. What is restored, or recovered from the survivor of a lost majority, is written into a new
folder as a *new cluster of one new node*: other ids, so that it can never be taken for a member of
the old one, nor vote with it. Further nodes join it as they join any cluster.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.cli.replay import Folder, NotThere, Replay, read_folder
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.entries import Position
from raft_exchange.raft.identity import FILE_NAME, Identity, IdentityError, IdentityFile
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.snapshot_file import encode, header_of
from raft_exchange.raft.snapshot_store import SUFFIX, UNFINISHED_SUFFIX
from raft_exchange.raft.storage import Directory, DirectoryInUse

MANIFEST: Final = "manifest.json"
PARTS: Final = ("journal", "snapshots")


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is of, and the SHA-256 of each of its files."""

    cluster: str
    cluster_id: str
    node: str
    index: int
    files: dict[str, str]


def add_command(commands: Commands) -> None:
    """Declare the commands and their flags."""
    backup = commands.add_parser(
        "backup", help="copy a stopped node's data folder, with sums", description=__doc__
    )
    backup.add_argument("dir", type=Path, metavar="DIR", help="the stopped node's data folder")
    backup.add_argument("out", type=Path, metavar="OUT", help="a folder that does not exist yet")
    backup.set_defaults(run=lambda arguments: _reported("backup", _backup, arguments))
    restore = commands.add_parser(
        "restore", help="make a new cluster from a backup", description=__doc__
    )
    restore.add_argument("dir", type=Path, metavar="BACKUP", help="what `backup` wrote")
    restore.set_defaults(run=lambda arguments: _reported("restore", _restore, arguments))
    recover = commands.add_parser(
        "recover",
        help="a majority is lost for ever: make a new cluster from a survivor",
        description=__doc__,
    )
    recover.add_argument("dir", type=Path, metavar="DIR", help="the survivor's data folder")
    recover.add_argument(
        "--i-accept-data-loss",
        action="store_true",
        required=True,
        help="what only the lost members had is gone, though it may have been acknowledged",
    )
    recover.set_defaults(run=lambda arguments: _reported("recover", _recover, arguments))
    for parser in (restore, recover):
        parser.add_argument(
            "out", type=Path, metavar="OUT", help="a folder that does not exist yet"
        )
        parser.add_argument("--name", required=True, help="the new node's name")


def _reported(
    name: str, work: Callable[[argparse.Namespace], None], arguments: argparse.Namespace
) -> int:
    if arguments.out.exists():
        print(f"raft-exchange {name}: OUT: {arguments.out} exists", file=sys.stderr)
        return 2
    if not (arguments.dir / "journal").is_dir():
        print(f"raft-exchange {name}: {arguments.dir} holds no journal", file=sys.stderr)
        return 2
    try:
        work(arguments)
    except DirectoryInUse as error:
        print(f"raft-exchange {name}: {error}; stop the node first", file=sys.stderr)
        return 2
    except (IdentityError, JournalCorrupt, NewerVersion, NotThere, OSError, ValueError) as error:
        print(f"raft-exchange {name}: {error}", file=sys.stderr)
        return 1
    return 0


def _read(folder: Path) -> tuple[Folder, Identity]:
    journal = Directory(folder / "journal")
    try:
        journal.lock()
        found = read_folder(folder, journal)
    finally:
        journal.close()
    if found.identity is None:
        raise IdentityError(f"{folder / FILE_NAME} is missing")
    return found, found.identity


def _backup(arguments: argparse.Namespace) -> None:
    found, identity = _read(arguments.dir)
    files = {}
    paths = [p for part in PARTS for p in sorted((arguments.dir / part).glob("*"))]
    for path in [arguments.dir / FILE_NAME, *paths]:
        data, name = path.read_bytes(), str(path.relative_to(arguments.dir))
        files[name] = hashlib.sha256(data).hexdigest()
        _write_new(arguments.out / name, data)
    index = found.log.entries.last_index
    manifest = Manifest(identity.cluster, identity.cluster_id, identity.node, index, files)
    _write_new(arguments.out / MANIFEST, msgspec.json.encode(manifest))
    print(f"backed up {len(files)} files of {identity.node}, up to entry {index}")


def _restore(arguments: argparse.Namespace) -> None:
    path = arguments.dir / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    paths = [p for part in PARTS for p in (arguments.dir / part).glob("*")]
    found = {str(p.relative_to(arguments.dir)) for p in [arguments.dir / FILE_NAME, *paths]}
    if found != set(manifest.files):
        raise ValueError(f"{path} tells of other files: {sorted(found ^ set(manifest.files))}")
    for name, wanted in manifest.files.items():
        if hashlib.sha256((arguments.dir / name).read_bytes()).hexdigest() != wanted:
            raise ValueError(f"{arguments.dir / name} is damaged: its SHA-256 is another one")
    _found_anew(arguments, what="restored")


def _recover(arguments: argparse.Namespace) -> None:
    _found_anew(arguments, what="recovered")
    print(
        "LOST, if there was any: whatever the other members acknowledged beyond that entry.\n"
        "KEPT, if there was any: entries at the end that no majority had confirmed.\n"
        "Destroy the other members' folders: they belong to a cluster that is no more."
    )


def _found_anew(arguments: argparse.Namespace, *, what: str) -> None:
    """Write the state at the end of a folder's log as a cluster of one new node.

    The folder gets its name when everything is in it: nothing can start from half of it.
    """
    out = arguments.out.with_name(arguments.out.name + UNFINISHED_SUFFIX)
    found, old = _read(arguments.dir)
    replay = Replay()
    replay.go_through_folder(found, max(found.committed, found.log.entries.last_index))
    if replay.differences:
        raise ValueError(f"the members had agreed on another state: {replay.differences[0]}")
    now_us = time.time_ns() // 1_000
    file = IdentityFile.open(out, cluster=old.cluster, name=arguments.name, now_us=now_us)
    new_id = file.current.node
    image = replay.replica.capture()
    at = Position(replay.index, replay.term)
    header = header_of(
        image,
        cluster=old.cluster,
        at=at,
        log_bytes=0,
        configuration=Configuration((new_id,)),
    )
    snapshot = b"".join(encode(header, image.sections))
    _write_new(out / "snapshots" / f"{at.index:020d}{SUFFIX}", snapshot)
    journal = Journal(Directory.ensure(out / "journal"))
    journal.reset_to(at.index, at.term)
    journal.setCurrentTerm(max(at.term, found.log.term), None)
    journal.close()
    file.found_with([new_id])
    out.rename(arguments.out)
    print(f"{what} up to entry {at.index}, sequence {image.sequence}, state {image.state_hash}")
    print(f"old cluster {old.cluster_id}, node {old.node}")
    print(f"new cluster {file.current.cluster_id}, node {new_id}, in {arguments.out}")


def _write_new(path: Path, data: bytes) -> None:
    """Write a file, durably, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = Directory(path.parent)
    try:
        file = directory.create(path.name, 0)
        directory.write(file, data, 0)
        directory.sync_data(file)
        directory.close_file(file)
        directory.sync()
    finally:
        directory.close()
