"""A snapshot on its way: cut, resumed, replaced, refused; installed whole or not at all."""

from __future__ import annotations

import msgspec
import pytest

from raft_exchange.raft.framing import FrameError, decode_message, encode_message
from raft_exchange.raft.snapshot_receiving import RESERVE_BYTES
from raft_exchange.raft.snapshot_sending import REFUSED_RETRY_S, STALL_S, SnapshotSending
from raft_exchange.raft.wire import (
    CHUNK_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
    SnapshotChunk,
    SnapshotReply,
    SnapshotStatus,
)
from tests.support.disk import Disk, PowerCut
from tests.support.snapshot_bench import TERM, Bench, chunks, expected

ENTRIES = 10


def leader(entries: int = 57) -> Bench:
    bench = Bench(Disk(1), entries=ENTRIES)
    bench.apply_many(entries)
    bench.finish_writing()
    return bench


def receive(bench: Bench, chunk: object) -> tuple[SnapshotStatus, int]:
    status, offset, header = bench.snapshots.receive(
        chunk,  # type: ignore[arg-type]
        have_index=bench.applied,
    )
    bench.journal.sync()
    if header is not None:
        bench.applied, bench.log_bytes = header.index, header.log_bytes
    return status, offset


def store_tail(bench: Bench, term: int) -> None:
    """Apply 3 entries, and store up to 55 of which nobody knows whether they are committed."""
    for payload in expected(3):
        bench.apply(payload, term=term)
    for payload in expected(55)[3:]:
        bench.append(payload, term=term)


def reply(offset: int, status: SnapshotStatus = SnapshotStatus.WANTED) -> SnapshotReply:
    return SnapshotReply(TERM, 50, offset, status)


# The receiver ------------------------------------------------------------------------------------


def test_the_last_chunk_puts_the_snapshot_in_place() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES)
    behind.apply_many(3)
    parts = chunks(source)
    for part in parts[:-1]:
        assert receive(behind, part) == (SnapshotStatus.WANTED, part.offset + len(part.data))
        assert behind.machine.payloads == expected(3), "nothing changes before all of it is here"
    assert receive(behind, parts[-1]) == (SnapshotStatus.INSTALLED, parts[-1].size_bytes)
    assert behind.machine.payloads == expected(50)
    assert (behind.journal.base.index, behind.journal.last_index) == (50, 50)
    behind.journal.check()
    behind.apply_many(25)
    assert behind.machine.payloads == expected(75)


def test_an_offer_without_data_asks_how_much_is_here() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES)
    parts = chunks(source)
    offer = msgspec.structs.replace(parts[0], data=b"")
    assert receive(behind, offer) == (SnapshotStatus.WANTED, 0)
    receive(behind, parts[0])
    receive(behind, parts[1])
    assert receive(behind, offer) == (SnapshotStatus.WANTED, 128)


def test_a_chunk_that_is_not_the_next_is_ignored() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES)
    parts = chunks(source)
    receive(behind, parts[0])
    assert receive(behind, parts[2]) == (SnapshotStatus.WANTED, 64)
    assert receive(behind, parts[0]) == (SnapshotStatus.WANTED, 64)


def test_the_same_snapshot_of_another_leader_goes_on_where_it_was() -> None:
    first, second, behind = leader(), leader(), Bench(Disk(2), entries=ENTRIES)
    for part in chunks(first)[:3]:
        receive(behind, part)
    for part in chunks(second, term=TERM + 1)[3:]:
        receive(behind, part)
    assert behind.machine.payloads == expected(50)


def test_a_newer_snapshot_begins_anew() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES)
    for part in chunks(source)[:3]:
        receive(behind, part)
    source.apply_many(10)
    source.finish_writing()
    newer = chunks(source)
    assert receive(behind, newer[3]) == (SnapshotStatus.WANTED, 0)
    for part in newer:
        receive(behind, part)
    assert behind.machine.payloads == expected(60)


def test_a_restart_forgets_what_had_come() -> None:
    source, disk = leader(), Disk(2)
    behind = Bench(disk, entries=ENTRIES)
    for part in chunks(source)[:3]:
        receive(behind, part)
    disk.power_cut()
    assert receive(Bench(disk, entries=ENTRIES), chunks(source)[3]) == (SnapshotStatus.WANTED, 0)


