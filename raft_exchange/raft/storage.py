"""The few operations the journal asks of a disk, on real files.

A seam, so that tests can put a simulated disk under the real journal and pull its plug. Every
operation raises `OSError` as the system does; what that means is the caller's to say. Nothing is
durable before `sync_data` (a file's bytes and size) or `sync` (the directory's names) returned.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Self

_NOT_PREALLOCATED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})

PATH_ERRORS: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)
"""What the system says of a path that is not ours to use; anything else is the disk's failure."""


class StorageFailed(RuntimeError):
    """The disk refused a read, a write or a sync. What it holds is unknown until a restart.

    Never retried: after a failed sync the system may drop the unwritten pages and report the next
    sync as a success.
    """


class DirectoryInUse(RuntimeError):
    """Another process works in the directory."""


class Directory:
    """One directory of files, held open. Files are named by the descriptors of `create`, `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    @classmethod
    def ensure(cls, path: Path) -> Self:
        """Return the directory at `path`, created durably if it is missing; its parent exists.

        One that is there is made durable too: who created it may have been killed before it was.
        """
        _name_durably(path)
        return cls(path)

    @classmethod
    def ensure_with_parents(cls, path: Path) -> Self:
        """Return the same, with every directory above it created or made durable."""
        for above in reversed(path.parents):
            _name_durably(above)
        return cls.ensure(path)

    def lock(self) -> None:
        """Keep every other process out until `close` or the end of this one.

        Raises:
            DirectoryInUse: another process, or another `Directory` of this one, holds the lock.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DirectoryInUse(f"{self.path} is in use by another process") from error

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(os.listdir(self._descriptor))

    def read(self, name: str) -> bytes:
        """Return a whole file."""
        return (self.path / name).read_bytes()

    def read_at(self, file: int, offset: int, size_bytes: int) -> bytes:
        """Return up to `size_bytes` of an open file; fewer at its end."""
        return os.pread(file, size_bytes, offset)

    def size_of(self, file: int) -> int:
        """Return the size of an open file in bytes."""
        return os.fstat(file).st_size

    def create(self, name: str, size_bytes: int) -> int:
        """Return a new file of zeros; its blocks are allocated, so that writing needs no metadata.

        Writing beyond its end makes it grow.

        A filesystem that cannot allocate ahead gives a sparse file of the same size.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=self._descriptor)
        try:
            if size_bytes:
                os.posix_fallocate(file, 0, size_bytes)
        except OSError as error:
            if error.errno not in _NOT_PREALLOCATED:
                os.close(file)
                raise
            os.ftruncate(file, size_bytes)
        return file

    def open(self, name: str) -> int:
        """Return an existing file, open for writing."""
        return os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._descriptor)

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`; a short write is continued."""
        written = os.pwrite(file, data, offset)
        while written < len(data):
            written += os.pwrite(file, data[written:], offset + written)

    def sync_data(self, file: int) -> None:
        """Make what was written to `file` durable, with its size."""
        os.fdatasync(file)

    def close_file(self, file: int) -> None:
        """Give the descriptor back."""
        os.close(file)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, atomically."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        """Make every `create`, `rename` and `unlink` so far durable."""
        os.fsync(self._descriptor)

    def free_bytes(self) -> int:
        """Return how much this process may still write to the filesystem."""
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Release the lock and the directory."""
        os.close(self._descriptor)


def _name_durably(path: Path) -> None:
    was_there = path.is_dir()
    path.mkdir(exist_ok=True)
    try:
        parent = Directory(path.parent)
        try:
            parent.sync()
        finally:
            parent.close()
    except OSError as error:
        # Who may not list a parent, or finds one that is no disk's (automounts), did not create it.
        if not was_there or error.errno not in (errno.EACCES, errno.EINVAL):
            raise
