"""Keeps a node's memory in large pages, so that `fork` has little to copy.

Each snapshot, and each hash of the whole state, forks. That copies the page tables, while the loop
stands still: some 30 ms for a gigabyte in pages of 4 KiB, 2 ms in pages of 2 MiB. Python takes its
memory in pieces of 1 MiB, for which the system gives small pages unless it is asked. So a thread
asks, for what there is, again and again: what the parent writes to while a child lives, the system
takes apart into small pages. It hurries where much is new, as when a snapshot was decoded, so that
the first fork of a node that has just begun is a short one too.

The system collapses an area when told to from Linux 6.1 on; earlier ones do it in their own time.
It is advice that changes no content, and may be refused. An operator's "never" is obeyed
(`/sys/kernel/mm/transparent_hugepage/enabled`).
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

ENABLED: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
AREA_BYTES: Final = 2 * 1024 * 1024
WORTH_BYTES: Final = 512 * 1024 * 1024
"""Where a process has less, a fork is short in any case."""
EVERY_S: Final = 2.0
WORKING_SHARE: Final = 0.2
"""Of the time; while an area is collapsed, which takes a millisecond, faults have to wait."""
GROWN: Final = 1.1
"""So much more than at the last pass is held by a process that decodes, and answers nobody yet."""
HURRIED_AREAS: Final = 32
"""At once then, and without a rest: the thread gets its turn only every few milliseconds."""
MADV_HUGEPAGE: Final = 14  # of <linux/mman.h>, as the next
MADV_COLLAPSE: Final = 25


class LargePages:
    """A thread that asks, as long as this context lasts.

    None where the system has no large pages, or its operator refused them.
    """

    def __init__(self, *, worth_bytes: int = WORTH_BYTES) -> None:
        self._worth_bytes = worth_bytes
        self._passed_bytes = 0  # held at the last whole pass
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="large-pages", daemon=True)
        self._madvise = ctypes.CDLL(None).madvise
        self._madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def __enter__(self) -> Self:
        """Begin."""
        if are_allowed():
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End, within the milliseconds that an area takes."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def ask(self) -> None:
        """Have all memory there is collapsed, at its pace, if it is worth it and no child lives."""
        held = list(mappings())
        held_bytes = sum(end - start for start, end in held)
        if held_bytes < self._worth_bytes:
            return
        is_hurried = held_bytes > GROWN * self._passed_bytes
        for start, end in held:
            self._madvise(start, end - start, MADV_HUGEPAGE)
            for piece in pieces(start, end, HURRIED_AREAS if is_hurried else 1):
                # What a child shares would be copied, and its memory paid twice.
                if self._ended.is_set() or has_child():
                    return
                began_s = time.monotonic()
                self._madvise(piece.start, len(piece), MADV_COLLAPSE)
                if not is_hurried:
                    self._ended.wait((time.monotonic() - began_s) * (1 / WORKING_SHARE - 1))
        self._passed_bytes = held_bytes

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.ask()


def are_allowed(enabled: Path = ENABLED) -> bool:
    """Return whether the system has large pages for who asks; `enabled` is its word on it."""
    try:
        return "[never]" not in enabled.read_text()
    except OSError:
        return False


def mappings() -> Iterator[tuple[int, int]]:
    """Yield from where to where this process has memory of its own that holds a whole area."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, _, _, inode, *name = line.split(maxsplit=5)
        if permissions != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(address, 16) for address in addresses.split("-"))
        if end - start >= AREA_BYTES:
            yield start, end


def pieces(start: int, end: int, areas: int) -> Iterator[range]:
    """Yield the addresses of the whole areas between the two, up to so many in each piece."""
    first, last = start + -start % AREA_BYTES, end - end % AREA_BYTES
    for piece in range(first, last, areas * AREA_BYTES):
        yield range(piece, min(piece + areas * AREA_BYTES, last))


def has_child() -> bool:
    """Return whether a child lives, or has ended and was not asked for yet."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
