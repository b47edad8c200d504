"""A removed node's folder: emptied whole or, after a crash, at the next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.raft.storage import Directory, DirectoryInUse
from raft_exchange.setting_aside import ASIDE, MARK, finish_setting_aside, set_aside

FILES = (
    *("identity.json", "addresses.json", "state_divergence", "history.sqlite3"),
    *("history.sqlite3-wal", "snapshots/1.snapshot", "journal/1.journal"),
)


def folder_of(path: Path, *, of: str) -> Path:
    """Return a data folder, made of files that say whose they are."""
    path.mkdir(exist_ok=True)
    for name in FILES:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(of)
    return path


def own_names(folder: Path) -> set[str]:
    """Return what is left of the node in its folder."""
    return {one.name for one in folder.iterdir()} - {ASIDE}


def assert_is_aside(folder: Path, node_id: str) -> None:
    for name in FILES:
        assert (folder / ASIDE / node_id / name).read_text() == node_id


def test_everything_of_the_node_moves_together(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", of="n1-a")
    set_aside(folder, "n1-a")
    assert own_names(folder) == set()
    assert_is_aside(folder, "n1-a")


def test_what_is_not_the_nodes_stays(tmp_path: Path) -> None:
    """An archive is never removed, and a volume has a `lost+found`."""
    folder = folder_of(tmp_path / "data", of="n1-a")
    (folder / "archive" / "n1-a").mkdir(parents=True)
    (folder / "lost+found").mkdir()
    set_aside(folder, "n1-a")
    assert own_names(folder) == {"archive", "lost+found"}


def test_only_the_last_one_is_kept(tmp_path: Path) -> None:
    for node_id in ("n1-a", "n1-b"):
        set_aside(folder_of(tmp_path / "data", of=node_id), node_id)
    assert [one.name for one in (tmp_path / "data" / ASIDE).iterdir()] == ["n1-b"]
    assert_is_aside(tmp_path / "data", "n1-b")


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", of="n1-a")
    journal = Directory(folder / "journal")
    journal.lock()
    try:
        with pytest.raises(DirectoryInUse):
            set_aside(folder, "n1-a")
        assert own_names(folder) >= {"identity.json", "journal", "snapshots"}
    finally:
        journal.close()
    finish_setting_aside(folder)
    assert_is_aside(folder, "n1-a")


@pytest.mark.parametrize("before", range(8))
def test_a_crash_at_any_step_is_made_good_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Either the mark is not there and all is as it was, or the next start has it finished."""
    folder = folder_of(tmp_path / "data", of="n1-a")
    left = [before]

    def crashing(rename: object) -> object:
        def rename_or_crash(path: Path, target: Path) -> Path:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return rename(path, target)  # type: ignore[operator,no-any-return]

        return rename_or_crash

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crashing(Path.rename))
        try:
            set_aside(folder, "n1-a")
        except KeyboardInterrupt:
            is_marked = (folder / MARK).exists()
            assert is_marked or (folder / "identity.json").read_text() == "n1-a"
    finish_setting_aside(folder)
    if not before:
        assert (folder / "journal" / "1.journal").exists()
        return
    assert own_names(folder) <= {"journal"}
    assert_is_aside(folder, "n1-a")


def test_a_start_without_a_mark_moves_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", of="n1-a")
    finish_setting_aside(folder)
    assert own_names(folder) >= {"identity.json", "journal", "snapshots"}
