"""A removed node's folder makes room for another node: what it holds goes to `aside/<its id>`.

An id that was removed never returns, so whoever holds its folder can only come back as somebody
else, who begins without a log. Nothing that others need is lost by that: the removal is committed,
so a majority of those who are left has whatever this node acknowledged.

The id and the log go together: an old id with an empty log would vote for anybody, and a new id
with an old log would claim what it never stored. So a mark is made durable first and taken away
last, and a start in between finishes before anything is opened. The last folder set aside is kept,
older ones are removed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from raft_exchange import address_book
from raft_exchange.history import service as history
from raft_exchange.raft import identity
from raft_exchange.raft.storage import Directory
from raft_exchange.sequencer import fence

MARK: Final = "setting-aside"
ASIDE: Final = "aside"
JOURNAL: Final = "journal"
NAMES: Final = (
    identity.FILE_NAME,
    address_book.FILE_NAME,
    fence.FILE_NAME,
    *(history.FILE_NAME, f"{history.FILE_NAME}-wal", f"{history.FILE_NAME}-shm"),
    *("snapshots", "snapshots.aside", JOURNAL),
)
"""The node's own; an archive, or what is not of the exchange, stays."""


def set_aside(folder: Path, node_id: str) -> None:
    """Empty the data folder of a removed node that has ended.

    Raises:
        DirectoryInUse: another process works in it.
        OSError: storage failed; the next start goes on with it.
    """
    temporary = folder / f"{MARK}.tmp"
    with temporary.open("w") as file:
        file.write(node_id)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / MARK)
    own = Directory(folder)
    own.sync()
    own.close()
    finish_setting_aside(folder)


def finish_setting_aside(folder: Path) -> None:
    """Go on with what an earlier process began, if one did.

    Raises:
        DirectoryInUse, OSError: as `set_aside`.
    """
    if not (folder / MARK).exists():
        return
    journal = Directory.ensure(folder / JOURNAL)  # its lock is the folder's
    try:
        journal.lock()
        _move(folder, (folder / MARK).read_text())
    finally:
        journal.close()


def _move(folder: Path, node_id: str) -> None:
    Directory.ensure(folder / ASIDE).close()
    own, aside = Directory(folder), Directory.ensure(folder / ASIDE / node_id)
    try:
        for name in NAMES:
            if (folder / name).exists() and not (aside.path / name).exists():
                (folder / name).rename(aside.path / name)
        aside.sync()
        own.sync()
        for older in sorted((folder / ASIDE).iterdir()):
            if older.name != node_id:
                shutil.rmtree(older)
        own.unlink(MARK)
        own.sync()
    finally:
        own.close()
        aside.close()
