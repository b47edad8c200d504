"""A disk that loses power, fills up, fails and rots, under the real journal and the snapshots.

It keeps what is written and what is durable apart. `power_cut` leaves of everything not synced an
arbitrary part: each 512-byte sector kept, lost or torn (its beginning arrived), each change of a
name kept or forgotten, all drawn from the disk's seed. `kill` is `kill -9`: everything written
stays. A failed sync drops what it should have written and forgets that it did, as systems do.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from raft_exchange.raft.storage import Directory, DirectoryInUse

SECTOR_BYTES = 512


class PowerCut(Exception):
    """The machine stopped in the middle of an operation."""


class _File:
    def __init__(self) -> None:
        self.written = bytearray()
        self.durable = bytearray()
        self.dirty: set[int] = set()

    def write(self, data: bytes, offset: int) -> None:
        self.written.extend(bytes(max(0, offset + len(data) - len(self.written))))
        self.written[offset : offset + len(data)] = data
        end = offset + len(data)
        self.dirty.update(range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)))

    def sync(self) -> None:
        self._fit(len(self.written))
        for sector in self.dirty:
            at = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
            self.durable[at] = self.written[at]
        self.dirty.clear()

    def settle(self, draw: random.Random) -> None:
        """Let an arbitrary part of what was not synced become durable."""
        if len(self.durable) != len(self.written):
            self._fit(draw.choice([len(self.durable), len(self.written)]))
        for sector in sorted(self.dirty):
            start = sector * SECTOR_BYTES
            arrived = draw.choice([0, SECTOR_BYTES, draw.randrange(SECTOR_BYTES + 1)])
            at = slice(start, min(start + arrived, len(self.durable)))
            self.durable[at] = self.written[at]
        self.dirty.clear()

    def _fit(self, size_bytes: int) -> None:
        self.durable.extend(bytes(max(0, size_bytes - len(self.durable))))


class Disk:
    """Some directories' worth of disk; outlives the processes that use it.

    A file is named by its directory's prefix and its own name.

    `fail_at` counts the operations that change something, from 1. At that one the operation fails
    with `fail_with`, or the power goes if that is None.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, _File] = {}
        self.free_bytes = 1 << 40
        self.operations = 0
        self.fail_at = 0
        self.fail_with: int | None = None
        self.holder: SimulatedDirectory | None = None
        self._durable_names: dict[str, _File] = {}
        self._unsynced_names: list[dict[str, _File | None]] = []

    def directory(self, prefix: str = "") -> SimulatedDirectory:
        """Return a directory as a new process sees it; `prefix` is empty or ends with a slash."""
        return SimulatedDirectory(self, prefix)

    def kill(self) -> None:
        """End the process; what it wrote stays in the system's cache."""
        self.fail_at = 0
        if self.holder is not None:
            self.holder.close()

    def power_cut(self) -> None:
        """End the machine; start again with what is durable, and luck."""
        self.kill()
        names = dict(self._durable_names)
        for change in self._unsynced_names:
            if self.random.random() < 0.5:
                for name, file in change.items():
                    if file is None:
                        names.pop(name, None)
                    else:
                        names[name] = file
        self.files = names
        self._durable_names = dict(names)
        self._unsynced_names.clear()
        for file in names.values():
            file.settle(self.random)
            file.written = bytearray(file.durable)

    def damage(self, name: str, offset: int, value: int) -> None:
        """Change one byte, as rot does: durably and unnoticed."""
        for content in (self.files[name].written, self.files[name].durable):
            content[offset] = value

    def shorten(self, name: str, size_bytes: int) -> None:
        """Cut a file from outside."""
        for content in (self.files[name].written, self.files[name].durable):
            del content[size_bytes:]

    def copy(self) -> Disk:
        """Return a disk with the same durable content; no process uses it."""
        twin = Disk()
        for name, file in self.files.items():
            twin.files[name] = _File()
            twin.files[name].written = bytearray(file.written)
            twin.files[name].durable = bytearray(file.durable)
        twin._durable_names = dict(twin.files)
        return twin

    def rename(self, change: dict[str, _File | None]) -> None:
        self._unsynced_names.append(change)
        for name, file in change.items():
            if file is None:
                del self.files[name]
            else:
                self.files[name] = file

    def sync_names(self, prefix: str) -> None:
        for name in self._durable_names.keys() | self.files.keys():
            if is_in(name, prefix):
                if name in self.files:
                    self._durable_names[name] = self.files[name]
                else:
                    del self._durable_names[name]
        self._unsynced_names = [
            change
            for change in self._unsynced_names
            if not any(is_in(name, prefix) for name in change)
        ]

    def operate(self) -> bool:
        """Count an operation. Returns whether the power goes during it; raises if it fails."""
        self.operations += 1
        if self.operations != self.fail_at:
            return False
        if self.fail_with is not None:
            raise OSError(self.fail_with, os.strerror(self.fail_with))
        return True


