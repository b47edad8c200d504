"""`raft-exchange backup`, `restore` and `recover`: a state outlives its cluster.

All three work on stopped nodes' folders and change none of them. (`cluster-admin backup` makes a
backup of a running node.) What is restored, or recovered from the survivor of a lost majority, is
written into a new folder as a *new cluster of one new node*: other ids, so that it can never be
taken for a member of the old one, nor vote with it. Further nodes join it as they join any cluster.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.cli.backup_folder import (
    MANIFEST,
    Manifest,
    parts_of,
    read_manifest,
    write_manifest,
    write_new,
)
from raft_exchange.cli.replay import Folder, NotThere, Replay, read_folder, read_snapshots
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.entries import Position
from raft_exchange.raft.identity import FILE_NAME, Identity, IdentityError, IdentityFile
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.recovery import Recovery
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.snapshot_file import encode, header_of
from raft_exchange.raft.snapshot_store import SUFFIX, UNFINISHED_SUFFIX
from raft_exchange.raft.storage import Directory, DirectoryInUse


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
    if not any((arguments.dir / sign).exists() for sign in ("journal", MANIFEST)):
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


def _read(folder: Path) -> Folder:
    if not (folder / "journal").is_dir():  # a backup of a running node
        return Folder(None, Recovery(), read_snapshots(folder / "snapshots"))
    journal = Directory(folder / "journal")
    try:
        journal.lock()
        return read_folder(folder, journal)
    finally:
        journal.close()


def _identity(folder: Path, found: Folder) -> Identity:
    if found.identity is None:
        raise IdentityError(f"{folder / FILE_NAME} is missing")
    return found.identity


def _replayed(found: Folder, cluster_id: str) -> Replay:
    """Return a replica at the end of a folder's log.

    Raises:
        ValueError: the members had agreed on another state.
    """
    replay = Replay(cluster_id)
    replay.go_through_folder(found, max(found.committed, found.log.entries.last_index))
    if replay.differences:
        raise ValueError(f"the members had agreed on another state: {replay.differences[0]}")
    return replay


def _soundest(found: Folder, cluster_id: str) -> Replay:
    """Return the same from the newest snapshot by which the log comes out right.

    A node that differed wrote snapshots of that, before it was fenced.

    Raises:
        ValueError: by none; of the newest one.
    """
    snapshots, reasons = found.snapshots, list[ValueError]()
    for count in range(len(snapshots), -1, -1):
        tried = msgspec.structs.replace(found, snapshots=snapshots[:count])
        try:
            return _replayed(tried, cluster_id)
        except ValueError as error:
            reasons.append(error)
        except NotThere:
            if not reasons:
                raise
            break
        if count:
            wrong = snapshots[count - 1][0].index
            print(f"passing over the snapshot at entry {wrong}: {reasons[-1]}", file=sys.stderr)
    raise reasons[0]


def _backup(arguments: argparse.Namespace) -> None:
    found = _read(arguments.dir)
    identity = _identity(arguments.dir, found)
    replay = _replayed(found, identity.cluster_id)
    image, files = replay.replica.capture(), {}
    for path in parts_of(arguments.dir):
        name = str(path.relative_to(arguments.dir))
        _, files[name] = write_new(arguments.out / name, [path.read_bytes()])
    manifest = Manifest(
        cluster=identity.cluster,
        cluster_id=identity.cluster_id,
        node=identity.node,
        index=replay.index,
        files=files,
        sequence=image.sequence,
        state_hash=image.state_hash,
    )
    write_manifest(arguments.out, manifest)
    print(f"backed up {len(files)} files of {identity.node}, up to entry {manifest.index}")
    print(f"sequence {image.sequence}, state {image.state_hash}")


def _restore(arguments: argparse.Namespace) -> None:
    manifest = read_manifest(arguments.dir)
    replay = _replayed(_read(arguments.dir), manifest.cluster_id)
    found = replay.index, replay.state.state_hash()
    if manifest.state_hash and found != (manifest.index, manifest.state_hash):
        wanted = manifest.index, manifest.state_hash
        raise ValueError(f"the backup comes to entry and state {found}, not {wanted}")
    _found_anew(arguments, manifest, replay, what="restored")


def _recover(arguments: argparse.Namespace) -> None:
    found = _read(arguments.dir)
    identity = _identity(arguments.dir, found)
    _found_anew(arguments, identity, _soundest(found, identity.cluster_id), what="recovered")
    print(
        "LOST, if there was any: whatever the other members acknowledged beyond that entry.\n"
        "KEPT, if there was any: entries at the end that no majority had confirmed.\n"
        "Destroy the other members' folders: they belong to a cluster that is no more."
    )


def _found_anew(
    arguments: argparse.Namespace, old: Manifest | Identity, replay: Replay, *, what: str
) -> None:
    """Write the state at the end of a log as a cluster of one new node.

    The folder gets its name when everything is in it: nothing can start from half of it.
    """
    out = arguments.out.with_name(arguments.out.name + UNFINISHED_SUFFIX)
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
    write_new(out / "snapshots" / f"{at.index:020d}{SUFFIX}", encode(header, image.sections))
    journal = Journal(Directory.ensure(out / "journal"))
    journal.reset_to(at.index, at.term)
    journal.setCurrentTerm(at.term, None)
    journal.close()
    file.found_with([new_id])
    out.rename(arguments.out)
    Directory.ensure(arguments.out).close()  # the name is durable before it is told
    print(f"{what} up to entry {at.index}, sequence {image.sequence}, state {image.state_hash}")
    print(f"old cluster {old.cluster_id}, node {old.node}")
    print(f"new cluster {file.current.cluster_id}, node {new_id}, in {arguments.out}")
