"""`raft-exchange rebuild DIR`: give a fenced node a state that others agree on.

For a stopped node that `state_divergence` took out of service. A snapshot of another member (a
file of its snapshots folder, which may be copied while it runs) takes the place of the node's own,
which are set aside. Journal, term and vote stay: what the node acknowledged remains true. Started
again it serves when the other members have found its state to be theirs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from raft_exchange.cli import Commands
from raft_exchange.cli.replay import Replay
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.identity import FILE_NAME, IdentityError, read_identity
from raft_exchange.raft.recovery import Recovery, recover
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.snapshot_file import Header, decode
from raft_exchange.raft.snapshot_store import SUFFIX, UNFINISHED_SUFFIX
from raft_exchange.raft.storage import Directory, DirectoryInUse
from raft_exchange.sequencer.fence import FILE_NAME as MARK


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "rebuild", help="give a fenced node another member's state", description=__doc__
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the stopped node's data folder")
    parser.add_argument(
        "--snapshot",
        type=Path,
        metavar="FILE",
        help="another member's newest snapshot; without it the whole log is replayed, which only "
        "a log that was never shortened allows",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Rebuild; 1 when something does not fit, with nothing changed, 2 when it is wrongly asked."""
    path = arguments.dir / "journal"
    if not path.is_dir():
        print(f"raft-exchange rebuild: DIR: {path} is not a folder", file=sys.stderr)
        return 2
    journal = Directory(path)
    try:
        journal.lock()
        header = _checked(arguments, recover(journal))
        _replace_snapshots(arguments.dir, arguments.snapshot, header)
    except DirectoryInUse as error:
        print(f"raft-exchange rebuild: DIR: {error}; stop the node first", file=sys.stderr)
        return 2
    except (IdentityError, JournalCorrupt, NewerVersion, OSError, ValueError) as error:
        print(f"raft-exchange rebuild: nothing was changed: {error}", file=sys.stderr)
        return 1
    finally:
        journal.close()
    begins = "the founding" if header is None else f"the snapshot at entry {header.index}"
    print(f"the state will be made anew from {begins}; start the node")
    return 0


def _checked(arguments: argparse.Namespace, log: Recovery) -> Header | None:
    """Return the header of the snapshot to begin from, None for the founding.

    Raises:
        ValueError: it does not fit this folder.
    """
    identity = read_identity(arguments.dir / FILE_NAME)
    base_index = log.entries.base.index
    if arguments.snapshot is None:
        if base_index:
            raise ValueError(f"the log begins after entry {base_index}: --snapshot is needed")
        return None
    header, sections = decode(arguments.snapshot.read_bytes())
    if header.cluster != identity.cluster:
        raise ValueError(f"the snapshot is of cluster {header.cluster!r}")
    if header.index < base_index:
        raise ValueError(f"the snapshot ends at {header.index}, the log begins after {base_index}")
    term = log.entries.term_at(header.index)
    if term not in (None, header.term) and header.index <= log.commit_index:
        raise ValueError("the snapshot is not of this log")
    Replay().begin_from(header, sections)
    return header


def _replace_snapshots(folder: Path, snapshot: Path | None, header: Header | None) -> None:
    """Set the node's own snapshots aside, put the other in place, then take the mark away.

    A crash in between leaves the mark: the command is run again.
    """
    own = Directory.ensure(folder / "snapshots")
    aside = Directory.ensure(folder / "snapshots.aside")
    try:
        taken = None if snapshot is None else snapshot.read_bytes()
        for name in own.names():
            (own.path / name).rename(aside.path / name)
        aside.sync()
        if taken is not None and header is not None:
            name = f"{header.index:020d}{SUFFIX}"
            if name + UNFINISHED_SUFFIX in own.names():
                own.unlink(name + UNFINISHED_SUFFIX)
            file = own.create(name + UNFINISHED_SUFFIX, 0)
            own.write(file, taken, 0)
            own.sync_data(file)
            own.close_file(file)
            own.rename(name + UNFINISHED_SUFFIX, name)
        own.sync()
    finally:
        aside.close()
        own.close()
    (folder / MARK).unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
