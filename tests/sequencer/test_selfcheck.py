"""The log's knowledge of the replicas: chain, checkpoints, the majority's value, who is fenced."""

from __future__ import annotations

import pytest

from raft_exchange.matching.messages import CreateAccount
from raft_exchange.sequencer.codec import Batch, CodecError, Request, decode_batch, encode_batch
from raft_exchange.sequencer.notices import (
    NODE_BYTES_MAX,
    NOTICES_MAX,
    ROSTER_MAX,
    Checkpoint,
    Digest,
    Notice,
    Reads,
    Report,
    Roster,
)
from raft_exchange.sequencer.selfcheck import (
    BALLOTS_MAX,
    CHECKPOINT_ENTRIES,
    DISPUTE_US,
    ON_DEMAND_US,
    STATE_SHARE,
    SelfCheck,
)
from raft_exchange.sequencer.state import ReplicatedState

THREE = Roster(("n1", "n2", "n3"))
A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


class Log:
    """Entries of one `SelfCheck`."""

    def __init__(self, *, members: Roster = THREE) -> None:
        self.check = SelfCheck()
        self.check.begin(bytes(32))
        self.index = 0
        self.time_us = 10**15
        self.size = 0
        self.entry(members)

    def entry(self, *notices: Notice, events: bytes = b"events") -> None:
        self.index += 1
        self.time_us += 1_000
        for notice in notices:
            self.check.take(notice, time_us=self.time_us)
        self.check.end_entry(
            self.index, events, size=self.size, sequence=2 * self.index, time_us=self.time_us
        )
        self.check.check()

    def report(self, digest: Digest, index: int, **values: bytes) -> None:
        for node, value in values.items():
            self.entry(Report(node, digest, index, value))

    def go_on(self, entries: int) -> None:
        for _ in range(entries):
            self.entry()


def test_the_first_checkpoint_comes_with_the_first_roster() -> None:
    log = Log()
    assert log.check.marked == [1, 1]


def test_events_are_compared_every_thousand_entries() -> None:
    log = Log()
    log.go_on(CHECKPOINT_ENTRIES - 1)
    assert log.check.marked[Digest.EVENTS] == 1
    log.entry()
    assert log.check.marked[Digest.EVENTS] == 1 + CHECKPOINT_ENTRIES


def test_a_great_state_is_hashed_less_often_than_a_small_one() -> None:
    """A million orders take seconds of a core."""
    log = Log()
    log.size = 3 * CHECKPOINT_ENTRIES * STATE_SHARE
    log.go_on(3 * CHECKPOINT_ENTRIES - 1)
    assert log.check.marked[Digest.STATE] == 1
    log.go_on(CHECKPOINT_ENTRIES)
    assert log.check.marked[Digest.STATE] == 1 + 3 * CHECKPOINT_ENTRIES


def test_somebody_may_want_a_checkpoint_now_but_not_all_the_time() -> None:
    log = Log()
    log.entry(Checkpoint())
    assert log.check.marked == [1, 1], "the last is a moment ago"
    log.time_us += ON_DEMAND_US
    log.entry(Checkpoint())
    assert log.check.marked == [log.index, log.index]


def test_two_of_three_agree_and_the_third_is_fenced_then_or_later() -> None:
    log = Log()
    log.report(Digest.EVENTS, 1, n1=A)
    assert not log.check.agreed[Digest.EVENTS].value
    log.report(Digest.EVENTS, 1, n3=A)
    assert log.check.agreed[Digest.EVENTS].value == A
    assert log.check.agreed[Digest.EVENTS].sequence == 2
    assert not log.check.fenced
    log.report(Digest.EVENTS, 1, n2=B)
    assert log.check.fenced == {"n2": 1}


def test_who_reported_first_is_fenced_as_well() -> None:
    log = Log()
    log.report(Digest.EVENTS, 1, n2=B, n1=A, n3=A)
    assert log.check.fenced == {"n2": 1}


def test_two_of_four_are_no_majority() -> None:
    log = Log(members=Roster(("n1", "n2", "n3", "n4")))
    log.report(Digest.STATE, 1, n1=A, n2=A, n3=B)
    assert not log.check.fenced
    log.report(Digest.STATE, 1, n4=B)
    assert set(log.check.fenced) == {"n1", "n2", "n3", "n4"}


def test_where_all_differ_all_are_fenced() -> None:
    log = Log()
    log.report(Digest.STATE, 1, n1=A, n2=B)
    assert not log.check.fenced, "the third may decide it"
    log.report(Digest.STATE, 1, n3=C)
    assert set(log.check.fenced) == {"n1", "n2", "n3"}


def test_a_dispute_does_not_wait_for_a_member_that_is_away() -> None:
    log = Log()
    log.report(Digest.STATE, 1, n1=A, n2=B)
    log.time_us += DISPUTE_US
    log.entry()
    assert set(log.check.fenced) == {"n1", "n2"}


def test_nor_until_it_is_forgotten() -> None:
    log = Log()
    log.report(Digest.EVENTS, 1, n1=A, n2=B)
    log.time_us -= BALLOTS_MAX * CHECKPOINT_ENTRIES * 1_000  # so that it is not old, only long ago
    log.go_on(BALLOTS_MAX * CHECKPOINT_ENTRIES)
    assert set(log.check.fenced) == {"n1", "n2"}


