"""A follower's log meets its leader's: compared first, cut only where they differ.

The model: histories as Raft makes them. Each term's leader begins with a log that has everything
committed before, adds entries of its term, and says any run of its log, in any order, repeatedly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.raft import following
from raft_exchange.raft.following import HistoriesDiffer, conflict
from raft_exchange.raft.journal import Journal, LogEntry
from raft_exchange.raft.library import NO_OP
from raft_exchange.raft.membership import Configuration
from raft_exchange.raft.membership import History as Configurations
from raft_exchange.raft.progress import Progress
from raft_exchange.raft.wire import AppendEntries, Entry
from tests.support.disk import Disk

FIRST: LogEntry = (NO_OP, 1, 0)
"""The entry with which the library begins every log."""


def log_of(*terms: int) -> list[LogEntry]:
    """Return the first entry, and one of each of these terms."""
    return [FIRST, *((b"%d-%d" % (i, term), i, term) for i, term in enumerate(terms, start=2))]


def append_missing(log: Journal, commit_index: int, message: AppendEntries) -> int:
    """Where no entry says who the members are."""
    return following.append_missing(
        log, commit_index, message, Configurations(Configuration(("A",)))
    )


def journal_of(entries: list[LogEntry]) -> Journal:
    journal = Journal(Disk().directory(), segment_bytes=4096)
    for entry in entries:
        journal.add(*entry)
    return journal


def said(
    leader: list[LogEntry], *, previous: int, count: int = 100, commit: int = 1
) -> AppendEntries:
    """Return what the leader with that log says after the entry at `previous`."""
    entries = [Entry(*entry) for entry in leader[previous : previous + count]]
    return AppendEntries(leader[-1][2], commit, previous, leader[previous - 1][2], entries)


# Where the logs may meet -------------------------------------------------------------------------


def test_equal_logs_meet() -> None:
    log = log_of(1, 1, 2)
    assert conflict(journal_of(log), 1, said(log, previous=4)) is None


def test_a_log_that_is_too_short_may_meet_at_its_end() -> None:
    leader = log_of(1, 1, 2, 2, 2)
    assert conflict(journal_of(log_of(1, 1)), 1, said(leader, previous=6)) == 3


def test_a_whole_term_that_differs_is_skipped_at_once() -> None:
    """One round trip for each term, not one for each entry (B5)."""
    follower = journal_of(log_of(1, 1, 2, 2, 2, 2, 2, 2))
    leader = log_of(1, 1, 3, 3, 3, 3, 3, 3)
    assert conflict(follower, 1, said(leader, previous=8)) == 3


def test_what_is_committed_is_never_in_doubt() -> None:
    follower = journal_of(log_of(1, 1, 2, 2))
    leader = log_of(1, 1, 3, 3)
    assert conflict(follower, 3, said(leader, previous=5)) == 3
    assert conflict(follower, 3, said(leader, previous=3)) is None
    assert conflict(follower, 3, said(leader, previous=2)) is None


def test_a_run_of_the_differing_term_is_skipped_down_to_the_commit_index_only() -> None:
    follower = journal_of(log_of(2, 2, 2, 2))
    leader = log_of(2, 2, 3, 3)
    assert conflict(follower, 3, said(leader, previous=5)) == 3


# What is appended --------------------------------------------------------------------------------


def test_missing_entries_are_appended() -> None:
    leader = log_of(1, 1, 2, 2)
    follower = journal_of(leader[:3])
    assert append_missing(follower, 1, said(leader, previous=3)) == 5
    assert follower[:] == leader


def test_what_is_there_already_is_left_alone() -> None:
    """Not cut and appended again: nothing waits for the disk."""
    leader = log_of(1, 1, 2, 2)
    follower = journal_of(leader)
    follower.sync()
    assert append_missing(follower, 1, said(leader, previous=1)) == 5
    assert follower[:] == leader
    assert not follower.pending


def test_a_message_that_ends_earlier_cuts_nothing() -> None:
    """The defect A3 of the stock library: it deletes what follows the message's previous entry."""
    leader = log_of(1, 1, 2, 2)
    follower = journal_of(leader)
    for previous in range(1, 6):
        for count in range(2):
            message = said(leader, previous=previous, count=count)
            assert append_missing(follower, 1, message) == min(previous + count, 5)
            assert follower[:] == leader


def test_the_first_entry_that_differs_and_all_after_it_go() -> None:
    follower = journal_of(log_of(1, 1, 2, 2, 2))
    leader = log_of(1, 1, 3)
    assert append_missing(follower, 1, said(leader, previous=2)) == 4
    assert follower[:] == leader


