"""Directories are durable: their names are synced by whoever finds them, not only who made them."""

from __future__ import annotations

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


def test_a_directory_whose_name_cannot_be_made_durable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Invalid argument"):
        Directory.ensure(tmp_path / "new")
