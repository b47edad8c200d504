"""Disks that fill up: a tmpfs of some MiB for each folder that wants one, and ballast on it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024
BALLAST = "ballast"


@contextmanager
def small_disks(folders: Sequence[Path], *, mib: int) -> Iterator[None]:
    """Mount a small filesystem on each folder; skips the test where mounting is not allowed."""
    with ExitStack() as stack:
        for folder in folders:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
            if subprocess.run(mount, capture_output=True).returncode != 0:
                pytest.skip("needs the right to mount a tmpfs (root)")
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        yield


def grow(folder: Path, *, mib: int) -> None:
    """Give the filesystem on the folder more room, as an operator would."""
    subprocess.run(["mount", "-o", f"remount,size={mib}m", str(folder)], check=True)


def free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def leave_free(folder: Path, size_bytes: int) -> None:
    """Put a file there that leaves about so much, whoever else takes space meanwhile."""
    remove_ballast(folder)
    with (folder / BALLAST).open("wb") as file:
        while True:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, free_bytes(folder) - size_bytes))
                return
            except OSError as error:
                if error.errno != errno.ENOSPC or free_bytes(folder) == 0:
                    raise


def remove_ballast(folder: Path) -> None:
    (folder / BALLAST).unlink(missing_ok=True)
