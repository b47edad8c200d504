"""A forked child that has the state as it stood, works on one file, and exits.

`fork` gives the child everything as it was between two ticks, for the price of copying the page
tables; what the parent changes afterwards, the child does not see. The child has no event loop,
logs nothing, and has closed every other descriptor, so that a parent killed meanwhile leaves
neither a port nor a lock taken.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from typing import Final, NoReturn

NICENESS: Final = 15


class Child:
    """One child, from its fork to its end."""

    def __init__(self, work: Callable[[], None], *, keep: int) -> None:
        """Fork, and have the child do `work` with no other descriptor open than `keep`.

        Raises:
            OSError: no child could be made.
        """
        self._id = os.fork()
        if self._id == 0:
            _work_and_exit(work, keep)

    def poll(self) -> bool | None:
        """Return None while it works, then once whether it did everything."""
        child, status = os.waitpid(self._id, os.WNOHANG)
        return None if child == 0 else os.waitstatus_to_exitcode(status) == 0

    def kill(self) -> None:
        """End it at once."""
        os.kill(self._id, signal.SIGKILL)
        os.waitpid(self._id, 0)


def _work_and_exit(work: Callable[[], None], keep: int) -> NoReturn:
    code = 1
    try:
        # First: until then, members do not see a parent die, whose connections are held here.
        os.closerange(3, keep)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
        gc.disable()  # it would touch, and so copy, every page
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.nice(NICENESS)
        work()
        code = 0
    finally:
        os._exit(code)
