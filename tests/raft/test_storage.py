"""Directories are durable: their names are synced by whoever finds them, not only who made them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raft_exchange.raft.storage import Directory


@pytest.fixture(name="synced")
def _synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return where the directories that were synced will be listed."""
    paths: list[Path] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_a_directory_is_named_durably_with_all_above_it(tmp_path: Path, synced: list[Path]) -> None:
    Directory.ensure_with_parents(tmp_path / "a" / "b" / "c").close()
    assert synced[-3:] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_what_a_killed_process_created_and_did_not_sync_is_synced_by_the_next(
    tmp_path: Path, synced: list[Path]
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    Directory.ensure_with_parents(tmp_path / "a" / "b").close()
    assert synced[-2:] == [tmp_path, tmp_path / "a"]


def test_a_directory_that_is_there_is_used_under_a_parent_that_cannot_be_synced() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        Directory(Path("/proc")).sync()
    Directory.ensure(Path("/proc/self")).close()


@pytest.mark.parametrize(
    ("number", "is_there", "is_refused"),
    [
        (errno.EACCES, True, False),
        (errno.EINVAL, True, False),
        (errno.EIO, True, True),
        (errno.EACCES, False, True),
        (errno.EINVAL, False, True),
    ],
)
def test_a_directory_is_refused_where_its_parent_fails_to_keep_what_may_be_our_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    is_there: bool,
    is_refused: bool,
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    if is_there:
        (tmp_path / "one").mkdir()
    monkeypatch.setattr(os, "fsync", fails)
    if is_refused:
        with pytest.raises(OSError, match=os.strerror(number)):
            Directory.ensure(tmp_path / "one")
    else:
        Directory.ensure(tmp_path / "one").close()
