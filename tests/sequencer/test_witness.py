"""What a node says of itself through the log: until it is heard, and not for ever."""

from __future__ import annotations

from raft_exchange.raft.hooks import Standing
from raft_exchange.sequencer.codec import Batch, decode_batch
from raft_exchange.sequencer.notices import Digest, Notice, Reads, Report, Roster
from raft_exchange.sequencer.state import ReplicatedState
from raft_exchange.sequencer.witness import LAST_WORDS_MAX, Witness
from tests.support.sim_node import InlineHasher, SimFence

OTHER = b"x" * 32


class Bench:
    """One node's witness; what it proposes is lost unless `is_heard`."""

    def __init__(self, *, is_settled: bool = False) -> None:
        self.is_settled = is_settled
        self.member_ids = ["n1", "n2", "n3"]
        self.state = ReplicatedState()
        self.fence = SimFence()
        self.witness = Witness(
            node="n1", state=self.state, group=self, hasher=InlineHasher(), fence=self.fence
        )
        self.said: list[Notice] = []
        self.is_heard = False
        self.index = 0
        self.now_s = 0.0

    def propose(self, payload: bytes) -> bool:
        notices = decode_batch(payload)[1].notices
        self.said.extend(notices)
        if self.is_heard:
            self.apply(*notices)
        return True

    def apply(self, *notices: Notice) -> None:
        self.index += 1
        batch = Batch("", 0, 0, [], notices)
        self.witness.applied(self.state.apply(self.index, 1, 1_000, batch))

    def run(self, seconds: int) -> None:
        for _ in range(100 * seconds):
            self.now_s += 0.01
            self.witness.tick(now_s=self.now_s)


def test_a_settled_leader_tells_the_roster_and_nobody_else_does() -> None:
    follower, leader = Bench(), Bench(is_settled=True)
    follower.run(3)
    leader.run(3)
    assert not follower.said
    assert set(leader.said) == {Roster(("n1", "n2", "n3"))}
    assert len(leader.said) == 3, "again each second until it is heard"


def test_what_was_heard_is_said_once() -> None:
    bench = Bench(is_settled=True)
    bench.is_heard = True
    bench.run(5)
    kinds = [type(notice) for notice in bench.said]
    assert kinds == [Roster, Reads, Report, Report]


def differing() -> Bench:
    """The others have agreed on another state at the first checkpoint."""
    bench = Bench()
    bench.apply(Roster(("n1", "n2", "n3")))
    bench.apply(*(Report(node, Digest.STATE, 1, OTHER) for node in ("n2", "n3")))
    return bench


def test_who_finds_itself_to_differ_is_fenced_and_says_by_what() -> None:
    bench = differing()
    bench.run(1)
    assert bench.witness.standing is Standing.FENCED
    assert f"of a majority {OTHER.hex()}" in bench.fence.reason


def test_it_says_so_again_because_what_it_proposes_may_be_lost_but_not_for_ever() -> None:
    """A leader's own proposals are lost as it makes way."""
    bench = differing()
    bench.run(2 * LAST_WORDS_MAX)
    words = bench.said[-1]
    assert isinstance(words, Report)
    assert (words.node, words.digest, words.index) == ("n1", Digest.STATE, 1)
    assert words.value != OTHER
    assert bench.said.count(words) == 1 + LAST_WORDS_MAX


def test_it_says_so_again_before_the_checkpoint_is_forgotten() -> None:
    bench = differing()
    bench.run(1)
    again = bench.said.count(bench.said[-1]) - 1
    assert again == 4, "after 0.05, 0.15, 0.35 and 0.75 s"
