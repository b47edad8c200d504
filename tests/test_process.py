"""A process from its folder to its end, however often it comes back as another node."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from raft_exchange import process

SETTINGS: Any = SimpleNamespace(data_dir=Path("/nowhere"))
WAIT_S_MAX = 20.0


def live() -> None:
    log: Any = None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(process._live(SETTINGS, b"", None, log))


class Lives:
    """What stands for `_serve` and `set_aside`: removed in each life, and stopped in the first."""

    def __init__(self, *, stopped_in: str) -> None:
        self.stopped_in = stopped_in
        self.steps: list[str] = []

    async def serve(self, settings: Any, secret: bytes, stop: asyncio.Event, log: Any) -> str:
        self.note("serve")
        if self.steps.count("serve") > 1 or self.stopped_in == "serve":
            async with asyncio.timeout(WAIT_S_MAX):
                await stop.wait()
        return "n1"

    def set_aside(self, folder: Path, node_id: str) -> None:
        self.note("set aside")

    def note(self, step: str) -> None:
        if step == self.stopped_in and step not in self.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        self.steps.append(step)


@pytest.mark.parametrize(
    ("stopped_in", "steps"),
    [("serve", ["serve"]), ("set aside", ["serve", "set aside", "serve"])],
)
def test_who_is_told_to_stop_while_it_sets_itself_aside_stops(
    stopped_in: str, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first case it is only when it has drained that it would begin to set aside."""
    lives = Lives(stopped_in=stopped_in)
    monkeypatch.setattr(process, "_serve", lives.serve)
    monkeypatch.setattr(process, "set_aside", lives.set_aside)
    live()
    assert lives.steps == steps


def test_a_new_data_folder_survives_the_loss_of_power_with_all_that_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set[str]()
    fsync = os.fsync

    def note(file: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", note)
    folder = tmp_path / "a" / "b" / "data"
    settings: Any = SimpleNamespace(data_dir=folder, durability="fsync", cluster="c", name="n1")
    journal, _ = process._open_folder(settings)
    journal.close()
    assert {str(one) for one in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")} <= synced
