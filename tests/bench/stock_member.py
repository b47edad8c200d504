"""One member of a stock pysyncobj group: file journal, no sync, sending as it is told.

Ticks in the only thread, so that it needs no interpreter lock. As leader it keeps so many commands
in flight for so long, prints how many were committed and ends. Commands leave one by one, or
together each so many milliseconds.
"""

from __future__ import annotations

import sys
import time
import warnings

from pysyncobj import SyncObj, SyncObjConf, replicated

WARM_UP_S = 1.0


class Register(SyncObj):  # type: ignore[misc]  # the library is untyped
    """A replicated counter of commands."""

    def __init__(self, own: str, others: list[str], conf: SyncObjConf) -> None:
        self.stored = 0
        super().__init__(own, others, conf)

    @replicated  # type: ignore[untyped-decorator]
    def store(self, payload: bytes) -> None:
        self.stored += 1


def main(
    place: int,
    ports: list[int],
    folder: str,
    payload_bytes: int,
    in_flight: int,
    seconds: float,
    batch_ms: float,
) -> None:
    warnings.simplefilter("ignore", ResourceWarning)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    conf = SyncObjConf(
        autoTick=False,
        appendEntriesUseBatch=batch_ms > 0,
        appendEntriesPeriod=batch_ms / 1_000 or 0.1,
        journalFile=f"{folder}/journal",
        logCompactionMinEntries=10**9,
        logCompactionMinTime=10**9,
    )
    own = addresses.pop(place)
    register = Register(own, addresses, conf)
    payload = bytes(range(256))[:payload_bytes]
    committed = 0

    def answered(result: object, error: int) -> None:
        nonlocal committed
        committed += error == 0
        register.store(payload, callback=answered)

    while not (register._isLeader() and register.isReady()):
        register.doTick(0.01)
    for _ in range(in_flight):
        register.store(payload, callback=answered)
    for lasts_s in (WARM_UP_S, seconds):
        began_s, committed = time.monotonic(), 0
        while time.monotonic() < began_s + lasts_s:
            register.doTick(0.01)
    print(committed / (time.monotonic() - began_s), flush=True)


if __name__ == "__main__":
    main(
        int(sys.argv[1]),
        [int(port) for port in sys.argv[2].split(",")],
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
        float(sys.argv[6]),
        float(sys.argv[7]),
    )
