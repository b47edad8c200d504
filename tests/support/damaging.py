"""Runs a node whose memory is damaged at SIGUSR1: a launcher for `processes.RealCluster`.

What stands behind it on the command line is the node's own command. Checkpoints come more often
than in production, so that a test need not fill the log.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from raft_exchange.__main__ import main
from raft_exchange.sequencer import selfcheck
from raft_exchange.sequencer.state import ReplicatedState

CHECKPOINT_ENTRIES = 50


def arm() -> None:
    """Damage one resting order of the state whose next entry is applied after the signal."""
    damage: list[int] = []
    real = ReplicatedState.apply

    def apply(self: ReplicatedState, *entry: Any) -> Any:
        if damage and self.exchange.live.by_id:
            damage.clear()
            next(iter(self.exchange.live.by_id.values())).created_at_us += 1
        return real(self, *entry)

    signal.signal(signal.SIGUSR1, lambda *_: damage.append(1))
    ReplicatedState.apply = apply  # type: ignore[method-assign]


if __name__ == "__main__":
    selfcheck.CHECKPOINT_ENTRIES = CHECKPOINT_ENTRIES  # type: ignore[misc]
    arm()
    sys.exit(main(sys.argv[sys.argv.index("raft_exchange") + 1 :]))
