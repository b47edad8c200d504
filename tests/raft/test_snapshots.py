"""Snapshots and the log behind them, on a disk that loses power at every operation."""

from __future__ import annotations

import errno
import itertools

import pytest

from raft_exchange.raft import snapshots
from raft_exchange.raft.snapshot_store import SnapshotsUnusable
from raft_exchange.raft.snapshots import OVERDUE, RETRY_S, WRITE_S_MAX, Pace
from tests.support.disk import Disk, PowerCut
from tests.support.snapshot_bench import Bench, expected

ENTRIES = 10


def snapshot_names(disk: Disk) -> list[str]:
    return sorted(n for n in disk.files if n.startswith("snapshots/"))


# When ----------------------------------------------------------------------------------------


def test_a_snapshot_is_due_after_so_many_entries_or_bytes() -> None:
    pace = Pace(entries=10, bytes=1_000)
    assert not pace.is_due((20, 5_000), (29, 5_999))
    assert pace.is_due((20, 5_000), (30, 5_001))
    assert pace.is_due((20, 5_000), (21, 6_000))


def test_members_write_at_different_places_of_the_log() -> None:
    due = [
        {i for i in range(1, 400) if Pace(90, 1 << 30, place, 3).is_due((i - 1, 0), (i, 0))}
        for place in range(3)
    ]
    assert due[0] == {90, 180, 270, 360}
    assert due[1] == {60, 150, 240, 330}
    assert due[2] == {30, 120, 210, 300, 390}


def test_the_places_do_not_depend_on_where_the_last_snapshot_was() -> None:
    """One asked for by hand, or installed, does not make two members write together for ever."""
    pace = Pace(90, 1 << 30, 1, 3)
    assert next(i for i in range(101, 200) if pace.is_due((100, 0), (i, 0))) == 150


def test_while_one_is_sent_the_next_waits_but_not_for_ever() -> None:
    bench = Bench(Disk(), entries=ENTRIES)
    bench.is_sending = True
    bench.apply_many(OVERDUE * ENTRIES - 1)
    assert not bench.snapshots.is_writing
    assert bench.snapshots.written == 0
    bench.apply_many(1)
    assert bench.snapshots.is_writing


def test_a_snapshot_that_was_asked_for_is_written_though_none_is_due() -> None:
    bench = Bench(Disk(), entries=1_000)
    bench.apply_many(3)
    bench.snapshots.request()
    bench.tick()
    bench.finish_writing()
    assert bench.store.newest is not None
    assert bench.store.newest.index == 3


# The log behind it -----------------------------------------------------------------------------


def test_the_log_reaches_back_to_the_snapshot_before_the_newest() -> None:
    bench = Bench(Disk(), entries=ENTRIES)
    bench.apply_many(55)
    bench.finish_writing()
    assert [snapshot.index for snapshot in bench.store.snapshots] == [40, 50]
    assert bench.journal.base.index == 40
    bench.journal.check()


def test_two_snapshots_are_kept_and_nothing_else() -> None:
    bench = Bench(Disk(), entries=ENTRIES)
    bench.apply_many(100)
    bench.finish_writing()
    assert snapshot_names(bench.disk) == [f"snapshots/{index:020d}.snapshot" for index in (90, 100)]


def test_disk_and_memory_stay_bounded_under_an_endless_log() -> None:
    bench = Bench(Disk(), entries=ENTRIES)
    bench.apply_many(2_000)
    assert len(bench.journal) <= 2 * ENTRIES + 5
    assert len([name for name in bench.disk.files if name.startswith("journal/")]) <= 3


def test_a_snapshot_at_one_index_is_the_same_bytes_on_every_member() -> None:
    """One process saw the whole log, the other began with a snapshot."""
    disks = [Disk(seed) for seed in range(2)]
    whole = Bench(disks[0], entries=ENTRIES)
    restarted = Bench(disks[1], entries=ENTRIES)
    whole.apply_many(30)
    restarted.apply_many(25)
    disks[1].power_cut()
    restarted = Bench(disks[1], entries=ENTRIES)
    restarted.apply_many(5)
    for bench in (whole, restarted):
        bench.finish_writing()
    files = [disk.files["snapshots/00000000000000000030.snapshot"].written for disk in disks]
    assert files[0] == files[1]


