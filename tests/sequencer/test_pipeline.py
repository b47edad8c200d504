"""The pipeline: what was applied is the answer; silence and lost leaders only mean asking again."""

from raft_exchange.matching.messages import (
    AccountCreated,
    AmendOrder,
    CancelAll,
    CancelOrder,
    CreateAccount,
    OrderType,
    PlaceOrder,
    Side,
    TimeInForce,
)
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.batcher import IN_FLIGHT_MAX, QUEUE_COMMANDS_MAX
from raft_exchange.sequencer.codec import Batch, Request, decode_batch, encode_batch
from raft_exchange.sequencer.outcome import Committed, Outcome, Refusal, Refused, Unknown
from raft_exchange.sequencer.pipeline import (
    CLOCK_ENTRY_S_MIN,
    REFUSED_RETRY_S,
    REQUEST_TIMEOUT_S,
    RETRY_S_MAX,
    RETRY_S_MIN,
    Pipeline,
)
from raft_exchange.sequencer.state import ReplicatedState


class Bench:
    """A pipeline on a log of one replica; the test decides what is lost and when it commits."""

    def __init__(self, *, leader: str | None = "n1") -> None:
        self.now_s = 100.0
        self.is_leader = leader == "n1"
        self.takes_proposals = True
        self.proposed: list[bytes] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.state = ReplicatedState()
        self.index = 0
        self.pipeline = Pipeline(node="n1", boot=1, log=self, wake=lambda: None)
        self.pipeline.leader_changed(leader, now_s=self.now_s)

    def propose(self, payload: bytes) -> bool:
        if self.takes_proposals:
            self.proposed.append(payload)
        return self.takes_proposals

    def submit(self, name: str, count: int = 1) -> None:
        requests = [Request(CreateAccount(f"{name}{number}")) for number in range(count)]
        self.pipeline.submit(
            requests, lambda outcomes: self._resolve(name, outcomes), now_s=self.now_s
        )

    def _resolve(self, name: str, outcomes: list[Outcome]) -> None:
        assert name not in self.outcomes, "one outcome, once"
        self.outcomes[name] = outcomes

    def tick(self, *, seconds: float = 0.0, next_due_us: int | None = None) -> None:
        self.now_s += seconds
        self.pipeline.tick(now_s=self.now_s, now_us=1_000, next_due_us=next_due_us)

    def commit(self, payload: bytes) -> Applied:
        self.index += 1
        applied = self.state.apply(self.index, 1, *decode_batch(payload))
        self.pipeline.applied(applied, now_s=self.now_s)
        return applied

    def numbers(self) -> list[int]:
        return [decode_batch(payload)[1].number for payload in self.proposed]


def test_a_request_is_answered_by_what_was_applied() -> None:
    bench = Bench()
    bench.submit("a", 2)
    bench.tick()
    assert "a" not in bench.outcomes, "proposed is not committed"
    bench.commit(bench.proposed[0])
    outcomes = bench.outcomes["a"]
    assert [o.events for o in outcomes if isinstance(o, Committed)] == [
        (AccountCreated("a0"),),
        (AccountCreated("a1"),),
    ]


def test_groups_of_one_batch_get_their_own_outcomes() -> None:
    bench = Bench()
    bench.submit("a", 2)
    bench.submit("b", 1)
    bench.tick()
    assert len(bench.proposed) == 1
    bench.commit(bench.proposed[0])
    assert [len(bench.outcomes[name]) for name in "ab"] == [2, 1]
    (committed,) = bench.outcomes["b"]
    assert isinstance(committed, Committed)
    assert committed.events == (AccountCreated("b0"),)


def test_an_empty_group_is_a_barrier_with_one_outcome() -> None:
    bench = Bench()
    bench.submit("barrier", 0)
    bench.tick()
    bench.commit(bench.proposed[0])
    (outcome,) = bench.outcomes["barrier"]
    assert isinstance(outcome, Committed)


def test_few_batches_are_in_flight_and_the_rest_share_the_next() -> None:
    bench = Bench()
    for number in range(10):
        bench.submit(f"r{number}-")
        bench.tick()
    assert bench.numbers() == list(range(1, IN_FLIGHT_MAX + 1))
    bench.commit(bench.proposed[0])
    bench.tick()
    assert bench.numbers()[-1] == IN_FLIGHT_MAX + 1
    assert len(decode_batch(bench.proposed[-1])[1].requests) == 10 - IN_FLIGHT_MAX


def test_silence_means_proposing_again_in_order_under_the_same_numbers() -> None:
    bench = Bench()
    for name in "ab":
        bench.submit(name)
        bench.tick()
    bench.tick(seconds=RETRY_S_MIN)
    assert bench.numbers() == [1, 2, 1, 2]
    for payload in bench.proposed:
        bench.commit(payload)
    assert bench.state.exchange.sequence == 6, "each applied once: four time advances, two commands"
    assert set(bench.outcomes) == {"a", "b"}


