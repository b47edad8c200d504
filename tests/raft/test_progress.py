"""What a leader may send one follower, and what that follower's answers tell it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.raft.progress import IN_FLIGHT_BYTES_MAX, Progress


def probing(*, last_index: int = 10) -> Progress:
    """What a leader with `last_index` entries knows of a follower it has not heard."""
    return Progress(last_index=last_index, now_s=0.0)


def replicating(*, match_index: int = 10) -> Progress:
    """What it knows of one that has answered yes."""
    progress = probing(last_index=match_index)
    progress.sent(last_index=match_index, size_bytes=0, now_s=0.0)
    progress.accepted(match_index)
    return progress


def test_a_new_leader_assumes_that_the_follower_has_everything_and_nothing() -> None:
    """It asks at its own end; it counts the follower for nothing before the answer."""
    progress = probing(last_index=10)
    assert progress.is_probing
    assert (progress.next_index, progress.match_index) == (11, 0)
    assert progress.may_send_entries()


def test_one_probe_is_outstanding_at_a_time() -> None:
    progress = probing()
    progress.sent(last_index=10, size_bytes=0, now_s=1.0)
    assert not progress.may_send_entries()
    assert progress.sent_at_s == 1.0


def test_an_overdue_probe_may_be_sent_again_from_the_same_place() -> None:
    progress = probing()
    progress.sent(last_index=12, size_bytes=100, now_s=1.0)
    progress.retry_probe()
    assert progress.may_send_entries()
    assert progress.next_index == 11


def test_a_probe_does_not_assume_that_its_entries_arrive() -> None:
    progress = probing()
    progress.sent(last_index=20, size_bytes=100, now_s=1.0)
    assert progress.next_index == 11


def test_a_yes_ends_the_probing() -> None:
    progress = probing()
    progress.sent(last_index=12, size_bytes=100, now_s=1.0)
    assert progress.accepted(12)
    assert not progress.is_probing
    assert (progress.match_index, progress.next_index) == (12, 13)
    assert progress.may_send_entries()


def test_a_no_moves_the_probe_to_behind_the_hint() -> None:
    progress = probing(last_index=10)
    progress.sent(last_index=10, size_bytes=0, now_s=1.0)
    progress.rejected(previous_index=10, hint_index=4)
    assert progress.is_probing
    assert progress.next_index == 5
    assert progress.may_send_entries()


def test_a_no_to_an_earlier_probe_is_not_an_answer_to_the_newest() -> None:
    """The stock library goes back and forth for ever on such answers (B5)."""
    progress = probing(last_index=10)
    progress.sent(last_index=10, size_bytes=0, now_s=1.0)
    progress.rejected(previous_index=10, hint_index=4)
    progress.sent(last_index=4, size_bytes=0, now_s=1.1)
    progress.rejected(previous_index=10, hint_index=8)
    assert progress.next_index == 5
    assert not progress.may_send_entries()


def test_each_no_moves_the_probe_further_back() -> None:
    """Even a hint that makes no sense does not send the leader forward or in a circle."""
    progress = probing(last_index=10)
    for expected in range(10, 1, -1):
        progress.sent(last_index=progress.next_index - 1, size_bytes=0, now_s=1.0)
        previous_index = progress.next_index - 1
        progress.rejected(previous_index=previous_index, hint_index=previous_index + 7)
        assert progress.next_index == expected
    assert progress.next_index == 2


def test_a_no_never_leads_below_what_is_known_to_match() -> None:
    progress = replicating(match_index=10)
    progress.probe()
    progress.sent(last_index=10, size_bytes=0, now_s=1.0)
    progress.rejected(previous_index=10, hint_index=3)
    assert (progress.match_index, progress.next_index) == (10, 11)


def test_messages_are_pipelined_up_to_a_bound_in_bytes() -> None:
    progress = replicating(match_index=10)
    half = IN_FLIGHT_BYTES_MAX // 2
    progress.sent(last_index=20, size_bytes=half, now_s=1.0)
    assert progress.next_index == 21
    assert progress.may_send_entries()
    progress.sent(last_index=30, size_bytes=half, now_s=1.0)
    assert progress.next_index == 31
    assert not progress.may_send_entries()
    progress.accepted(20)
    assert progress.may_send_entries()


def test_a_heartbeat_is_not_in_flight() -> None:
    progress = replicating(match_index=10)
    progress.sent(last_index=20, size_bytes=IN_FLIGHT_BYTES_MAX - 1, now_s=1.0)
    progress.sent(last_index=20, size_bytes=0, now_s=2.0)
    assert progress.next_index == 21
    assert progress.may_send_entries()
    progress.accepted(20)
    progress.sent(last_index=30, size_bytes=IN_FLIGHT_BYTES_MAX - 1, now_s=1.0)
    assert progress.may_send_entries()


def test_a_yes_says_whether_it_is_news_and_never_takes_back_an_earlier_one() -> None:
    progress = replicating(match_index=10)
    progress.sent(last_index=20, size_bytes=100, now_s=1.0)
    assert progress.accepted(20)
    assert not progress.accepted(20)
    assert not progress.accepted(15)
    assert (progress.match_index, progress.next_index) == (20, 21)


def test_a_yes_to_the_first_of_several_messages_leaves_the_rest_in_flight() -> None:
    progress = replicating(match_index=10)
    for last_index in (20, 30):
        progress.sent(last_index=last_index, size_bytes=100, now_s=1.0)
    progress.accepted(20)
    assert (progress.match_index, progress.next_index) == (20, 31)


def test_a_no_to_a_pipelined_message_starts_over_from_what_matches() -> None:
    progress = replicating(match_index=10)
    progress.sent(last_index=20, size_bytes=IN_FLIGHT_BYTES_MAX, now_s=1.0)
    progress.rejected(previous_index=20, hint_index=10)
    assert progress.is_probing
    assert progress.next_index == 11
    assert progress.may_send_entries()


def test_a_no_below_what_matches_is_stale() -> None:
    progress = replicating(match_index=10)
    progress.sent(last_index=20, size_bytes=100, now_s=1.0)
    progress.rejected(previous_index=10, hint_index=2)
    assert not progress.is_probing
    assert progress.next_index == 21


def test_a_lost_connection_takes_what_was_in_flight_with_it() -> None:
    """Counted on, it would hold back the rest as soon as a first part has arrived again."""
    progress = replicating(match_index=10)
    progress.sent(last_index=30, size_bytes=IN_FLIGHT_BYTES_MAX, now_s=1.0)
    progress.probe()
    assert (progress.match_index, progress.next_index) == (10, 11)
    assert progress.may_send_entries()
    progress.sent(last_index=20, size_bytes=1, now_s=2.0)
    progress.accepted(20)
    assert progress.may_send_entries()


def test_a_lost_connection_before_any_answer_leaves_the_probe_where_it_was() -> None:
    progress = probing(last_index=10)
    progress.sent(last_index=10, size_bytes=0, now_s=1.0)
    progress.rejected(previous_index=10, hint_index=4)
    progress.probe()
    assert progress.next_index == 5


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("accept"), st.integers(0, 40), st.booleans()),
        st.tuples(st.just("reject"), st.integers(1, 40), st.booleans()),
        st.tuples(st.just("lose"), st.just(0), st.booleans()),
        st.tuples(st.just("retry"), st.just(0), st.booleans()),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_is_answered_the_rules_hold(steps: list[tuple[str, int, bool]]) -> None:
    """`match_index` only grows, and `next_index` stays above it and within the log."""
    last_index = 40
    progress = probing(last_index=10)
    for kind, number, is_empty in steps:
        match_before = progress.match_index
        if kind == "send" and progress.may_send_entries():
            sent_last = min(progress.next_index - 1 + number * (not is_empty), last_index)
            size_bytes = 100 * (sent_last - progress.next_index + 1)
            progress.sent(last_index=sent_last, size_bytes=size_bytes, now_s=0.0)
        elif kind == "accept" and number:
            progress.accepted(number)
            assert progress.match_index == max(match_before, number)
        elif kind == "reject":
            progress.rejected(previous_index=number, hint_index=max(1, number - 3))
        elif kind == "lose":
            progress.probe()
        elif kind == "retry":
            progress.retry_probe()
        assert match_before <= progress.match_index < progress.next_index <= last_index + 1
