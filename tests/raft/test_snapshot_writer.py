"""The forked writer: a child that writes one file, and the parent that goes on."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raft_exchange.raft import snapshot_writer
from raft_exchange.raft.snapshot_writer import ForkedWriter
from raft_exchange.raft.storage import Directory

WAIT_S_MAX = 20.0


class Writing:
    """One file being written in a folder."""

    def __init__(self, folder: Path) -> None:
        self.directory = Directory(folder)
        self.path = folder / "file"
        self.file = self.directory.create("file", 0)
        self.writer = ForkedWriter()

    def outcome(self) -> bool:
        deadline_s = time.monotonic() + WAIT_S_MAX
        while (found := self.writer.poll()) is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        return found


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    made = Writing(tmp_path)
    yield made
    made.writer.stop()
    made.directory.close_file(made.file)
    made.directory.close()


def test_the_child_writes_the_state_as_it_stood_at_the_fork(writing: Writing) -> None:
    state = [b"before "] * 1_000

    def pieces() -> Iterator[bytes]:
        time.sleep(0.05)  # the parent has gone on by now
        yield from state

    writing.writer.start(pieces, writing.directory, writing.file)
    state[:] = [b"after "] * 1_000
    assert writing.outcome()
    assert writing.path.read_bytes() == b"before " * 1_000


def test_a_child_that_fails_says_so(writing: Writing) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "no space")

    writing.writer.start(pieces, writing.directory, writing.file)
    assert not writing.outcome()


def test_a_child_that_is_killed_has_failed(writing: Writing) -> None:
    def pieces() -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield b""

    writing.writer.start(pieces, writing.directory, writing.file)
    assert not writing.outcome()


def test_the_child_holds_no_socket_of_the_parent(writing: Writing) -> None:
    """Otherwise the port of a parent killed meanwhile would stay taken, its peers connected."""
    ours, theirs = socket.socketpair()

    def pieces() -> Iterator[bytes]:
        yield b"x"
        time.sleep(WAIT_S_MAX)

    with ours, theirs:
        writing.writer.start(pieces, writing.directory, writing.file)
        theirs.settimeout(WAIT_S_MAX)
        while writing.path.stat().st_size == 0:
            time.sleep(0.001)
        ours.close()
        assert theirs.recv(1) == b"", "the other end hears that it is closed"


def test_the_disk_is_never_given_much_at_once(
    writing: Writing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent's sync, on which orders wait, would queue behind it."""
    monkeypatch.setattr(snapshot_writer, "SYNC_BYTES", 10)
    diary = tmp_path / "diary"

    class Noting(Directory):
        def write(self, file: int, data: bytes, offset: int) -> None:
            super().write(file, data, offset)
            _note(diary, len(data))

        def sync_data(self, file: int) -> None:
            super().sync_data(file)
            _note(diary, 0)

    directory = Noting(tmp_path)
    writing.writer.start(lambda: iter([b"four"] * 7), directory, writing.file)
    assert writing.outcome()
    assert diary.read_text().split() == ["4", "4", "4", "0", "4", "4", "4", "0", "4", "0"]
    directory.close()


def _note(diary: Path, size: int) -> None:
    with diary.open("a") as lines:
        lines.write(f"{size}\n")


def test_a_writer_that_is_stopped_can_start_again(writing: Writing) -> None:
    def endless() -> Iterator[bytes]:
        time.sleep(WAIT_S_MAX)
        yield b""

    writing.writer.start(endless, writing.directory, writing.file)
    assert writing.writer.poll() is None
    writing.writer.stop()
    writing.writer.start(lambda: iter([b"again"]), writing.directory, writing.file)
    assert writing.outcome()
    assert writing.path.read_bytes() == b"again"


def test_a_child_whose_parent_is_gone_gives_up(writing: Writing, tmp_path: Path) -> None:
    """Nobody would ever adopt the file."""
    go = tmp_path / "go"
    parent = os.fork()
    if parent == 0:

        def pieces() -> Iterator[bytes]:
            yield b"x"
            while not go.exists():
                time.sleep(0.001)
            for _ in range(1_000):
                yield b"x"

        ForkedWriter().start(pieces, writing.directory, writing.file)
        os._exit(0)
    os.waitpid(parent, 0)
    go.touch()
    deadline_s = time.monotonic() + 0.2
    while time.monotonic() < deadline_s:
        assert writing.path.stat().st_size < 1_000
        time.sleep(0.01)
