"""The replicated state: sessions without gaps, first results under a key, deadlines, snapshots."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.matching.limits import IDEMPOTENCY_WINDOW_US, SESSIONS_MAX
from raft_exchange.matching.messages import (
    AccountCreated,
    CancelAll,
    CommandRefused,
    CreateAccount,
    CreateKey,
    KeyKind,
    RejectCode,
    RevokeKey,
    Scope,
    TimeAdvanced,
)
from raft_exchange.matching.versions import VERSIONS, NewerVersion
from raft_exchange.sequencer import state
from raft_exchange.sequencer.applied import Applied
from raft_exchange.sequencer.codec import Batch, Request
from raft_exchange.sequencer.idempotency import IdempotencyWindow
from raft_exchange.sequencer.state import (
    BOUNDED_SINCE,
    MISMATCH,
    ReplicatedState,
    SnapshotError,
)


class Log:
    """A log of one replica: appends and applies in one step."""

    def __init__(self) -> None:
        self.state = ReplicatedState()
        self.index = 0

    def append(
        self,
        *requests: Request,
        node: str = "n1",
        boot: int = 1,
        number: int,
        time_us: int = 1_000,
    ) -> Applied:
        self.index += 1
        batch = Batch(node, boot, number, list(requests))
        return self.state.apply(self.index, 1, time_us, batch)


def create(name: str, key: str = "", deadline_us: int = 0) -> Request:
    return Request(CreateAccount(name), key, deadline_us)


def test_an_entry_begins_with_the_time_advance() -> None:
    applied = Log().append(create("a"), number=1)
    assert applied.results[0].events == (TimeAdvanced(1_000),)
    assert applied.results[1].events == (AccountCreated("a"),)
    assert [result.sequence for result in applied.results] == [1, 2]


def test_a_revoked_key_is_worth_nothing_from_its_revocation_on() -> None:
    """It is not even told the earlier result of its own request, and stores none itself."""
    log = Log()
    log.state.exchange.version = VERSIONS.newest
    bearer = CreateKey("ann", "k1", KeyKind.BEARER, bytes(32), int(Scope.TRADE), "")
    cancel = Request(CancelAll("ann", None, None), "key", key_id="k1")
    log.append(create("ann"), Request(bearer), cancel, number=1)
    assert log.append(cancel, number=2).results[1].replayed_sequence
    both = [Request(RevokeKey("ann", "k1")), cancel]
    refused = CommandRefused(RejectCode.UNAUTHENTICATED, "key_id")
    assert log.append(*both, number=3).results[2].events == (refused,)
    later = Request(CancelAll("ann", None, None), "other", key_id="k1")
    log.append(later, number=4)
    assert log.state.stored("ann", "other") is None
    log.state.check()


def test_the_logged_clock_never_goes_back() -> None:
    log = Log()
    log.append(number=1, time_us=2_000)
    assert log.append(number=2, time_us=1_000).time_us == 2_000


def test_a_repeated_number_changes_nothing_but_time() -> None:
    log = Log()
    log.append(create("a"), number=1)
    repeat = log.append(create("b"), number=1)
    assert repeat.duplicate
    assert len(repeat.results) == 1
    assert not log.append(create("b"), number=2).duplicate


def test_a_number_that_overtook_waits_for_the_one_before() -> None:
    """A high-water mark would take 2 and then lose 1."""
    log = Log()
    assert log.append(create("b"), number=2).duplicate
    assert not log.append(create("a"), number=1).duplicate
    assert not log.append(create("b"), number=2).duplicate


def test_a_new_boot_begins_at_one_and_ends_the_old() -> None:
    log = Log()
    log.append(create("a"), number=1)
    assert log.append(create("b"), boot=2, number=2).duplicate
    assert not log.append(create("b"), boot=2, number=1).duplicate
    assert log.append(create("c"), boot=1, number=2).duplicate


def test_nodes_number_apart() -> None:
    log = Log()
    log.append(create("a"), number=1)
    assert not log.append(create("b"), node="n2", number=1).duplicate


def test_sessions_are_bounded_and_the_one_used_longest_ago_goes() -> None:
    log = Log()
    for number in range(SESSIONS_MAX + 1):
        log.append(node=f"n{number}", number=1)
    log.state.check()
    assert log.append(node="n0", number=2).duplicate
    assert not log.append(node="n2", number=2).duplicate


def test_the_first_result_comes_back_under_its_key() -> None:
    log = Log()
    first = log.append(create("a", key="k"), number=1).results[1]
    again = log.append(create("a", key="k"), node="n2", number=1).results[1]
    assert again.events == first.events == (AccountCreated("a"),)
    assert again.replayed_sequence == first.sequence
    assert again.replayed_time_us == 1_000
    assert again.sequence > first.sequence


def test_a_refusal_is_a_first_result_too() -> None:
    log = Log()
    log.append(create("a"), number=1)
    refused = log.append(create("a", key="k"), number=2).results[1]
    assert refused.events == (CommandRefused(RejectCode.ALREADY_EXISTS, "account"),)
    again = log.append(create("a", key="k"), number=3).results[1]
    assert again.replayed_sequence == refused.sequence


def test_another_command_under_a_known_key_is_refused() -> None:
    log = Log()
    # Both belong to the account "a", under which the key is kept.
    log.append(create("a", key="k"), number=1)
    other = log.append(Request(CancelAll("a", None, None), "k"), number=2).results[1]
    assert other.events == (CommandRefused(RejectCode.IDEMPOTENCY_MISMATCH, "idempotency_key"),)
    assert other.replayed_sequence == 0


def test_a_batch_of_another_length_under_a_known_key_is_refused_whole() -> None:
    """Were its items judged alone, the added one would run anew."""
    log = Log()

    def batch(*names: str) -> list[Request]:
        head = Request(CreateAccount(names[0]), "k", followers=len(names) - 1)
        return [head, *(create(name, key=f"k/{n}") for n, name in enumerate(names[1:]))]

    # The account of a created account is itself: give all the same one by creating "a" only.
    log.append(*batch("a", "a"), number=1)
    longer = log.append(*batch("a", "a", "a"), number=2)
    assert [result.events for result in longer.results[1:]] == [(MISMATCH,)] * 3
    again = log.append(*batch("a", "a"), number=3)
    assert all(result.replayed_sequence for result in again.results[1:])


def test_a_key_is_forgotten_after_its_window() -> None:
    log = Log()
    log.append(create("a", key="k"), number=1, time_us=1)
    late = log.append(create("a", key="k"), number=2, time_us=1 + IDEMPOTENCY_WINDOW_US)
    assert late.results[1].events == (CommandRefused(RejectCode.ALREADY_EXISTS, "account"),)


@pytest.mark.parametrize("version", [BOUNDED_SINCE - 1, BOUNDED_SINCE])
def test_bytes_of_results_are_bounded_since_a_version_and_the_same_when_restored(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Older logs are replayed as they were applied."""
    small = functools.partial(IdempotencyWindow, bytes_max=200)
    monkeypatch.setattr(state, "IdempotencyWindow", small)
    log = Log()
    log.state.exchange.version = version
    for number in range(1, 21):
        log.append(create(f"a{number}", key=f"k{number}"), number=number)
    is_bounded = version >= BOUNDED_SINCE
    assert (log.state.bytes_remembered <= 200) is is_bounded
    assert (log.state.keys_remembered == 20) is not is_bounded
    log.state.check()
    restored = ReplicatedState.decode(log.state.encode())
    assert restored.encode() == log.state.encode()
    assert restored.bytes_remembered == log.state.bytes_remembered


