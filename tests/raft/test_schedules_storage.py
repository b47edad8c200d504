"""What the stock library loses with the power or a damaged file, and our group does not.

The stock library runs on its own journal file, of which a power cut leaves what the system wrote
back by itself, since the library never asks it to; ours runs on the real journal on a simulated
disk, of which the cut leaves nothing but what was synced.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pysyncobj.journal import FileJournal

from raft_exchange.raft.journal import Journal
from raft_exchange.raft.segments import JournalCorrupt
from raft_exchange.raft.storage import StorageFailed
from raft_exchange.raft.wire import AppendReply
from tests.support.disk import Disk, PowerCut
from tests.support.schedule_members import Member, Ours, Stock, open_stock_journal
from tests.support.schedules import Cluster, on

FOUR = [b"order %d" % number for number in range(1, 5)]


@on(stock=FOUR, ours=[])
def test_a7_an_acknowledged_order_survives_the_power_of_the_majority(
    member: type[Member], outcome: list[bytes], tmp_path: Path
) -> None:
    """A7. Leader and one follower store four orders, the client is told, the power goes for both.

    The stock library has asked for no sync, so nothing obliges the disks to have anything.
    """
    with Cluster.of(member, folder=tmp_path) as cluster:
        cluster.elect("A")
        cluster.isolate("C")
        for order in FOUR:
            cluster["A"].propose(order)
        cluster.run(0.3)
        assert cluster["A"].acknowledged == FOUR
        cluster.power_cut("A", "B")
        for name in "AB":
            cluster.join(name)
        cluster.elect("B")
        cluster.run(0.5)
        assert [order for order in FOUR if order not in cluster["C"].applied] == outcome


@on(stock={"A", "B"}, ours={"A"})
def test_a7_a_vote_survives_the_power(
    member: type[Member], outcome: set[str], tmp_path: Path
) -> None:
    """A7. C votes for A, which leads term 1; C loses power and is asked for its vote by B.

    The stock library has stored the vote, but not durably: C votes again, and a term has two
    leaders. Ours answers with the term it knows.
    """
    with Cluster.of(member, folder=tmp_path) as cluster:
        cluster.isolate("B")
        cluster.elect("A")
        assert cluster.leaders[1] == {"A"}
        cluster.power_cut("C")
        cluster.connect("B", "C")
        for _ in range(2):  # ours learns the term at the first attempt
            if not cluster["B"].is_leader:
                cluster.end_patience("B")
                cluster.run(0.2)
        assert cluster["B"].is_leader
        assert cluster.leaders[1] == outcome


def test_a7_a_vote_survives_the_power_where_the_term_alone_would_not_do() -> None:
    """A7, on ours. B was told it might win term 1 before A did, and asks for the vote after all.

    C still knows the term. Had it forgotten for whom it voted, it would vote again.
    """
    with Cluster.of(Ours) as cluster:
        cluster.disconnect("A", "B")
        cluster.end_patience("B")
        cluster.tick("B", apart_s=0.001)
        cluster.deliver("B", "C")
        cluster.deliver("C", "B")
        assert cluster["B"].term == 1
        cluster.still.add("B")
        cluster.elect("A", after_s=0)
        cluster.power_cut("C")
        cluster.connect("B", "C")
        cluster.still.discard("B")
        cluster.tick("B", apart_s=0.001)
        cluster.deliver("B", "C")
        cluster.tick("C", apart_s=0.001)
        cluster.deliver("C", "B")
        assert cluster["C"].term == 1
        assert cluster.leaders == {1: {"A"}}


@on(stock=True, ours=False)
def test_a7_no_acknowledgement_leaves_before_the_entry_is_synced(
    member: type[Member], outcome: bool, tmp_path: Path
) -> None:
    """A7, its core. A follower has taken an entry; its tick, with the sync, is still to come."""
    with Cluster.of(member, folder=tmp_path) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster["A"].propose(b"order")
        cluster.tick("A", times=2)
        cluster.deliver("A", "B")
        assert cluster["B"].log == [b"order"]
        assert bool(cluster.in_flight("B", "A")) is outcome
        cluster.tick("B")
        assert cluster.in_flight("B", "A")


@on(stock=True, ours=False)
def test_a7_no_vote_leaves_before_it_is_synced(
    member: type[Member], outcome: bool, tmp_path: Path
) -> None:
    """A7, its core. A member has given its vote; its tick, with the sync, is still to come."""
    with Cluster.of(member, folder=tmp_path) as cluster:
        cluster.isolate("A")
        cluster.end_patience("B")
        while cluster["C"].term == 0:
            cluster.tick("B", apart_s=0.001)
            cluster.deliver("C", "B")  # ours: the answer to the question before the vote
            cluster.deliver("B", "C")
        assert cluster["C"].raft._SyncObj__votedForNodeId == "B"
        assert bool(cluster.in_flight("C", "B")) is outcome
        cluster.tick("C")
        assert cluster.in_flight("C", "B")


def test_a7_a_member_whose_disk_fails_acknowledges_nothing_and_stops() -> None:
    """A7, on ours: the sync fails, so the entry was never stored, so nobody is told it was."""
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        follower = cluster["B"]
        assert isinstance(follower, Ours)
        disk = follower.disk
        disk.fail_at, disk.fail_with = disk.operations + 1, errno.EIO
        cluster.isolate("C")
        cluster["A"].propose(b"order")
        before = len(cluster.messages)
        cluster.run(0.3)
        answers = [m for sender, _, m in cluster.messages[before:] if sender == "B"]
        assert not [answer for answer in answers if isinstance(answer, AppendReply)]
        assert not cluster["B"].is_running
        assert isinstance(cluster["B"].errors.pop(), StorageFailed)
        assert cluster["A"].acknowledged == []


@on(stock=[b"alone 1", b"alone 2"], ours=[])
def test_a5_a_leader_alone_acknowledges_nothing_after_a_power_cut(
    member: type[Member], outcome: list[bytes], tmp_path: Path
) -> None:
    """A5. All three lose power; the stock library's commit index was written back, its log not.

    The log then ends before its commit index, and whatever a new leader appends below that is
    committed at once: cut off from everybody, it tells two clients that their orders are safe.
    """
    with Cluster.of(member, folder=tmp_path) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        write_back(cluster, "")
        for order in FOUR:
            cluster["A"].propose(order)
        cluster.run(1.5)
        write_back(cluster, ".meta")
        cluster.power_cut("A", "B", "C")
        for name in "ABC":
            cluster.join(name)
        cluster.elect("A")
        cluster.isolate("A")
        cluster["A"].propose(b"alone 1")
        cluster["A"].propose(b"alone 2")
        cluster.tick("A", times=4)
        assert cluster["A"].log[-2:] == [b"alone 1", b"alone 2"]
        alone = [order for order in cluster["A"].acknowledged if order.startswith(b"alone")]
        assert alone == outcome


def write_back(cluster: Cluster, suffix: str) -> None:
    """Let the system write this file of each stock member back, as it may at any time."""
    for one in cluster.members.values():
        if isinstance(one, Stock):
            one.write_back(suffix)


@on(stock=[], ours=FOUR)
def test_a6_what_was_applied_is_there_after_a_restart(
    member: type[Member], outcome: list[bytes], tmp_path: Path
) -> None:
    """A6. All restart after the applied part of the log was compacted, in an orderly way.

    With a journal file and no dump file, the stock library keeps the snapshot in memory only and
    trims the file.
    """
    with Cluster.of(member, folder=tmp_path) as cluster:
        cluster.elect("A")
        for order in FOUR:
            cluster["A"].propose(order)
            cluster.run(0.2)
            for one in cluster.members.values():
                one.compact()
        assert cluster["A"].acknowledged == FOUR
        assert all(FOUR[0] not in one.log for one in cluster.members.values())
        cluster.kill("A", "B", "C")
        for name in "ABC":
            cluster.join(name)
        cluster.elect("B")
        cluster.run(0.5)
        assert cluster["B"].applied == outcome


@pytest.mark.parametrize(
    ("member", "ticks", "outcome"),
    [
        pytest.param(Stock, 1, FOUR[1:], id="stock"),
        *(pytest.param(Ours, ticks, [], id=f"ours, after {ticks} ticks") for ticks in range(1, 9)),
    ],
)
def test_a1_a_kill_between_snapshot_and_compaction_loses_nothing_acknowledged(
    member: type[Member], ticks: int, outcome: list[bytes], tmp_path: Path
) -> None:
    """A1. Two followers store and acknowledge three orders, write a snapshot, and are killed.

    The stock library has put the new dump in its place and not yet trimmed the journal. At the
    restart the two do not fit, so it clears the journal, with all that follows the snapshot.
    """
    with Cluster.of(member, folder=tmp_path, has_dump_file=True) as cluster:
        cluster.elect("A")
        cluster["A"].propose(FOUR[0])
        cluster.run(0.3)
        for order in FOUR[1:]:
            cluster["A"].propose(order)
        cluster.tick("A", times=2)
        for name in "BC":
            cluster.deliver("A", name)
            cluster.tick(name, apart_s=0.001)
            cluster.deliver(name, "A")
        cluster.tick("A", apart_s=0.001)
        assert cluster["A"].acknowledged == FOUR
        for name in "BC":
            assert cluster[name].log == FOUR
            assert cluster[name].applied == FOUR[:1]
            cluster[name].begin_compaction()
            cluster.tick(name, times=ticks, apart_s=0.001)
        cluster.isolate("A")
        cluster.kill("B", "C")
        cluster.connect("B", "C")
        cluster.elect("B")
        cluster.run(0.3)
        assert [order for order in FOUR if order not in cluster["C"].applied] == outcome


# The two journals side by side; ours has its own tests of every byte and every operation. ---------


@contextmanager
def stock_journal(file: Path) -> Iterator[FileJournal]:
    journal = open_stock_journal(file)
    try:
        yield journal
    finally:
        journal._destroy()


def test_a1_a_kill_during_compaction_loses_entries_of_the_stock_journal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1. The stock journal is rewritten in place, entry by entry; ours drops whole segments."""
    entries = [(b"%03d" % number, number, 1) for number in range(1, 101)]

    def add_until_killed(self: FileJournal, command: bytes, index: int, term: int) -> None:
        if index > 55:
            raise PowerCut
        real(self, command, index, term)

    real = FileJournal.add
    with stock_journal(tmp_path / "stock") as stock:
        for entry in entries:
            stock.add(*entry)
        with monkeypatch.context() as patched:
            patched.setattr(FileJournal, "add", add_until_killed)
            with pytest.raises(PowerCut):
                stock.deleteEntriesTo(50)
    with stock_journal(tmp_path / "stock") as stock:
        assert [index for _, index, _ in stock[:]] == list(range(51, 56)), "45 of 50 are gone"

    for operation in range(1, 20):
        disk = Disk(operation)
        journal = Journal(disk.directory(), segment_bytes=2048)
        for entry in entries:
            journal.add(*entry)
            journal.sync()
        disk.operations, disk.fail_at = 0, operation
        with suppress(PowerCut):
            journal.compact_to(50)
            journal.sync()
        disk.kill()
        again = Journal(disk.directory(), segment_bytes=2048)
        assert [index for _, index, _ in again[:]][-50:] == list(range(51, 101))


def test_a8_a_flipped_byte_in_a_command_is_accepted_by_the_stock_journal_only(
    tmp_path: Path,
) -> None:
    """A8. The stock journal has no checksums; ours refuses to open."""
    command = b"sell 1 at 100"

    file = tmp_path / "stock"
    with stock_journal(file) as stock:
        for index in range(1, 4):
            stock.add(command, index, 1)
    file.write_bytes(file.read_bytes().replace(b"1 at", b"9 at", 1))
    with stock_journal(file) as stock:
        assert [found for found, _, _ in stock[:]] == [b"sell 9 at 100", command, command]

    disk = Disk()
    journal = Journal(disk.directory(), segment_bytes=4096)
    for index in range(1, 4):
        journal.add(command, index, 1)
        journal.sync()
    journal.close()
    (name,) = disk.files
    disk.damage(name, disk.files[name].written.index(b"1 at"), ord("9"))
    with pytest.raises(JournalCorrupt):
        Journal(disk.directory(), segment_bytes=4096)
