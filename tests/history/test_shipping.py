"""Shipping to a database: whatever becomes of a connection, it is tried again."""

from __future__ import annotations

import threading
from pathlib import Path

import asyncpg
import pytest

from raft_exchange.history import shipping
from raft_exchange.history.shipping import Shipping
from tests.support.past import CLUSTER_ID

ERRORS = [
    asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress"),
    asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionResetError(104, "reset by peer"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_connection_that_breaks_ends_no_shipping(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "RETRY_S", 0.0)
    is_tried_again = threading.Event()
    tries = iter([error])

    async def ship(self: Shipping) -> None:
        for broken in tries:
            raise broken
        is_tried_again.set()
        self._is_stopping = True

    monkeypatch.setattr(Shipping, "_ship", ship)
    one = Shipping(
        "postgresql://nowhere", tmp_path, CLUSTER_ID, sizes=lambda _: (1, 1), is_leader=lambda: True
    )
    one.start()
    assert is_tried_again.wait(30)
    one.stop()
    assert one.failures == 1