def test_a_request_past_its_deadline_is_refused_and_one_at_it_is_not() -> None:
    log = Log()
    at_it = log.append(create("a", deadline_us=1_000), number=1, time_us=1_000)
    assert at_it.results[1].events == (AccountCreated("a"),)
    past = log.append(create("b", deadline_us=1_000), number=2, time_us=1_001)
    assert past.results[1].events == (CommandRefused(RejectCode.DEADLINE_PASSED, "deadline"),)


def test_the_first_result_comes_before_the_deadline() -> None:
    """A lost answer can be asked for after the deadline of the request that got it."""
    log = Log()
    log.append(create("a", key="k", deadline_us=1_000), number=1, time_us=1_000)
    late = log.append(create("a", key="k", deadline_us=1_000), number=2, time_us=5_000)
    assert late.results[1].events == (AccountCreated("a"),)


def test_a_clock_entry_needs_no_session_and_carries_nothing() -> None:
    log = Log()
    assert not log.append(node="", boot=0, number=0).duplicate
    smuggled = log.append(create("a"), node="", boot=0, number=0)
    assert smuggled.duplicate
    assert len(smuggled.results) == 1


def test_a_restored_state_goes_on_as_the_one_it_came_from() -> None:
    log = Log()
    log.append(create("a", key="k"), create("b"), number=1)
    restored = Log()
    restored.state = ReplicatedState.decode(log.state.encode())
    restored.index = log.index
    assert restored.state.state_hash() == log.state.state_hash()
    for copy in (log, restored):
        copy.append(create("a", key="k"), create("c", key="l"), number=2)
        copy.append(create("x"), number=2)
        copy.state.check()
    assert restored.state.encode() == log.state.encode()


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_a_damaged_snapshot_raises_only_its_own_error(noise: bytes, position: int) -> None:
    log = Log()
    log.append(create("a", key="k"), number=1)
    data = log.state.encode()
    at = position % len(data)
    for damaged in (noise, data[:at], data[:at] + noise + data[at:]):
        try:
            ReplicatedState.decode(damaged)
        except SnapshotError:
            continue


def test_a_snapshot_of_another_format_is_refused() -> None:
    data = ReplicatedState().encode()
    assert data[1] == 1
    with pytest.raises(NewerVersion, match="of version 2; this release reads versions up to 1"):
        ReplicatedState.decode(data[:1] + b"\x02" + data[2:])