def test_what_is_applied_already_is_not_wanted() -> None:
    source, ahead = leader(), Bench(Disk(2), entries=1_000)
    ahead.apply_many(55)
    (status, _) = receive(ahead, chunks(source)[0])
    assert status is SnapshotStatus.INSTALLED
    assert ahead.machine.payloads == expected(55)


def test_a_damaged_snapshot_is_refused_and_changes_nothing() -> None:
    """Failure is answered as failure, and the next attempt begins anew."""
    source = leader()
    parts = chunks(source)
    for number in range(len(parts)):
        behind = Bench(Disk(2), entries=ENTRIES)
        behind.apply_many(3)
        before = sorted(behind.disk.files)
        for position, part in enumerate(parts):
            data = part.data
            if position == number:
                data = data[:-1] + bytes([data[-1] ^ 1])
            last = receive(behind, msgspec.structs.replace(part, data=data))
        assert last == (SnapshotStatus.REFUSED, 0)
        assert behind.machine.payloads == expected(3)
        assert behind.journal.last_index == 3
        assert sorted(behind.disk.files) == before
        for part in parts:
            receive(behind, part)
        assert behind.machine.payloads == expected(50)


def test_a_snapshot_that_is_not_what_was_announced_is_refused() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES)
    for part in chunks(source):
        last = receive(behind, msgspec.structs.replace(part, index=part.index + 1))
    assert last == (SnapshotStatus.REFUSED, 0)


def test_a_snapshot_of_another_cluster_is_refused() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES, cluster="d")
    for part in chunks(source):
        last = receive(behind, part)
    assert last == (SnapshotStatus.REFUSED, 0)


def test_without_room_for_it_a_snapshot_is_refused_at_once() -> None:
    source, behind = leader(), Bench(Disk(2), entries=ENTRIES)
    part = chunks(source)[0]
    behind.disk.free_bytes = part.size_bytes + RESERVE_BYTES - 1
    assert receive(behind, part) == (SnapshotStatus.REFUSED, 0)
    behind.disk.free_bytes += 1
    assert receive(behind, part) == (SnapshotStatus.WANTED, 64)


def test_a_tail_that_contains_the_snapshots_last_entry_stays() -> None:
    """Raft section 7: those entries may be acknowledged, and they follow from the snapshot."""
    source, behind = leader(), Bench(Disk(2), entries=1_000)
    store_tail(behind, TERM)
    for part in chunks(source):
        receive(behind, part)
    assert (behind.journal.base.index, behind.journal.last_index) == (50, 55)
    assert behind.machine.payloads == expected(50)


def test_a_tail_of_another_history_goes() -> None:
    source, behind = leader(), Bench(Disk(2), entries=1_000)
    store_tail(behind, TERM - 1)
    for part in chunks(source):
        receive(behind, part)
    assert (behind.journal.base.index, behind.journal.last_index) == (50, 50)
    assert behind.journal.base.term == TERM


def test_power_may_go_at_any_operation_of_an_install() -> None:
    """Afterwards the member is where it was or where the snapshot is, and goes on from there."""
    source = leader()
    parts = chunks(source, size=200)
    for own_term in (TERM, TERM - 1):  # a tail that stays, and one that goes
        fail_at = 0
        while _install_and_lose_power(parts, fail_at + 1, own_term):
            fail_at += 1
        assert fail_at > 10


def _install_and_lose_power(parts: list[object], fail_at: int, own_term: int) -> bool:
    disk = Disk(fail_at)
    behind = Bench(disk, entries=1_000)
    store_tail(behind, own_term)
    disk.fail_at = disk.operations + fail_at
    was_cut = False
    try:
        for part in parts:
            receive(behind, part)
    except PowerCut:
        was_cut = True
    disk.power_cut()
    again = Bench(disk, entries=1_000)
    index = again.applied
    assert index == 55 or (index == 50 and own_term < TERM)
    assert again.machine.payloads == expected(index)
    again.journal.check()
    return was_cut


def test_what_is_being_written_gives_way_to_what_is_installed() -> None:
    source, behind = leader(), Bench(Disk(2), entries=3)
    behind.apply_many(3)
    assert behind.snapshots.is_writing
    for part in chunks(source):
        receive(behind, part)
    assert not behind.snapshots.is_writing
    assert behind.machine.payloads == expected(50)
    behind.apply_many(10)
    behind.finish_writing()
    assert behind.store.newest is not None
    assert behind.store.newest.index > 50


