"""The pinned pysyncobj: is it the one we know, and how it is handed finished parts.

Imported for its effect by `group.py` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pysyncobj import syncobj
from pysyncobj.journal import Journal
from pysyncobj.poller import Poller

LIBRARY_SHA256: Final = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"
FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2
ROLE_NAMES: Final = {FOLLOWER: "follower", CANDIDATE: "candidate", LEADER: "leader"}
REGULAR: Final = b"\x00"
"""The type byte of an ordinary entry."""
NO_OP: Final = b"\x01"
"""The type byte, and all, of the entry that begins a term."""
CONFIGURATION: Final = b"\x10"
"""The type byte of an entry that says who the members are. The library's own kind is a pickle."""


def check_library() -> None:
    """Refuse to run on any other source of pysyncobj than the one the overrides were proved on.

    Raises:
        RuntimeError: the installed `syncobj.py` differs.
    """
    assert syncobj.__file__ is not None
    found = hashlib.sha256(Path(syncobj.__file__).read_bytes()).hexdigest()
    if found != LIBRARY_SHA256:
        raise RuntimeError(
            f"pysyncobj's syncobj.py has SHA-256 {found}; this release needs pysyncobj 0.3.17 "
            f"({LIBRARY_SHA256})"
        )


class NoPoller(Poller):  # type: ignore[misc]  # the library is untyped
    """Stands where the library polls sockets: our transport lives on the event loop."""

    def poll(self, timeout: float) -> None:
        """Do nothing: there is nothing to poll."""


def _accept_finished(make: Callable[[Any], Any], kind: type) -> Callable[[Any], Any]:
    return lambda given: given if isinstance(given, kind) else make(given)


# The library builds its journal and poller through these module globals from two settings; handing
# finished objects through the settings keeps them per group, and other users of the library whole.
syncobj.createJournal = _accept_finished(syncobj.createJournal, Journal)
syncobj.createPoller = _accept_finished(syncobj.createPoller, Poller)