def test_repeats_come_at_growing_intervals() -> None:
    bench = Bench()
    bench.submit("a")
    bench.tick()
    for _ in range(1_000):
        bench.tick(seconds=0.01)
    assert 3 <= len(bench.proposed) <= 6
    assert RETRY_S_MAX < 10


def test_a_new_leader_is_asked_at_once() -> None:
    bench = Bench()
    bench.submit("a")
    bench.tick()
    bench.pipeline.leader_changed(None, now_s=bench.now_s)
    bench.tick(seconds=0.1)
    assert bench.numbers() == [1]
    bench.pipeline.leader_changed("n2", now_s=bench.now_s)
    bench.tick()
    assert bench.numbers() == [1, 1]


def test_a_refused_proposal_is_repeated_soon() -> None:
    bench = Bench()
    bench.submit("a")
    bench.tick()
    bench.pipeline.propose_refused(now_s=bench.now_s)
    bench.tick(seconds=REFUSED_RETRY_S)
    assert bench.numbers() == [1, 1]


def test_without_a_leader_a_request_waits_and_is_then_refused() -> None:
    bench = Bench(leader=None)
    bench.submit("a")
    bench.tick(seconds=REQUEST_TIMEOUT_S - 0.1)
    assert not bench.outcomes
    bench.tick(seconds=0.1)
    (refused,) = bench.outcomes["a"]
    assert isinstance(refused, Refused)
    assert refused.code is Refusal.NO_LEADER


def test_a_batch_that_never_left_is_refused_and_its_number_still_used() -> None:
    bench = Bench()
    bench.takes_proposals = False
    bench.submit("a")
    bench.tick()
    bench.tick(seconds=REQUEST_TIMEOUT_S)
    assert isinstance(bench.outcomes["a"][0], Refused)
    bench.takes_proposals = True
    bench.submit("b")
    bench.tick(seconds=RETRY_S_MAX)
    for payload in list(bench.proposed):
        bench.commit(payload)
    assert isinstance(bench.outcomes["b"][0], Committed)
    created = bench.state.exchange.apply(CreateAccount("a0"))
    assert created == [AccountCreated("a0")], "a refused command never runs later"


def test_a_batch_that_left_and_did_not_come_back_is_unknown() -> None:
    bench = Bench()
    bench.submit("a")
    bench.tick()
    bench.tick(seconds=REQUEST_TIMEOUT_S)
    assert bench.outcomes["a"] == [Unknown()]


def test_a_batch_given_up_may_still_win_its_number() -> None:
    bench = Bench()
    bench.submit("a")
    bench.tick()
    original = bench.proposed[0]
    bench.tick(seconds=REQUEST_TIMEOUT_S)
    bench.tick(seconds=RETRY_S_MAX)
    empty = bench.proposed[-1]
    assert decode_batch(empty)[1].requests == []
    bench.commit(original)
    assert bench.commit(empty).duplicate
    bench.submit("b")
    bench.tick()
    bench.commit(bench.proposed[-1])
    assert isinstance(bench.outcomes["b"][0], Committed)