# The sender --------------------------------------------------------------------------------------

SIZE_BYTES = 10 * CHUNK_BYTES_MAX + 5


def sending() -> SnapshotSending:
    return SnapshotSending(50, SIZE_BYTES, now_s=0.0)


def drain(sender: SnapshotSending, now_s: float = 0.0) -> list[tuple[int, int]]:
    spans = []
    while (span := sender.next_span(now_s)) is not None:
        spans.append(span)
        sender.sent(span[1])
    return spans


def test_nothing_is_sent_before_the_follower_said_where_it_is() -> None:
    sender = sending()
    assert drain(sender) == []
    sender.answered(reply(0), now_s=0.0)
    assert drain(sender) == [(number * CHUNK_BYTES_MAX, CHUNK_BYTES_MAX) for number in range(4)]


def test_the_window_moves_with_the_acknowledgements() -> None:
    sender = sending()
    sender.answered(reply(0), now_s=0.0)
    drain(sender)
    assert drain(sender) == []
    sender.answered(reply(CHUNK_BYTES_MAX), now_s=0.0)
    assert drain(sender) == [(4 * CHUNK_BYTES_MAX, CHUNK_BYTES_MAX)]


def test_a_transfer_goes_on_where_the_follower_is() -> None:
    sender = sending()
    sender.answered(reply(7 * CHUNK_BYTES_MAX), now_s=0.0)
    assert drain(sender)[0] == (7 * CHUNK_BYTES_MAX, CHUNK_BYTES_MAX)
    assert sender.sent_bytes == SIZE_BYTES, "the last chunk is what is left"


def test_a_lost_connection_asks_again() -> None:
    sender = sending()
    sender.answered(reply(0), now_s=0.0)
    drain(sender)
    sender.ask(1.0)
    assert drain(sender, 1.0) == []
    sender.answered(reply(2 * CHUNK_BYTES_MAX), now_s=1.0)
    assert drain(sender, 1.0)[0][0] == 2 * CHUNK_BYTES_MAX


def test_silence_asks_again() -> None:
    sender = sending()
    sender.answered(reply(0), now_s=0.0)
    drain(sender)
    assert drain(sender, STALL_S + 0.1) == []
    sender.answered(reply(0), now_s=STALL_S + 0.2)
    assert drain(sender, STALL_S + 0.2)[0][0] == 0


def test_a_follower_that_lost_what_it_had_gets_it_again() -> None:
    sender = sending()
    sender.answered(reply(4 * CHUNK_BYTES_MAX), now_s=0.0)
    drain(sender)
    sender.answered(reply(0), now_s=0.0)
    assert drain(sender)[0][0] == 0


def test_a_refusal_is_believed_for_a_while() -> None:
    sender = sending()
    sender.answered(reply(0), now_s=0.0)
    drain(sender)
    sender.answered(reply(0, SnapshotStatus.REFUSED), now_s=1.0)
    sender.answered(reply(0), now_s=1.1)
    assert drain(sender, 1.1) == []
    assert not sender.is_moving(1.1)
    sender.answered(reply(0), now_s=1.0 + REFUSED_RETRY_S)
    assert drain(sender, 1.0 + REFUSED_RETRY_S) != []


@pytest.mark.parametrize("offset", [SIZE_BYTES + 1, 2**63])
def test_an_acknowledgement_of_more_than_there_is_changes_no_bound(offset: int) -> None:
    sender = sending()
    sender.answered(reply(offset), now_s=0.0)
    assert drain(sender) == []
    assert sender.sent_bytes == SIZE_BYTES


# The decoder -------------------------------------------------------------------------------------

CHUNK = SnapshotChunk(2, 50, 2, 1_000, bytes(32), 0, b"x" * 1_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": bytes(CHUNK_BYTES_MAX + 1), "size_bytes": 2 * CHUNK_BYTES_MAX},
        {"sha256": bytes(31)},
        {"offset": -1},
        {"offset": 1},  # it would end behind the end
        {"size_bytes": SNAPSHOT_BYTES_MAX + 1},
        {"size_bytes": -1, "data": b""},
    ],
)
def test_a_chunk_over_its_bounds_never_reaches_the_group(changes: dict[str, object]) -> None:
    assert decode_message(encode_message(CHUNK)) == CHUNK
    with pytest.raises(FrameError):
        decode_message(encode_message(msgspec.structs.replace(CHUNK, **changes)))