# Failing attempts ------------------------------------------------------------------------------


def test_a_writer_that_fails_is_tried_again_later() -> None:
    bench = Bench(Disk(), entries=ENTRIES)
    bench.writer.fails = True
    bench.apply_many(2 * ENTRIES)
    assert (bench.snapshots.failures, bench.snapshots.written) == (1, 0)
    assert bench.journal.base.index == 0, "the log forgets nothing without a snapshot"
    bench.writer.fails = False
    bench.tick(seconds=RETRY_S)
    bench.finish_writing()
    assert bench.snapshots.written == 1


def test_a_process_that_cannot_be_made_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(Disk(), entries=ENTRIES)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    with monkeypatch.context() as patch:
        patch.setattr(bench.writer, "start", refuse)
        bench.apply_many(ENTRIES)
    assert bench.snapshots.failures == 1
    assert snapshot_names(bench.disk) == []
    bench.tick(seconds=RETRY_S)
    bench.finish_writing()
    assert bench.snapshots.written == 1


def test_a_writer_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Disk(), entries=ENTRIES)
    bench.apply_many(ENTRIES)
    monkeypatch.setattr(bench.writer, "poll", lambda: None)
    bench.tick(seconds=WRITE_S_MAX - 1)
    assert bench.snapshots.is_writing
    bench.tick(seconds=2)
    assert not bench.snapshots.is_writing
    assert bench.snapshots.failures == 1


# At the start ----------------------------------------------------------------------------------


def test_a_restart_goes_on_from_the_newest_snapshot_and_the_log_behind_it() -> None:
    disk = Disk()
    Bench(disk, entries=ENTRIES).apply_many(57)
    disk.power_cut()
    again = Bench(disk, entries=ENTRIES)
    assert again.header is not None
    assert again.header.index == 50
    assert again.machine.payloads == expected(57)


def test_power_may_go_at_any_operation() -> None:
    """Whatever was synced is there afterwards, once, and the log fits the snapshot."""
    operations = _operations_of_a_life()
    assert operations > 100
    for fail_at in range(1, operations + 1):
        for seed in range(3):
            _live_and_lose_power(fail_at, seed)


def _operations_of_a_life() -> int:
    disk = Disk()
    bench = Bench(disk, entries=ENTRIES)
    bench.apply_many(45)
    bench.finish_writing()
    return disk.operations


def _live_and_lose_power(fail_at: int, seed: int) -> None:
    disk = Disk(seed)
    disk.fail_at = fail_at
    synced = 0
    bench = None
    try:
        bench = Bench(disk, entries=ENTRIES)
        for index in range(1, 46):
            bench.apply_many(1)
            synced = index
        bench.finish_writing()
    except PowerCut:
        synced = max(synced, bench.applied if bench is not None else 0)
    disk.power_cut()
    again = Bench(disk, entries=ENTRIES)
    assert again.applied >= synced, f"power went at operation {fail_at}, seed {seed}"
    assert again.machine.payloads == expected(again.applied)
    again.journal.check()
    again.apply_many(25)
    again.finish_writing()
    assert again.machine.payloads == expected(again.applied)
    disk.power_cut()


def test_a_damaged_newest_snapshot_is_passed_over_for_the_one_before() -> None:
    disk = Disk()
    Bench(disk, entries=ENTRIES).apply_many(57)
    disk.power_cut()
    newest = snapshot_names(disk)[-1]
    for offset in range(0, len(disk.files[newest].written), 7):
        twin = disk.copy()
        twin.damage(newest, offset, twin.files[newest].written[offset] ^ 0x10)
        again = Bench(twin, entries=ENTRIES)
        assert again.header is not None
        assert again.header.index == 40
        assert again.machine.payloads == expected(57)


def test_without_a_sound_snapshot_for_a_shortened_log_nothing_starts() -> None:
    disk = Disk()
    Bench(disk, entries=ENTRIES).apply_many(57)
    disk.power_cut()
    names = snapshot_names(disk)
    for name in names:
        disk.shorten(name, 100)
    with pytest.raises(SnapshotsUnusable) as refusal:
        Bench(disk, entries=ENTRIES)
    for name in names:
        assert name.removeprefix("snapshots/") in str(refusal.value), "it says which and why"


