"""`raft-exchange verify DIR`: is a stopped node's data folder whole, and what does it say?

Reads only. Checks every checksum of identity, journal and snapshots, replays the committed entries
behind a snapshot through the state machine, and prints the sequence and the state hash: equal on
every node at the same index.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.marketdata.view import MarketData
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.identity import FILE_NAME, IdentityError, read_identity
from raft_exchange.raft.library import REGULAR
from raft_exchange.raft.recovery import Recovery, recover
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.snapshot_file import Header, Image, SnapshotDamaged, decode
from raft_exchange.raft.snapshot_store import SUFFIX
from raft_exchange.raft.storage import Directory, DirectoryInUse
from raft_exchange.sequencer.replica import Replica
from raft_exchange.sequencer.state import ReplicatedState

ENTRIES_AT_ONCE: Final = 1_024


class Finding(msgspec.Struct, frozen=True):
    """What a folder says; `unconfirmed` counts entries beyond the last known commit.

    `snapshot_index` is where the replay began: 0 without a snapshot.
    """

    snapshot_index: int
    index: int
    unconfirmed: int
    torn_bytes: int
    sequence: int
    time_us: int
    state_hash: str


def add_command(commands: Commands) -> None:
    """Declare the command and its flags."""
    parser = commands.add_parser(
        "verify", help="check a stopped node's data folder", description=__doc__
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the node's data folder")
    parser.add_argument(
        "--index", type=int, default=None, help="replay up to this log index (the last commit)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; 1 when something is damaged, 2 when there is nothing to read."""
    folder = arguments.dir / "journal"
    if not folder.is_dir():
        print(f"raft-exchange verify: DIR: {folder} is not a folder", file=sys.stderr)
        return 2
    directory = Directory(folder)
    try:
        directory.lock()
        if (arguments.dir / FILE_NAME).exists():
            read_identity(arguments.dir / FILE_NAME)
        snapshots = _read_snapshots(arguments.dir / "snapshots")
        finding = _replay(recover(directory), snapshots, arguments.index)
    except DirectoryInUse as error:
        print(f"raft-exchange verify: DIR: {error}; stop the node first", file=sys.stderr)
        return 2
    except NewerVersion as error:
        print(f"raft-exchange verify: {error}", file=sys.stderr)
        return 1
    except _NotThere as error:
        print(f"raft-exchange verify: --index: {error}", file=sys.stderr)
        return 2
    except (IdentityError, JournalCorrupt, OSError, ValueError) as error:
        print(f"raft-exchange verify: damaged: {error}", file=sys.stderr)
        return 1
    finally:
        directory.close()
    _print(finding, as_json=arguments.json)
    return 0


class _NotThere(Exception):
    """The index asked for cannot be reached from what the folder holds."""


_Snapshots = list[tuple[Header, list[bytes]]]


def _read_snapshots(folder: Path) -> _Snapshots:
    """Return every snapshot, oldest first.

    Raises:
        SnapshotDamaged: one is not whole; the message names it.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append(decode(path.read_bytes()))
        except SnapshotDamaged as error:
            raise SnapshotDamaged(f"{path.name}: {error}") from error
    return found


def _replay(found: Recovery, snapshots: _Snapshots, index: int | None) -> Finding:
    """Return the finding at `index`, or at the last known commit.

    Raises:
        _NotThere: the index is not in the folder.
    """
    entries = found.entries
    newest = snapshots[-1][0].index if snapshots else 0
    last = max(found.commit_index, newest) if index is None else index
    replica = Replica(ReplicatedState(), MarketData(), on_applied=lambda applied: None)
    at = 0
    for header, sections in snapshots:
        if entries.base.index <= header.index <= last:
            at = header.index
            image = Image(header.sequence, header.time_us, header.state_hash, sections)
            replica.prepare(image)()
    if at < entries.base.index or last > max(at, entries.last_index):
        raise _NotThere(f"{last}; allowed: {at or entries.base.index}-{entries.last_index}")
    begin = at
    while at < last:
        run = entries.run(at + 1, bytes_max=1 << 20, count_max=min(ENTRIES_AT_ONCE, last - at))
        for command, entry_index, term in run:
            if command[:1] == REGULAR:
                replica.apply(entry_index, term, command[1:])
            at = entry_index
    state = replica.state
    return Finding(
        snapshot_index=begin,
        index=last,
        unconfirmed=max(0, entries.last_index - max(found.commit_index, newest)),
        torn_bytes=0 if found.torn is None else found.torn.length_bytes,
        sequence=state.exchange.sequence,
        time_us=state.exchange.time_us,
        state_hash=state.state_hash(),
    )


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(finding).decode())
        return
    if finding.snapshot_index:
        print(f"the snapshot at entry {finding.snapshot_index} is whole")
    print(f"entries {finding.snapshot_index + 1}-{finding.index} are whole and were replayed")
    if finding.unconfirmed:
        print(f"{finding.unconfirmed} entries beyond the last known commit were left out")
    if finding.torn_bytes:
        print(f"{finding.torn_bytes} bytes of a write that no sync had confirmed will be cut")
    print(f"sequence {finding.sequence}")
    print(f"state hash {finding.state_hash}")
