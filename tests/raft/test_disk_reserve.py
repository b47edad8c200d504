"""The reserve of free disk: orders stop below it, and come back well above it."""

from __future__ import annotations

import pytest

from raft_exchange.raft.disk_reserve import CHECK_S, DiskReserve

RESERVE = 1_000


class FakeDisk:
    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.asked = 0
        self.now_s = 0.0
        self.reserve = DiskReserve(RESERVE, self._ask)

    def _ask(self) -> int:
        self.asked += 1
        return self.free_bytes

    def has_room_with(self, free_bytes: int) -> bool:
        self.free_bytes = free_bytes
        self.now_s += CHECK_S
        self.reserve.observe(self.now_s)
        return self.reserve.has_room


def test_orders_stop_below_the_reserve_and_come_back_a_quarter_above_it() -> None:
    disk = FakeDisk(RESERVE)
    wanted = [
        (RESERVE, True),
        (RESERVE - 1, False),
        (RESERVE, False),
        (RESERVE * 5 // 4 - 1, False),
        (RESERVE * 5 // 4, True),
        (RESERVE, True),
        (0, False),
    ]
    assert [(free, disk.has_room_with(free)) for free, _ in wanted] == wanted


def test_a_node_that_starts_on_a_full_disk_is_read_only_from_its_first_look() -> None:
    disk = FakeDisk(0)
    disk.reserve.observe(0.0)
    assert not disk.reserve.has_room


def test_the_disk_is_asked_a_few_times_a_second_however_often_the_group_ticks() -> None:
    disk = FakeDisk(RESERVE)
    for tick in range(1_000):
        disk.reserve.observe(tick / 1_000)
    assert disk.asked == 1 / CHECK_S


def test_a_disk_that_cannot_say_is_a_failed_disk() -> None:
    def fail() -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        DiskReserve(RESERVE, fail).observe(0.0)


def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    disk = FakeDisk(RESERVE)
    for free in (0, 0, 2 * RESERVE, 2 * RESERVE):
        disk.has_room_with(free)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "read-only",
        "0 MiB of disk are free",
    ]