def test_one_report_counts_once_and_a_strangers_never() -> None:
    log = Log()
    log.report(Digest.EVENTS, 1, n1=A)
    log.report(Digest.EVENTS, 1, n1=B, stranger=A)
    assert not log.check.agreed[Digest.EVENTS].value
    log.report(Digest.EVENTS, 2, n1=A, n2=A)
    assert not log.check.agreed[Digest.EVENTS].value, "there is no checkpoint at that entry"


def fenced() -> Log:
    log = Log()
    log.report(Digest.STATE, 1, n1=A, n2=B, n3=A)
    assert log.check.fenced == {"n2": 1}
    return log


def test_a_fenced_member_comes_back_by_the_right_hash_of_a_later_state() -> None:
    log = fenced()
    log.go_on(CHECKPOINT_ENTRIES)
    index = log.check.marked[Digest.STATE]
    log.report(Digest.EVENTS, log.check.marked[Digest.EVENTS], n1=A, n2=A, n3=A)
    assert log.check.fenced, "the events alone do not tell"
    log.report(Digest.STATE, index, n2=C, n1=C)
    assert not log.check.fenced


def test_a_fenced_member_with_another_wrong_hash_stays_fenced() -> None:
    log = fenced()
    log.go_on(CHECKPOINT_ENTRIES)
    log.report(Digest.STATE, log.check.marked[Digest.STATE], n1=C, n2=B, n3=C)
    assert log.check.fenced == {"n2": log.check.marked[Digest.STATE]}


def test_who_leaves_the_roster_is_forgotten() -> None:
    log = fenced()
    log.entry(Reads("n2", 1))
    log.entry(Roster(("n1", "n3")))
    assert not log.check.fenced
    assert not log.check.reads


def test_it_comes_back_from_its_record() -> None:
    log = fenced()
    log.report(Digest.EVENTS, 1, n3=A)
    log.entry(Reads("n3", 1))
    again = SelfCheck(log.check.record())
    again.check()
    assert again.record() == log.check.record()
    again.take(Report("n1", Digest.EVENTS, 1, A), time_us=1)
    assert again.agreed[Digest.EVENTS].value == A


# The chain ---------------------------------------------------------------------------------------


def replicate(*accounts: str, state: ReplicatedState | None = None) -> ReplicatedState:
    state = state or ReplicatedState()
    state.apply(1, 1, 1_000, Batch("", 0, 0, [], (THREE,)))
    for index, account in enumerate(accounts, start=2):
        request = Request(CreateAccount(account))
        state.apply(index, 1, 1_000, Batch("n1", 1, index - 1, [request]))
    return state


def test_equal_histories_have_equal_chains_and_others_have_others() -> None:
    one, same, other = replicate("a", "b"), replicate("a", "b"), replicate("b", "a")
    assert one.selfcheck.chain == same.selfcheck.chain
    assert one.selfcheck.chain != other.selfcheck.chain


def test_the_chain_remembers_what_the_state_does_not() -> None:
    """A command refused leaves no trace in the state but its place; its event is in the chain."""
    taken, refused = replicate("a", "a"), replicate("a", "!")
    assert taken.exchange.sequence == refused.exchange.sequence
    assert taken.selfcheck.chain != refused.selfcheck.chain


def test_the_chain_begins_from_the_state_that_it_found() -> None:
    """So it stands for everything since the founding, whenever the first roster came."""
    early = ReplicatedState()
    early.apply(1, 1, 1_000, Batch("n1", 1, 1, [Request(CreateAccount("early"))]))
    assert not early.selfcheck.has_begun
    early.apply(2, 1, 1_000, Batch("", 0, 0, [], (THREE,)))
    late = ReplicatedState()
    late.apply(1, 1, 1_000, Batch("n1", 1, 1, [Request(CreateAccount("other"))]))
    late.apply(2, 1, 1_000, Batch("", 0, 0, [], (THREE,)))
    assert early.selfcheck.chain != late.selfcheck.chain


def test_a_snapshot_on_the_way_changes_nothing() -> None:
    state = replicate("a", "b")
    again = ReplicatedState.decode(state.encode())
    for one in (state, again):
        one.apply(9, 1, 2_000, Batch("n1", 1, 3, [Request(CreateAccount("c"))]))
    assert state.encode() == again.encode()
    assert state.selfcheck.chain == again.selfcheck.chain


# The notices -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "notices",
    [
        (Checkpoint(),) * (NOTICES_MAX + 1),
        (Roster(("n",) * (ROSTER_MAX + 1)),),
        (Roster(("",)),),
        (Reads("n" * (NODE_BYTES_MAX + 1), 1),),
        (Report("n1", Digest.STATE, 1, bytes(31)),),
        (Report("", Digest.STATE, 1, bytes(32)),),
    ],
)
def test_notices_out_of_bounds_are_no_entry(notices: tuple[Notice, ...]) -> None:
    with pytest.raises(CodecError, match="notices"):
        decode_batch(encode_batch(Batch("", 0, 0, [], notices)))


def test_notices_belong_to_no_session() -> None:
    with pytest.raises(CodecError, match="session"):
        decode_batch(encode_batch(Batch("n1", 1, 1, [], (Checkpoint(),))))


def test_notices_come_back_as_they_went() -> None:
    batch = Batch("", 0, 0, [], (THREE, Reads("n1", 1), Report("n1", Digest.STATE, 5, A)))
    assert decode_batch(encode_batch(batch, time_us=3)) == (3, batch)