def test_a_heartbeat_answers_for_what_was_compared_only() -> None:
    """A longer log does not make it more: its tail was not compared."""
    follower = journal_of(log_of(1, 1, 2, 2, 2))
    leader = log_of(1, 1)
    assert append_missing(follower, 1, said(leader, previous=2, count=0)) == 2
    assert follower.last_index == 6


# Any history -------------------------------------------------------------------------------------


@dataclass
class History:
    """What Raft's leaders did, and what they said of it, by term."""

    logs: list[list[LogEntry]] = field(default_factory=lambda: [[FIRST]])
    committed: list[LogEntry] = field(default_factory=lambda: [FIRST])
    messages: list[tuple[list[LogEntry], AppendEntries]] = field(default_factory=list)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw leaders with the log-matching property and complete with respect to what committed."""
    history = History()
    term = 0
    for _ in range(draw(st.integers(1, 6))):
        term += draw(st.integers(1, 2))
        complete = [
            log for log in history.logs if log[: len(history.committed)] == history.committed
        ]
        origin = draw(st.sampled_from(complete))
        leader = origin[: draw(st.integers(len(history.committed), len(origin)))]
        first_index = len(leader) + 1
        for index in range(first_index, first_index + draw(st.integers(1, 6))):
            leader = [*leader, (b"%d-%d" % (index, term), index, term)]
        history.logs.append(leader)
        # Only entries of the leader's own term commit by being counted (Raft section 5.4.2).
        commit = draw(
            st.sampled_from([len(history.committed), *range(first_index, len(leader) + 1)])
        )
        history.committed = leader[:commit]
        for _ in range(draw(st.integers(0, 6))):
            previous = draw(st.integers(1, len(leader)))
            count = draw(st.integers(0, len(leader) - previous))
            message = AppendEntries(
                term,
                draw(st.integers(1, commit)),
                previous,
                leader[previous - 1][2],
                [Entry(*entry) for entry in leader[previous : previous + count]],
            )
            history.messages.append((leader, message))
    return history


@given(histories())
def test_no_history_changes_what_a_follower_has_committed(history: History) -> None:
    """After each message: the committed prefix stands, and the log is what a dumb merge gives.

    The dumb merge: if the message's run is all there, nothing changes; otherwise the log becomes
    the leader's up to the end of that run.
    """
    follower = journal_of([FIRST])
    commit = 1
    for leader, message in history.messages:
        before = follower[:]
        hint = conflict(follower, commit, message)
        if hint is not None:
            assert commit <= hint < message.previous_index
            assert before[: message.previous_index] != leader[: message.previous_index]
            assert follower[:] == before
            continue
        match = append_missing(follower, commit, message)
        assert match == message.previous_index + len(message.entries)
        run = leader[:match]
        assert follower[:] == (before if before[:match] == run else run)
        commit = max(commit, min(message.commit_index, match))
        assert follower[:commit] == history.committed[:commit]
        follower.check()


@given(histories(), st.data())
def test_a_follower_of_any_past_meets_its_leader_within_a_trip_for_each_term(
    history: History, data: st.DataObject
) -> None:
    """The leader's side and the follower's together: what B5 never ends on the stock library."""
    follower = journal_of(data.draw(st.sampled_from(history.logs)))
    leader = history.logs[-1]
    differing_terms = {term for _, _, term in follower[:]} - {0}
    progress = Progress(last_index=len(leader), now_s=0.0)
    trips = 0
    while progress.match_index < len(leader):
        previous = progress.next_index - 1
        message = said(leader, previous=previous)
        progress.sent(last_index=len(leader), size_bytes=1, now_s=0.0)
        hint = conflict(follower, 1, message)
        if hint is None:
            progress.accepted(append_missing(follower, 1, message))
        else:
            progress.rejected(previous_index=previous, hint_index=hint)
        trips += 1
        assert trips <= 2 + len(differing_terms), "to the end of the follower's log, then by terms"
    assert follower[:] == leader


def test_a_leader_whose_history_differs_from_what_is_committed_here_is_not_followed() -> None:
    """Two clusters in one, or a folder from elsewhere: going on would differ in silence."""
    journal = journal_of(log_of(1, 1, 1))
    leader = log_of(1, 2, 2)
    with pytest.raises(HistoriesDiffer, match=r"entry 3 is committed here in term 1, .* term 2"):
        conflict(journal, 4, said(leader, previous=3, commit=4))
    with pytest.raises(HistoriesDiffer):
        append_missing(journal, 4, said(leader, previous=1, commit=4))
    assert conflict(journal, 2, said(leader, previous=3, commit=4)) == 2, (
        "not committed: a conflict"
    )