def test_a_full_queue_refuses() -> None:
    bench = Bench(leader=None)
    for number in range(QUEUE_COMMANDS_MAX // 500):
        bench.submit(f"r{number}-", 500)
    assert not bench.outcomes
    bench.submit("late")
    assert bench.outcomes["late"] == [Refused(Refusal.OVERLOADED, "the queue of this node is full")]


def test_a_cancel_gets_through_a_queue_that_refuses_orders() -> None:
    bench = Bench()
    for number in range(QUEUE_COMMANDS_MAX // 400):
        bench.submit(f"r{number}-", 400)
    bench.submit("late")
    assert bench.outcomes["late"] == [Refused(Refusal.OVERLOADED, "the queue of this node is full")]
    for name, command in (
        ("by id", CancelOrder("ann", 7, "")),
        ("all", CancelAll("ann", None, None)),
    ):
        bench.pipeline.submit(
            [Request(command)],
            lambda outcomes, name=name: bench._resolve(name, outcomes),
            now_s=bench.now_s,
        )
    bench.tick()
    bench.commit(bench.proposed[0])
    assert all(isinstance(bench.outcomes[name][0], Committed) for name in ("by id", "all"))
    assert not any(name.startswith("r") for name in bench.outcomes), "the orders wait on"


def test_a_draining_node_finishes_what_it_took_and_takes_no_more() -> None:
    bench = Bench()
    bench.submit("a")
    bench.pipeline.drain()
    bench.submit("b")
    (refused,) = bench.outcomes["b"]
    assert isinstance(refused, Refused)
    assert refused.code is Refusal.DRAINING
    assert not bench.pipeline.is_idle
    bench.tick()
    bench.commit(bench.proposed[0])
    assert isinstance(bench.outcomes["a"][0], Committed)
    assert bench.pipeline.is_idle


def test_only_the_leader_moves_the_clock_when_something_is_due_and_not_too_often() -> None:
    follower = Bench(leader="n2")
    follower.tick(next_due_us=1_000)
    assert follower.proposed == []
    leader = Bench()
    leader.tick(next_due_us=1_001)
    assert leader.proposed == []
    leader.tick(next_due_us=1_000)
    leader.tick(next_due_us=1_000)
    assert len(leader.proposed) == 1
    leader.tick(seconds=CLOCK_ENTRY_S_MIN, next_due_us=1_000)
    assert len(leader.proposed) == 2
    assert decode_batch(leader.proposed[0])[1].requests == []


def test_one_group_overdue_does_not_take_its_batch_with_it() -> None:
    """After a long outage the requests that came last still have their time."""
    bench = Bench(leader=None)
    bench.submit("early")
    bench.tick(seconds=REQUEST_TIMEOUT_S - 1)
    bench.submit("late")
    bench.pipeline.leader_changed("n1", now_s=bench.now_s)
    bench.tick()
    bench.tick(seconds=1)
    assert bench.outcomes == {"early": [Unknown()]}
    bench.commit(bench.proposed[0])
    (late,) = bench.outcomes["late"]
    assert isinstance(late, Committed)
    assert late.events == (AccountCreated("late0"),)


def test_a_session_of_this_node_from_its_future_ends_ours_and_a_new_one_goes_on() -> None:
    """A folder restored where the clock stands behind: its numbers mean nothing any more."""
    bench = Bench()
    bench.submit("a")
    bench.tick()
    foreign = encode_batch(Batch("n1", 7, 1, [Request(CreateAccount("x"))]))
    bench.commit(foreign)
    assert not bench.outcomes, "another life's batch is nobody's answer"
    assert bench.commit(bench.proposed[0]).duplicate
    bench.tick()
    again = decode_batch(bench.proposed[-1])[1]
    assert (again.boot, again.number) == (8, 1)
    bench.commit(bench.proposed[-1])
    (outcome,) = bench.outcomes["a"]
    assert isinstance(outcome, Committed)
    assert outcome.events == (AccountCreated("a0"),)


def test_barriers_count_against_the_queue() -> None:
    bench = Bench(leader=None)
    for number in range(QUEUE_COMMANDS_MAX):
        bench.submit(f"b{number}-", 0)
    assert not bench.outcomes
    bench.submit("one-more", 0)
    assert isinstance(bench.outcomes["one-more"][0], Refused)


def test_read_only_refuses_new_and_amended_orders_and_takes_everything_else() -> None:
    """What was taken before goes on; an order next to a cancel fails both: they share one fate."""
    bench = Bench()
    terms = (Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 1, 1, 0, False, None, "")
    place = PlaceOrder("a", "BTC-USD", *terms)
    amend = AmendOrder("a", 1, 1, None)
    cancel, cancel_all = CancelOrder("a", 1, ""), CancelAll("a", None, None)
    groups = {
        "before": [place],
        "place": [place],
        "amend": [amend],
        "with_account": [CreateAccount("a"), place],
        "mixed": [cancel, place],
        "cancel": [cancel],
        "cancel_all": [cancel_all],
        "account": [CreateAccount("b")],
        "barrier": [],
    }
    for name, commands in groups.items():
        bench.pipeline.set_read_only(name != "before")
        bench.pipeline.submit(
            [Request(command) for command in commands],
            lambda outcomes, name=name: bench._resolve(name, outcomes),  # type: ignore[misc]
            now_s=bench.now_s,
        )
    refused = {name for name, (first, *_) in bench.outcomes.items()}
    assert refused == {"place", "amend", "with_account", "mixed"}
    for name in refused:
        for outcome in bench.outcomes[name]:
            assert isinstance(outcome, Refused)
            assert outcome.code is Refusal.READ_ONLY
    bench.tick()
    for payload in list(bench.proposed):
        bench.commit(payload)
    bench.tick()
    for payload in bench.proposed[1:]:
        bench.commit(payload)
    assert bench.outcomes.keys() == groups.keys()
    bench.pipeline.set_read_only(False)
    bench.submit("again")
    assert "again" not in bench.outcomes


def test_each_proposal_is_counted_by_what_became_of_it() -> None:
    leading = Bench()
    leading.submit("a")
    leading.tick()
    assert leading.pipeline.tallies.proposals == {
        "appended": 1,
        "forwarded": 0,
        "not_sent": 0,
        "refused": 0,
    }
    following = Bench(leader="n2")
    following.submit("a")
    following.tick()
    following.pipeline.propose_refused(now_s=following.now_s)
    following.takes_proposals = False
    following.tick(seconds=REFUSED_RETRY_S)
    assert following.pipeline.tallies.proposals == {
        "appended": 0,
        "forwarded": 1,
        "not_sent": 1,
        "refused": 1,
    }