def is_in(name: str, prefix: str) -> bool:
    """Say whether the file is in that directory itself."""
    return name.startswith(prefix) and "/" not in name[len(prefix) :]


class SimulatedDirectory(Directory):
    """The seam's operations on a `Disk`. Nothing of the real directory is used."""

    def __init__(self, disk: Disk, prefix: str = "") -> None:
        self.prefix = prefix
        self.path = Path("simulated")
        self.disk = disk
        self.open_files: dict[int, _File] = {}
        self._opened = 0

    def lock(self) -> None:
        if self.disk.holder is not None:
            raise DirectoryInUse("the simulated disk is in use")
        self.disk.holder = self

    def names(self) -> list[str]:
        found = [name for name in self.disk.files if is_in(name, self.prefix)]
        return sorted(name.removeprefix(self.prefix) for name in found)

    def read(self, name: str) -> bytes:
        return bytes(self.disk.files[self.prefix + name].written)

    def read_at(self, file: int, offset: int, size_bytes: int) -> bytes:
        return bytes(self.open_files[file].written[offset : offset + size_bytes])

    def size_of(self, file: int) -> int:
        return len(self.open_files[file].written)

    def create(self, name: str, size_bytes: int) -> int:
        name = self.prefix + name
        assert name not in self.disk.files, "creation is exclusive"
        file = _File()
        self.disk.rename({name: file})  # the name is there even if the space is not
        is_cut = self.disk.operate()
        file.written = bytearray(size_bytes)
        self._cut(is_cut)
        return self._handle(file)

    def open(self, name: str) -> int:
        return self._handle(self.disk.files[self.prefix + name])

    def write(self, file: int, data: bytes, offset: int) -> None:
        try:
            is_cut = self.disk.operate()
        except OSError:
            half = self.disk.random.randrange(len(data) + 1)
            self.open_files[file].write(data[:half], offset)
            raise
        self.open_files[file].write(data, offset)
        self._cut(is_cut)

    def sync_data(self, file: int) -> None:
        try:
            is_cut = self.disk.operate()
        except OSError:
            self.open_files[file].settle(self.disk.random)
            raise
        self._cut(is_cut)
        self.open_files[file].sync()

    def close_file(self, file: int) -> None:
        del self.open_files[file]

    def rename(self, old: str, new: str) -> None:
        old, new = self.prefix + old, self.prefix + new
        is_cut = self.disk.operate()
        self.disk.rename({new: self.disk.files[old], old: None})
        self._cut(is_cut)

    def unlink(self, name: str) -> None:
        is_cut = self.disk.operate()
        self.disk.rename({self.prefix + name: None})
        self._cut(is_cut)

    def sync(self) -> None:
        self._cut(self.disk.operate())
        self.disk.sync_names(self.prefix)

    def free_bytes(self) -> int:
        if self.disk.free_bytes < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.disk.free_bytes

    def close(self) -> None:
        if self.disk.holder is self:
            self.disk.holder = None

    def _handle(self, file: _File) -> int:
        self._opened += 1
        self.open_files[self._opened] = file
        return self._opened

    def _cut(self, is_cut: bool) -> None:
        if is_cut:
            raise PowerCut
