"""Where the stock library repeats, hangs or speaks falsely, and our group does not.

Each schedule runs on both; what comes out on the stock library is the defect.
"""

from __future__ import annotations

from typing import Any

import pytest

from raft_exchange.matching.messages import CreateAccount
from raft_exchange.raft import leading
from raft_exchange.raft.journal import Journal
from raft_exchange.raft.wire import ENTRY_BYTES_MAX
from raft_exchange.sequencer.codec import Request
from raft_exchange.sequencer.outcome import Committed, Outcome
from raft_exchange.sequencer.pipeline import REQUEST_TIMEOUT_S
from tests.support.disk import Disk
from tests.support.schedule_members import Member, Ours, Stock
from tests.support.schedules import Cluster, on
from tests.support.world import World

ONE, TWO = b"one", b"two"


class BadAnswer(Exception):
    """What the application throws."""


@on(stock=[ONE, ONE, TWO], ours=[ONE])
def test_b1_an_exception_while_answering_does_not_apply_the_order_again(
    member: type[Member], outcome: list[bytes]
) -> None:
    """B1. The callback that tells a client raises, once.

    The stock library applies the order again, on this replica only. Ours stops this replica, and
    the others go on: a bug must not become divergence.
    """

    def answer(payload: bytes) -> None:
        if payload == ONE:
            raise BadAnswer

    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster["A"].on_acknowledged = answer
        cluster["A"].propose(ONE)
        cluster["A"].propose(TWO)
        cluster.run(2)
        assert cluster["A"].applied == outcome
        assert cluster["B"].applied == cluster["C"].applied == [ONE, TWO]
        assert isinstance(cluster["A"].errors.pop(), BadAnswer)


@on(stock=11, ours=1)
def test_b2_an_exception_while_applying_stops_the_replica_instead_of_repeating_the_entry(
    member: type[Member], outcome: int
) -> None:
    """B2. The state machine raises after it has changed half of something.

    The stock library changes that half again at every tick, for ever.
    """

    def fail(payload: bytes) -> None:
        raise BadAnswer

    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster["A"].on_apply = fail
        cluster["A"].propose(ONE)
        assert cluster.run_until(lambda: bool(cluster["A"].errors), seconds=1)
        cluster.tick("A", times=10)
        assert cluster["A"].applied == [ONE] * outcome
        cluster["A"].errors.clear()


@on(stock=False, ours=True)
def test_b5_a_deposed_leader_with_a_long_tail_of_its_own_catches_up(
    member: type[Member], outcome: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5. Forty entries that never committed, against forty that did, four entries a message.

    The leader of the stock library steps back by one entry; the answers to the messages that it
    sent right behind set it forward again; and so on for a minute and for ever. Ours asks once for
    each term that differs.
    """
    monkeypatch.setattr(leading, "APPEND_ENTRIES_MAX", 4)
    conf: dict[str, Any] = {} if member is Ours else {"appendEntriesBatchSizeBytes": 200}
    with Cluster.of(member, **conf) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster.isolate("A")
        for number in range(40):
            cluster["A"].propose(b"lost %d" % number)
        cluster.tick("A")
        cluster.elect("B")
        kept = [b"kept %d" % number for number in range(40)]
        for order in kept:
            cluster["B"].propose(order)
        cluster.run(0.5)
        assert cluster["C"].applied == kept
        cluster.isolate("B")
        cluster.end_patience("C", after_s=1.5)
        cluster.connect("B", "C")
        assert cluster.run_until(lambda: cluster["C"].is_leader, seconds=0.2)
        # C begins at the end of its log, far from where the two meet.
        cluster.join("A")
        seconds = 0.2 if outcome else 60
        assert cluster.run_until(lambda: cluster["A"].applied == kept, seconds=seconds) is outcome


def test_b6_a_forwarded_order_that_was_lost_is_never_answered_on_stock() -> None:
    """B6. A follower forwards an order and the connection breaks under it; the leader leads on.

    The stock library neither notices nor asks again.
    """
    with Cluster.of(Stock) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        errors: list[int] = []
        cluster["B"].raft.store(ONE, callback=lambda result, error: errors.append(error))
        cluster.tick("B", apart_s=0.001)
        assert cluster.in_flight("B", "A")
        cluster.disconnect("A", "B")
        cluster.connect("A", "B")
        cluster.run(30)
        assert cluster["A"].is_leader
        assert cluster["A"].applied == []
        assert errors == []


@pytest.mark.parametrize("is_lost_before", [True, False], ids=["before it left", "on its way"])
def test_b6_a_forwarded_order_that_was_lost_is_proposed_again_on_ours(
    is_lost_before: bool,
) -> None:
    """B6. The pipeline asks again until what it asked for was applied, and that happens once."""
    world = World(
        1,
        make_disk=lambda node_id: Disk(int(node_id[1:])),
        open_journal=lambda disk: Journal(disk.directory(), segment_bytes=4096),
        crash_disk=lambda disk: disk.power_cut(),
    )
    with world.running():
        assert world.run_until(lambda: world.leader() is not None, seconds=10)
        leader = world.leader()
        assert leader is not None
        world.run(1)
        follower = next(node for node in world.nodes.values() if node is not leader)
        outcomes: list[Outcome] = []
        if is_lost_before:
            world.disconnect(leader.id, follower.id)
        follower.submit([Request(CreateAccount("one"))], outcomes.extend)
        if not is_lost_before:
            world.run(0.000_05)
            assert follower.pipeline.batches_in_flight == 1
            world.disconnect(leader.id, follower.id)
        world.run(REQUEST_TIMEOUT_S)
        assert world.leader() is leader
        (outcome,) = outcomes
        assert isinstance(outcome, Committed)
        assert not outcome.replayed


CHUNK_BYTES = 64 * 1024
"""The stock library's default, above which it sends an entry in pieces."""


@on(stock=[EOFError], ours=[])
def test_b7_an_entry_a_little_shorter_than_two_chunks_is_only_an_entry(
    member: type[Member], outcome: list[type[BaseException]]
) -> None:
    """B7. The stock library counts the pieces of a longer encoding by the length of a shorter one.

    It announces the last piece one too early, and a follower fails on half an entry.
    """
    with Cluster.of(member) as cluster:
        cluster.elect("A")
        cluster.run(0.3)
        cluster["A"].append_raw(b"\0" + bytes(2 * CHUNK_BYTES - 10))
        cluster.run(0.2)
        assert [type(error) for error in cluster["B"].errors] == outcome
        for one in cluster.members.values():
            one.errors.clear()


@pytest.mark.parametrize(
    "size_bytes",
    [
        number * unit + more
        for number in (1, 2)
        for unit in (CHUNK_BYTES, leading.APPEND_BYTES_MAX // 2)
        for more in (-41, -1, 0)
    ]
    + [ENTRY_BYTES_MAX],
)
def test_b7_an_entry_of_any_length_is_replicated(size_bytes: int) -> None:
    """B7, on ours. No length has a way of its own: there are no chunks."""
    assert leading.APPEND_BYTES_MAX <= ENTRY_BYTES_MAX
    payload = bytes(size_bytes)
    with Cluster.of(Ours) as cluster:
        cluster.elect("A")
        for order in (ONE, payload, TWO):
            cluster["A"].propose(order)
        cluster.run(0.5)
        for one in cluster.members.values():
            assert one.applied == [ONE, payload, TWO]