def test_a_missing_snapshot_for_a_shortened_log_is_named() -> None:
    disk = Disk()
    Bench(disk, entries=ENTRIES).apply_many(57)
    disk.power_cut()
    for name in snapshot_names(disk):
        del disk.files[name]
    with pytest.raises(SnapshotsUnusable, match="after entry 40, but there is no snapshot"):
        Bench(disk, entries=ENTRIES)


def test_an_older_snapshot_than_the_log_needs_does_not_do() -> None:
    disk = Disk()
    bench = Bench(disk, entries=ENTRIES)
    bench.apply_many(12)
    bench.finish_writing()
    old = disk.files["snapshots/00000000000000000010.snapshot"]
    bench.apply_many(45)
    disk.power_cut()
    for name in snapshot_names(disk):
        del disk.files[name]
    disk.files["snapshots/00000000000000000010.snapshot"] = old
    with pytest.raises(SnapshotsUnusable, match=r"after entry 40, but .*10\.snapshot: ends at 10"):
        Bench(disk, entries=ENTRIES)


def test_a_damaged_first_snapshot_does_not_matter_while_the_log_is_whole() -> None:
    disk = Disk()
    bench = Bench(disk, entries=ENTRIES)
    bench.apply_many(14)
    bench.finish_writing()
    disk.power_cut()
    (name,) = snapshot_names(disk)
    disk.damage(name, 50, 0xFF)
    again = Bench(disk, entries=ENTRIES)
    assert again.header is None
    assert again.machine.payloads == expected(14)


def test_a_snapshot_of_another_cluster_is_refused() -> None:
    disk = Disk()
    Bench(disk, entries=ENTRIES).apply_many(57)
    disk.power_cut()
    with pytest.raises(SnapshotsUnusable, match="belongs to cluster 'c'"):
        Bench(disk, entries=ENTRIES, cluster="d")


def test_a_snapshot_of_another_history_is_refused() -> None:
    """Its index is committed in this log, with another term: files of two members got mixed."""
    disks = [Disk(seed) for seed in range(2)]
    for term, disk in enumerate(disks, start=1):
        bench = Bench(disk, entries=ENTRIES)
        for _ in range(14):
            bench.apply(b"x", term=term)
        bench.finish_writing()
        disk.power_cut()
    (name,) = snapshot_names(disks[0])
    disks[0].files[name] = disks[1].files[name]
    with pytest.raises(SnapshotsUnusable, match="is not of this log"):
        Bench(disks[0], entries=ENTRIES)


def test_the_log_is_forgotten_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing the files of a long log at once would hold up everybody."""
    monkeypatch.setattr(snapshots, "COMPACT_ENTRIES", 3)
    bench = Bench(Disk(), entries=ENTRIES)
    bench.writer.fails = True
    bench.apply_many(ENTRIES)
    bench.finish_writing()
    bench.writer.fails = False
    bench.apply_many(2 * ENTRIES)
    bench.snapshots.request()
    bases = []
    while len(bases) < 30:
        bench.tick(seconds=RETRY_S)
        bases.append(bench.journal.base.index)
        if not bench.snapshots.is_writing and bench.snapshots.written < 2:
            bench.apply_many(1)
            bench.snapshots.request()
    assert bench.store.previous is not None
    assert bases[-1] == bench.store.previous.index
    assert max(after - before for before, after in itertools.pairwise([0, *bases])) == 3


def test_members_that_take_their_places_write_at_different_indexes() -> None:
    """Also who joined later: places are counted anew when the members change."""
    written = []
    for place in range(2):
        bench = Bench(Disk(), entries=ENTRIES)
        bench.snapshots.set_place(place, 2)
        while bench.snapshots.store.newest is None:
            bench.apply(b"x")
            bench.finish_writing()
        written.append(bench.snapshots.store.newest.index)
    assert abs(written[0] - written[1]) == ENTRIES // 2
