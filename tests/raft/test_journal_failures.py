"""A disk that fails once is not trusted again by the same process, and no failure loses a sync."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.storage import Directory, DirectoryInUse, StorageFailed
from tests.support.disk import Disk
from tests.support.journal_model import SEGMENT_BYTES, Life, state_of

STEPS = 60


def failing_life(seed: int, operation: int, error: int) -> Life:
    """Return a life whose disk failed at that operation."""
    disk = Disk(seed * 10_000 + operation)
    disk.fail_at, disk.fail_with = operation, error
    life = Life(seed, disk)
    with pytest.raises(StorageFailed):
        life.run(STEPS)
    return life


def operations_of(seed: int) -> int:
    disk = Disk()
    Life(seed, disk).run(STEPS)
    return disk.operations


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("seed", range(3))
def test_a_failure_at_any_operation_loses_nothing_synced(seed: int, error: int) -> None:
    """After the failure the power goes too."""
    for operation in range(1, operations_of(seed) + 1):
        life = failing_life(seed, operation, error)
        life.disk.power_cut()
        life.reopen_after_crash()
        life.run(5)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_after_a_failed_sync_is_durable(seed: int) -> None:
    """The system shows the pages it failed to write and calls them clean; the next opening must
    not believe that."""
    for operation in range(1, operations_of(seed) + 1):
        life = failing_life(seed, operation, errno.EIO)
        life.disk.kill()
        found = state_of(life.open())
        assert found in (life.synced.state(), life.syncing.state())
        life.disk.power_cut()
        assert state_of(life.open()) == found


CHANGES: list[Callable[[Journal], object]] = [
    lambda journal: journal.add(b"order", journal.last_index + 1, 9),
    lambda journal: journal.truncate_from(journal.last_index),
    lambda journal: journal.compact_to(journal.last_index),
    lambda journal: journal.reset_to(100, 9),
    lambda journal: journal.setCurrentTerm(9, "n1"),
    lambda journal: journal.sync(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_failure_everything_is_refused(change: Callable[[Journal], object]) -> None:
    """Even though the disk works again: a second sync would report what the first one lost."""
    disk = Disk()
    journal = Journal(disk.directory(), segment_bytes=SEGMENT_BYTES)
    journal.add(b"order", 1, 1)
    disk.operations, disk.fail_at, disk.fail_with = 0, 2, errno.EIO
    with pytest.raises(StorageFailed, match="Input/output error"):
        journal.sync()
    operations = disk.operations
    with pytest.raises(StorageFailed):
        change(journal)
    journal.close()
    assert disk.operations == operations, "nothing was tried again"


def test_a_full_disk_fails_the_opening_of_a_new_journal() -> None:
    """And leaves nothing behind that the next opening would stumble over."""
    disk = Disk()
    disk.fail_at, disk.fail_with = 1, errno.ENOSPC
    with pytest.raises(StorageFailed, match="No space left"):
        Journal(disk.directory(), segment_bytes=SEGMENT_BYTES)
    disk.fail_at = 0
    assert Journal(disk.directory(), segment_bytes=SEGMENT_BYTES).last_index == 0


def test_free_space_is_told(tmp_path: Path) -> None:
    """From the filesystem; a disk that cannot say has failed."""
    journal = Journal(Directory(tmp_path), segment_bytes=SEGMENT_BYTES)
    assert 0 < journal.free_bytes() <= os.statvfs(tmp_path).f_blocks * 4096
    journal.close()
    disk = Disk()
    disk.free_bytes = -1
    with pytest.raises(StorageFailed):
        Journal(disk.directory(), segment_bytes=SEGMENT_BYTES).free_bytes()


def test_a_directory_has_one_writer(tmp_path: Path) -> None:
    """The second one is told so and disturbs nothing; after a close there may be another."""
    path = tmp_path / "journal"
    first = Journal(Directory.ensure(path), segment_bytes=SEGMENT_BYTES)
    with pytest.raises(DirectoryInUse, match="in use by another process"):
        Journal(Directory.ensure(path), segment_bytes=SEGMENT_BYTES)
    first.add(b"order", 1, 1)
    first.sync()
    first.close()
    second = Journal(Directory.ensure(path), segment_bytes=SEGMENT_BYTES)
    assert second.last_index == 1
    second.close()


def test_closing_and_failing_to_open_give_every_descriptor_back(tmp_path: Path) -> None:
    """A process may open a journal many times."""

    def open_descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_descriptors()
    journal = Journal(Directory.ensure(tmp_path / "journal"), segment_bytes=SEGMENT_BYTES)
    with pytest.raises(DirectoryInUse):
        Journal(Directory(tmp_path / "journal"))
    for index in range(1, 40):
        journal.add(bytes(500), index, 1)
        journal.sync()
    journal.close()
    journal.close()
    (segment, *_) = sorted((tmp_path / "journal").iterdir())
    segment.write_bytes(b"")
    with pytest.raises(RuntimeError):
        Journal(Directory(tmp_path / "journal"))
    assert open_descriptors() == before


def test_a_filesystem_without_preallocation_gives_a_file_of_the_same_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size is what tells a shortened file; the speed is another matter."""

    def refuse(file: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    directory = Directory(tmp_path)
    directory.close_file(directory.create("file", 8192))
    assert directory.read("file") == bytes(8192)
    directory.close()


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take a part of what it is given."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: whole(file, data[:7], at))
    directory = Directory(tmp_path)
    file = directory.create("file", 100)
    directory.write(file, bytes(range(100)), 0)
    directory.close_file(file)
    assert directory.read("file") == bytes(range(100))
    directory.close()


def test_a_process_killed_while_it_writes_loses_nothing_it_reported(tmp_path: Path) -> None:
    """Real files, a real `kill -9`: every index that was printed after its sync is there."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from raft_exchange.raft.journal import Journal
        from raft_exchange.raft.storage import Directory

        journal = Journal(Directory.ensure(Path(sys.argv[1])), segment_bytes=65536)
        while True:
            index = journal.last_index + 1
            journal.add(b"order %d" % index * 20, index, 1)
            journal.sync()
            if index > 150:
                journal.compact_to(index - 150)
            print(index, flush=True)
        """
    )
    path = tmp_path / "journal"
    reported = 0
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        while reported < (round_ + 1) * 300:
            reported = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        reported = int((process.stdout.read().splitlines() or [str(reported)])[-1])
        process.stdout.close()
        process.wait()
        journal = Journal(Directory(path), segment_bytes=65536)
        assert journal.last_index in (reported, reported + 1)
        for command, index, _ in journal.entries_from(
            journal.first_index, bytes_max=1 << 30, count_max=1000
        ):
            assert command == b"order %d" % index * 20
        journal.close()


def test_the_lock_is_on_the_directory_itself(tmp_path: Path) -> None:
    """No lock file that a crash could leave behind."""
    journal = Journal(Directory(tmp_path), segment_bytes=SEGMENT_BYTES)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    journal.close()
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    assert all(name.endswith(".journal") for name in os.listdir(tmp_path))
