"""How a node's process ends, and what its exit code says."""

from __future__ import annotations

import logging
import os
from typing import Final, NoReturn

from raft_exchange.matching.versions import NewerVersion
from raft_exchange.raft.storage import StorageFailed

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_BUG: Final = 3
EXIT_STORAGE: Final = 4

logger = logging.getLogger(__name__)


def fail(error: BaseException) -> NoReturn:
    """End the process without running anything else: no handler may serve this state."""
    if isinstance(error, NewerVersion):
        logger.critical("%s", error)
        code = EXIT_FAILED
    else:
        code = EXIT_STORAGE if isinstance(error, (StorageFailed, OSError)) else EXIT_BUG
        logger.critical("this replica stops itself, exit code %d", code, exc_info=error)
    logging.shutdown()
    os._exit(code)
