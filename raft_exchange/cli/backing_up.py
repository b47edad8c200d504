"""`raft-exchange cluster-admin backup OUT`: a backup of a running node, which goes on trading.

The node writes a snapshot of its whole state for it and sends that. Here every sum in it is
checked and the state in it hashed, before OUT gets its name: what is there can be restored
(`raft-exchange restore`). History files and archives are not part of it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Final

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.cli.backup_folder import Manifest, write_manifest, write_new
from raft_exchange.cli.connection import UsageError, add_connection, ask
from raft_exchange.cli.replay import Replay
from raft_exchange.cli.tables import show
from raft_exchange.client import ExchangeClientSync, Unavailable
from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.snapshot_file import decode
from raft_exchange.raft.snapshot_store import SUFFIX, UNFINISHED_SUFFIX
from raft_exchange.raft.storage import Directory

SNAPSHOT: Final = f"snapshots/backup{SUFFIX}"


class Kept(msgspec.Struct, frozen=True):
    """What was backed up, and where it is."""

    out: str
    size_bytes: int
    manifest: Manifest


def add_action(actions: Commands) -> None:
    """Declare the action and its flags."""
    parser = actions.add_parser("backup", help="back a running node up", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder that does not exist yet")
    add_connection(parser, operates=True)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Back up the node that answers."""
    return ask(arguments, lambda client: _back_up(client, arguments.out), _told)


def _back_up(client: ExchangeClientSync, out: Path) -> Kept:
    unfinished = out.with_name(out.name + UNFINISHED_SUFFIX)
    for path in (out, unfinished):
        if path.exists():
            raise UsageError(f"OUT: {path} exists")
    try:
        kept = _received(client, unfinished, out)
        unfinished.rename(out)
        Directory.ensure(out).close()  # the name is durable before it is told
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError):
            raise UsageError(f"OUT: cannot write {str(out)!r}: {error}") from error
        raise
    return kept


def _received(client: ExchangeClientSync, unfinished: Path, out: Path) -> Kept:
    about = client.get_cluster()
    path = unfinished / SNAPSHOT
    size_bytes, sha256 = write_new(path, client.read_backup())
    try:
        header, sections = decode(path.read_bytes())
        Replay().begin_from(header, sections)
    except (ValueError, NewerVersion) as error:
        raise Unavailable(f"what {about.node} sent is no whole backup: {error}") from error
    manifest = Manifest(
        cluster=header.cluster,
        cluster_id=about.cluster_id,
        node=about.node,
        index=header.index,
        files={SNAPSHOT: sha256},
        sequence=header.sequence,
        state_hash=header.state_hash,
    )
    write_manifest(unfinished, manifest)
    return Kept(str(out), size_bytes, manifest)


def _told(kept: Kept) -> None:
    manifest = kept.manifest
    show(
        f"{kept.out}: {manifest.cluster} {manifest.cluster_id} as {manifest.node} had it, "
        f"{kept.size_bytes} bytes",
        f"entry {manifest.index}, sequence {manifest.sequence}, state {manifest.state_hash}",
    )
