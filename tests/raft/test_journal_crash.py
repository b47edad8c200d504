"""After a crash the journal is as at the end of the last sync, or of the one under way.

Nothing synced is missing, nothing is half there, and no crash alone ever makes it refuse to open.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.segments import JournalCorrupt
from tests.support.disk import Disk, PowerCut
from tests.support.journal_model import SEGMENT_BYTES, Life, state_of

STEPS = 100


def operations_of(seed: int) -> int:
    disk = Disk()
    Life(seed, disk).run(STEPS)
    return disk.operations


@pytest.mark.parametrize("seed", range(30))
def test_a_power_cut_at_any_operation_loses_nothing_synced(seed: int) -> None:
    """Writes, syncs, rolls to a new segment, removals: the power may go in the middle of each."""
    for operation in range(1, operations_of(seed) + 1):
        disk = Disk(seed * 10_000 + operation)
        disk.fail_at = operation
        life = Life(seed, disk)
        with pytest.raises(PowerCut):
            life.run(STEPS)
        disk.power_cut()
        life.reopen_after_crash()
        life.run(5)


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_at_any_operation_of_the_recovery_loses_nothing_either(seed: int) -> None:
    """The second opening finds what the first one could have found."""
    draw = random.Random(seed)
    for _ in range(40):
        disk = Disk(draw.randrange(1 << 30))
        disk.fail_at = draw.randrange(1, operations_of(seed))
        life = Life(seed, disk)
        with pytest.raises(PowerCut):
            life.run(STEPS)
        disk.power_cut()
        for _ in range(12):
            disk.operations, disk.fail_at = 0, draw.randrange(1, 10)
            with suppress(PowerCut):
                life.reopen_after_crash()
            disk.power_cut()
        life.reopen_after_crash()


@pytest.mark.parametrize("seed", range(3))
def test_what_a_killed_process_wrote_and_another_found_is_durable(seed: int) -> None:
    """`kill -9` between a write and its sync: the next process must not trust the cache."""
    for operation in range(1, operations_of(seed) + 1):
        disk = Disk(seed * 10_000 + operation)
        disk.fail_at = operation
        life = Life(seed, disk)
        with pytest.raises(PowerCut):
            life.run(STEPS)
        disk.kill()
        found = state_of(life.open())
        assert found in (life.synced.state(), life.syncing.state())
        disk.power_cut()
        assert state_of(life.open()) == found


def test_a_torn_last_block_is_cut_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """The tail is reported, and the journal goes on in a new segment behind it."""
    disk = Disk(seed=5)
    life = Life(1, disk)
    life.open()
    life.append(b"kept")
    life.sync()
    life.append(bytes(range(256)) * 4)
    disk.operations, disk.fail_at = 0, 1
    with pytest.raises(PowerCut):
        life.sync()
    disk.power_cut()
    life.reopen_after_crash()
    assert life.journal is not None
    assert life.journal.last_index == 1
    assert life.journal.torn is not None
    assert life.journal.torn.segment in caplog.text
    assert len(disk.files) == 2
    disk.power_cut()
    life.reopen_after_crash()
    assert life.journal.torn is None, "the old tail is cut once"


class CrashingJournal(RuleBasedStateMachine):
    """Any interleaving of changes, syncs, kills, power cuts and half-done recoveries."""

    def __init__(self) -> None:
        super().__init__()
        self.life: Life | None = None

    @precondition(lambda self: self.life is None)
    @rule(seed=st.integers(0, 1 << 32))
    def begin(self, seed: int) -> None:
        self.disk = Disk(seed)
        self.life = Life(seed, self.disk)
        self.life.open()

    @precondition(lambda self: self.life is not None)
    @rule(
        name=st.sampled_from(
            ["add", "sync", "enter_term", "commit", "truncate", "compact", "reset", "step"]
        )
    )
    def live(self, name: str) -> None:
        assert self.life is not None
        getattr(self.life, name)()
        assert self.life.journal is not None
        self.life.journal.check()
        assert state_of(self.life.journal) == self.life.model.state()

    @precondition(lambda self: self.life is not None)
    @rule(operation=st.integers(1, 12), in_recovery=st.integers(0, 9), is_power=st.booleans())
    def crash(self, operation: int, in_recovery: int, is_power: bool) -> None:
        """The plug is pulled some operations from now, and perhaps again while recovering."""
        assert self.life is not None
        self.disk.operations, self.disk.fail_at = 0, operation
        with suppress(PowerCut):
            self.life.run(20)
        (self.disk.power_cut if is_power else self.disk.kill)()
        self.disk.operations, self.disk.fail_at = 0, in_recovery
        try:
            self.life.reopen_after_crash()
        except PowerCut:
            self.disk.power_cut()
            self.life.reopen_after_crash()
        self.disk.fail_at = 0

    @precondition(lambda self: self.life is not None)
    @rule()
    def restart(self) -> None:
        """A clean stop loses nothing, synced or not, and keeps the commit index."""
        assert self.life is not None
        assert self.life.journal is not None
        commit_index = self.life.journal.getRaftCommitIndex()
        self.life.syncing = self.life.model
        self.life.journal.close()
        self.life.synced = self.life.syncing
        self.life.reopen_after_crash()
        assert self.life.journal.getRaftCommitIndex() == commit_index


TestCrashingJournal = CrashingJournal.TestCase
TestCrashingJournal.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("seed", range(20))
def test_an_os_journal_survives_the_process_and_never_makes_up_entries(seed: int) -> None:
    """Without syncs a power cut may take the end, or leave holes, with which it does not open."""
    disk = Disk(seed)
    journal = Journal(disk.directory(), durability="os", segment_bytes=SEGMENT_BYTES)
    for index in range(1, 6):
        journal.add(b"order %d" % index, index, 1)
        journal.sync()
    before = journal[:]
    disk.kill()
    journal = Journal(disk.directory(), durability="os")
    assert journal[:] == before
    for index in range(6, 9):
        journal.add(b"order %d" % index, index, 1)
        journal.sync()
    disk.power_cut()
    with suppress(JournalCorrupt):
        assert Journal(disk.directory())[:] in [
            [(b"order %d" % index, index, 1) for index in range(1, last + 1)]
            for last in range(5, 9)
        ]
