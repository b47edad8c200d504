"""`raft-exchange verify DIR`: is a stopped node's data folder whole, and what does it say?

Reads only. Checks every checksum of identity, journal and snapshots, replays the committed entries
behind a snapshot through the state machine, and prints the sequence, the state hash and the digest
of all events: equal on every node at the same index. On the way it is held against what the members
agreed on. With --archive it replays archives, from the founding on, and then what DIR holds beyond.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.cli.replay import Folder, NotThere, Replay, read_folder
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.archive import read_archives
from raft_exchange.raft.identity import FILE_NAME, IdentityError, read_identity
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.storage import Directory, DirectoryInUse
from raft_exchange.sequencer.state import CannotOpen


class Finding(msgspec.Struct, frozen=True):
    """What a folder says; `unconfirmed` counts entries beyond the last known commit.

    `snapshot_index` is where the replay began: 0 without a snapshot. `agreements` counts the
    digests the members had agreed on, and the replay came to as well. `archived_index` is the
    last entry taken from archives.
    """

    snapshot_index: int
    index: int
    unconfirmed: int
    torn_bytes: int
    sequence: int
    time_us: int
    state_hash: str
    event_digest: str
    agreements: int
    archived_index: int


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "verify", help="check a stopped node's data folder, or archives", description=__doc__
    )
    parser.add_argument("dir", type=Path, metavar="DIR", nargs="?", help="the node's data folder")
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="replay this archive first; given again, one fills the gaps of the other",
    )
    parser.add_argument(
        "--index", type=int, default=None, help="replay up to this log index (the last commit)"
    )
    parser.add_argument(
        "--cluster-id",
        default="",
        metavar="ID",
        help="the cluster whose orders are signed in archives (of DIR, if it is given)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; 1 when something is damaged, 2 when there is nothing to read."""
    try:
        finding = _find(arguments)
    except DirectoryInUse as error:
        print(f"raft-exchange verify: DIR: {error}; stop the node first", file=sys.stderr)
        return 2
    except NewerVersion as error:
        print(f"raft-exchange verify: {error}", file=sys.stderr)
        return 1
    except _NotGiven as error:
        print(f"raft-exchange verify: {error}", file=sys.stderr)
        return 2
    except NotThere as error:
        print(f"raft-exchange verify: --index: {error}", file=sys.stderr)
        return 2
    except CannotOpen as error:
        print(f"raft-exchange verify: --cluster-id is missing: {error}", file=sys.stderr)
        return 2
    except (IdentityError, JournalCorrupt, OSError, ValueError) as error:
        print(f"raft-exchange verify: damaged: {error}", file=sys.stderr)
        return 1
    _print(finding, as_json=arguments.json)
    return 0


class _NotGiven(Exception):
    """There is nothing to read; the message says what was looked for."""


class _Differs(ValueError):
    """The replay came to something else than the members did."""


def _find(arguments: argparse.Namespace) -> Finding:
    replay = Replay(arguments.cluster_id or _cluster_id(arguments.dir))
    for folder in arguments.archive:
        if not folder.is_dir():
            raise _NotGiven(f"--archive: {folder} is not a folder")
    for command, index, term in read_archives(arguments.archive):
        if arguments.index is None or index <= arguments.index:
            replay.go_through([(command, index, term)])
    archived_index = replay.index
    if arguments.dir is None:
        if not arguments.archive:
            raise _NotGiven("DIR or --archive is missing")
        return _finding(replay, archived_index, folder=None)
    return _find_in_folder(arguments, replay, archived_index)


def _cluster_id(folder: Path | None) -> str:
    path = None if folder is None else folder / FILE_NAME
    return read_identity(path).cluster_id if path is not None and path.exists() else ""


def _find_in_folder(arguments: argparse.Namespace, replay: Replay, archived_index: int) -> Finding:
    path = arguments.dir / "journal"
    if not path.is_dir():
        raise _NotGiven(f"DIR: {path} is not a folder")
    journal = Directory(path)
    try:
        journal.lock()
        folder = read_folder(arguments.dir, journal)
    finally:
        journal.close()
    last = folder.committed if arguments.index is None else arguments.index
    replay.go_through_folder(folder, max(last, archived_index))
    return _finding(replay, archived_index, folder=folder)


def _finding(replay: Replay, archived_index: int, *, folder: Folder | None) -> Finding:
    if replay.differences:
        raise _Differs("; ".join(replay.differences))
    state = replay.state
    unconfirmed = torn_bytes = 0
    if folder is not None:
        unconfirmed = max(0, folder.log.entries.last_index - folder.committed)
        torn_bytes = 0 if folder.log.torn is None else folder.log.torn.length_bytes
    return Finding(
        snapshot_index=replay.began_at,
        index=replay.index,
        unconfirmed=unconfirmed,
        torn_bytes=torn_bytes,
        sequence=state.exchange.sequence,
        time_us=state.exchange.time_us,
        state_hash=state.state_hash(),
        event_digest=state.selfcheck.chain.hex(),
        agreements=replay.compared,
        archived_index=archived_index,
    )


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(finding).decode())
        return
    if finding.archived_index:
        print(f"entries up to {finding.archived_index} were replayed from archives")
    if finding.snapshot_index:
        print(f"the snapshot at entry {finding.snapshot_index} is whole")
    print(f"entries {finding.snapshot_index + 1}-{finding.index} are whole and were replayed")
    if finding.unconfirmed:
        print(f"{finding.unconfirmed} entries beyond the last known commit were left out")
    if finding.torn_bytes:
        print(f"{finding.torn_bytes} bytes of a write that no sync had confirmed will be cut")
    print(f"{finding.agreements} digests that the members agreed on are the same here")
    print(f"sequence {finding.sequence}")
    print(f"state hash {finding.state_hash}")
    print(f"event digest {finding.event_digest}")
