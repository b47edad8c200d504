"""What a real node really did to its disk, and what of it a power cut at any moment leaves.

`strace` records every call of a node and of the children that write its snapshots. From the trace
comes a list of steps: changes of files and names, syncs, and the answers that left for clients.
`TracedDisk` replays them, keeping apart what is durable and what only the system's cache knows;
`power_cut` leaves of the latter everything, nothing, or an arbitrary part in torn sectors.
"""

from __future__ import annotations

import heapq
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

SECTOR_BYTES = 512
_TRACED = (
    "openat,write,writev,sendto,sendmsg,pwrite64,fdatasync,fsync,fallocate,ftruncate,"
    "rename,renameat,renameat2,unlink,unlinkat"
)
STRACE = (
    *("strace", "-D", "-ff", "-ttt", "-y", "-xx", "-s", "4194304", "-q"),
    *("-e", f"trace={_TRACED}"),
)
_CALL = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)(<[^>]*>)?")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_LABEL = re.compile(rb'"client_order_id":"([^"]*)"')


class Write(msgspec.Struct, frozen=True):
    """Bytes into a file; at its end where `offset` is None."""

    path: str
    offset: int | None
    data: bytes


class Resize(msgspec.Struct, frozen=True):
    """A file of at least (`grow`) or exactly that many bytes, made where it is missing."""

    path: str
    size_bytes: int
    grow: bool


class Rename(msgspec.Struct, frozen=True):
    """Another name for a file, or none."""

    old: str
    new: str | None


class Sync(msgspec.Struct, frozen=True):
    """A file or a folder was made durable."""

    path: str


class Answered(msgspec.Struct, frozen=True):
    """Orders with these labels were acknowledged: the bytes left the process."""

    labels: tuple[str, ...]


Step = Write | Resize | Rename | Sync | Answered


def strace_missing() -> bool:
    return shutil.which("strace") is None


def steps_of(prefix: Path, folder: Path) -> list[Step]:
    """Return what the traced processes did in `folder`, in order, with paths relative to it."""
    files = sorted(prefix.parent.glob(f"{prefix.name}.*"))
    calls = heapq.merge(*map(_calls, files))
    steps = [step for _, name, given, result in calls for step in _steps(name, given, result)]
    return [step for step in (_within(folder, step) for step in steps) if step is not None]


def _calls(path: Path) -> Iterator[tuple[float, str, str, str]]:
    with path.open() as lines:
        for line in lines:
            found = _CALL.match(line)
            if found is not None and int(found[4]) >= 0:
                yield float(found[1]), found[2], found[3], found[5] or ""


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _steps(name: str, given: str, result: str) -> Iterator[Step]:
    paths = [_text(path).decode() for path in _FILE.findall(given)]
    texts = [_text(text) for text, cut in _TEXT.findall(given) if not cut]
    assert '"...' not in given, "nothing was left out of the trace"
    match name:
        case "openat" if "O_CREAT" in given:
            yield Resize(_text(result[1:-1]).decode(), 0, grow="O_TRUNC" not in given)
        case "pwrite64":
            yield Write(paths[0], int(given.rpartition(", ")[2]), texts[0])
        case "write" | "writev" | "sendto" | "sendmsg":
            sent = b"".join(texts)
            if b"HTTP/1.1 201" in sent:
                yield Answered(tuple(label.decode() for label in _LABEL.findall(sent)))
            elif name == "write" and paths and paths[0].startswith("/"):
                yield Write(paths[0], None, sent)
        case "fallocate" | "ftruncate":
            size_bytes = int(given.rpartition(", ")[2])
            yield Resize(paths[0], size_bytes, grow=name == "fallocate")
        case "fdatasync" | "fsync":
            yield Sync(paths[0])
        case "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat":
            folders = paths or [""]
            named = [
                os.path.join(folders[min(n, len(folders) - 1)], text.decode())
                for n, text in enumerate(texts)
            ]
            yield Rename(named[0], named[1] if len(named) > 1 else None)


def _within(folder: Path, step: Step) -> Step | None:
    if isinstance(step, Answered):
        return step
    begin = str(folder)
    if isinstance(step, Rename):
        new = None if step.new is None else os.path.relpath(step.new, begin)
        is_ours = step.old.startswith(begin) and "history." not in step.old
        return Rename(os.path.relpath(step.old, begin), new) if is_ours else None
    name = step.path.removeprefix(begin).lstrip("/")
    if not step.path.startswith(begin) or name.endswith(".log") or name.startswith("history."):
        return None  # the history of trades is SQLite's to keep, and can be derived again
    return msgspec.structs.replace(step, path=os.path.relpath(step.path, begin))


class _File:
    def __init__(self) -> None:
        self.size_bytes = self.durable_bytes = 0
        self.durable: list[tuple[int, bytes]] = []
        self.pending: list[tuple[int, bytes]] = []

    def sync(self) -> None:
        self.durable += self.pending
        self.pending = []
        self.durable_bytes = self.size_bytes

    def leave(self, path: Path, luck: Callable[[], bool], tear: random.Random | None) -> None:
        """Write what a power cut leaves of this file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        size_bytes = self.size_bytes if luck() else self.durable_bytes
        with path.open("wb") as file:
            for offset, data in self.durable:
                file.seek(offset)
                file.write(data)
            for offset, data in self.pending:
                for begin in range(0, len(data), SECTOR_BYTES):
                    sector = data[begin : begin + SECTOR_BYTES]
                    if luck():
                        file.seek(offset + begin)
                        file.write(sector)
                    elif tear is not None:
                        file.seek(offset + begin)
                        file.write(sector[: tear.randrange(len(sector))])
            file.truncate(size_bytes)


class TracedDisk:
    """A folder as its processes see it, and as the disk does."""

    def __init__(self) -> None:
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._unsynced: list[dict[str, _File | None]] = []

    def take(self, step: Step) -> None:
        """Do one step."""
        match step:
            case Write(path=path, offset=offset, data=data):
                file = self._names[path]
                at = file.size_bytes if offset is None else offset
                file.pending.append((at, data))
                file.size_bytes = max(file.size_bytes, at + len(data))
            case Resize(path=path, size_bytes=size_bytes, grow=grow):
                if path not in self._names:
                    self._name({path: _File()})
                file = self._names[path]
                assert grow or size_bytes == 0 == file.size_bytes, "nothing is cut in place"
                file.size_bytes = max(file.size_bytes, size_bytes)
            case Rename(old=old, new=new):
                change: dict[str, _File | None] = {old: None}
                if new is not None:
                    change[new] = self._names[old]
                self._name(change)
            case Sync(path=path):
                if path in self._names:
                    self._names[path].sync()
                else:
                    self._sync_folder(path)

    def _name(self, change: dict[str, _File | None]) -> None:
        self._unsynced.append(change)
        _rename(self._names, change)

    def _sync_folder(self, folder: str) -> None:
        kept = []
        for change in self._unsynced:
            if all((os.path.dirname(path) or ".") == folder for path in change):
                _rename(self._durable_names, change)
            else:
                kept.append(change)
        self._unsynced = kept

    def power_cut(self, folder: Path, *, seed: int) -> None:
        """Put into `folder` what is there after the cut.

        Seed 0 keeps all that was not synced, 1 loses it; others draw for each sector and name.
        """
        draw = random.Random(seed)

        def luck() -> bool:
            return seed == 0 or (seed > 1 and draw.random() < 0.5)

        names = dict(self._durable_names)
        for change in self._unsynced:
            if luck():
                _rename(names, change)
        for path, file in names.items():
            file.leave(folder / path, luck, draw if seed > 1 else None)


def _rename(names: dict[str, _File], change: dict[str, _File | None]) -> None:
    for path, file in change.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file
