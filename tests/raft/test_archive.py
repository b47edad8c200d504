"""The archive: what the log forgot is read again whole and in order, or said to be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raft_exchange.raft import archive as module
from raft_exchange.raft.archive import Archive, ArchiveDamaged, LogEntry, read_archives
from raft_exchange.raft.storage import Directory


def entries(first: int, last: int) -> list[LogEntry]:
    return [(b"command %d" % index, index, 1 + index // 50) for index in range(first, last + 1)]


def open_archive(folder: Path, cluster: str = "c") -> Archive:
    return Archive(Directory.ensure(folder), cluster=cluster)


def fill(folder: Path, *runs: tuple[int, int], cluster: str = "c") -> None:
    """Put the runs, each by a process of its own."""
    for first, last in runs:
        archive = open_archive(folder, cluster)
        for at in range(first, last + 1, 10):
            assert archive.put(entries(at, min(at + 9, last)), now_s=0.0)
        archive.close()


def test_what_was_put_is_read_in_order_across_restarts(tmp_path: Path) -> None:
    fill(tmp_path, (1, 95), (96, 130))
    assert list(read_archives([tmp_path])) == entries(1, 130)


def test_a_long_archive_is_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 500)
    fill(tmp_path, (1, 200))
    assert len(list(tmp_path.iterdir())) > 3
    assert list(read_archives([tmp_path])) == entries(1, 200)


@pytest.mark.parametrize("kept", range(0, 400, 7))
def test_what_a_crash_tore_is_in_the_next_file(tmp_path: Path, kept: int) -> None:
    """The log forgets nothing before the archive is synced, so it puts it again."""
    fill(tmp_path, (1, 40))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:kept])
    found = list(read_archives([tmp_path]))
    assert found == entries(1, len(found))
    fill(tmp_path, (len(found) + 1, 60))
    assert list(read_archives([tmp_path])) == entries(1, 60)


def test_a_flipped_bit_is_a_gap_that_is_named(tmp_path: Path) -> None:
    fill(tmp_path, (1, 40), (41, 80))
    path = min(tmp_path.iterdir())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    with pytest.raises(ArchiveDamaged, match=r"entries \d+ to 40 are missing"):
        list(read_archives([tmp_path]))


def test_one_members_gap_is_filled_from_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fill(tmp_path / "a", (1, 40), (91, 120))
    fill(tmp_path / "b", (31, 100))
    with pytest.raises(ArchiveDamaged, match="entries 41 to 90 are missing"):
        list(read_archives([tmp_path / "a"]))
    assert list(read_archives([tmp_path / "a", tmp_path / "b"])) == entries(1, 120)
    assert list(read_archives([tmp_path])) == entries(1, 120)


def test_archives_of_two_clusters_are_never_mixed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fill(tmp_path / "a", (1, 40))
    fill(tmp_path / "b", (41, 50), cluster="other")
    with pytest.raises(ArchiveDamaged, match="of cluster 'other', not 'c'"):
        list(read_archives([tmp_path]))


def test_an_archive_that_cannot_be_written_says_so_and_is_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path)
    assert archive.put(entries(1, 10), now_s=0.0)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "sync_data", full)
        assert not archive.put(entries(11, 20), now_s=1.0)
    assert archive.failures == 1
    assert not archive.put(entries(11, 20), now_s=2.0), "not at every tick"
    assert archive.put(entries(11, 20), now_s=1.0 + module.RETRY_S)
    archive.close()
    assert list(read_archives([tmp_path])) == entries(1, 20)
