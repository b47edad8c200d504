"""Whom a node asks: the proved whenever due, a few strangers by lot, nobody for ever."""

from __future__ import annotations

import random

import msgspec

from raft_exchange.candidates import (
    ASKED_AT_ONCE_MAX,
    HEARSAY_S_MAX,
    RETRY_S_MAX,
    STRANGERS_MAX,
    STRANGERS_PER_ROUND_MAX,
    TRUSTED_MAX,
    Candidates,
)
from tests.support.forming import statement

A, B, C = (f"http://10.0.0.{number}:8081" for number in (1, 2, 3))


def made() -> Candidates:
    return Candidates(choose=random.Random(7).sample)


def urls(count: int) -> list[str]:
    return [f"http://10.1.{number // 250}.{number % 250}:80" for number in range(count)]


def test_what_was_heard_of_is_asked_once_at_a_time() -> None:
    candidates = made()
    candidates.heard_of([A, A, B], now_s=0)
    assert sorted(candidates.take_due(now_s=0)) == [A, B]
    candidates.heard_of([A], now_s=1)
    assert candidates.take_due(now_s=1) == []


def test_hearsay_alone_makes_nobody_a_node() -> None:
    candidates = made()
    candidates.heard_of([A], now_s=0)
    assert candidates.sightings(since_s=0) == []
    candidates.take_due(now_s=0)
    candidates.failed(A, now_s=0)
    assert candidates.sightings(since_s=0) == []


def test_a_node_that_answered_is_asked_again_when_it_is_due_and_remembered_by_its_id() -> None:
    candidates = made()
    candidates.heard_of([A], now_s=0)
    candidates.take_due(now_s=0)
    candidates.answered(A, statement("n1"), now_s=1, again_s=3)
    assert [one.statement.id for one in candidates.sightings(since_s=1)] == ["n1"]
    assert candidates.sightings(since_s=1.5) == []
    assert candidates.seen_at_s("n1") == 1
    assert candidates.seen_at_s("n2") is None
    candidates.heard_of([A], now_s=2)
    assert candidates.take_due(now_s=2) == []
    assert candidates.take_due(now_s=3) == [A]


def test_who_does_not_answer_is_asked_after_a_pause_that_doubles_up_to_a_bound() -> None:
    candidates = made()
    now_s, pauses_s = 0.0, []
    candidates.heard_of([A], now_s=now_s)
    for _ in range(10):
        asked_s = now_s
        while A not in candidates.take_due(now_s=now_s):
            now_s += 0.01
            candidates.heard_of([A], now_s=now_s)
        pauses_s.append(round(now_s - asked_s, 1))
        candidates.failed(A, now_s=now_s)
    assert pauses_s == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, RETRY_S_MAX, RETRY_S_MAX, RETRY_S_MAX]


def test_of_thousands_of_strangers_a_few_are_asked_each_round_and_all_have_a_chance() -> None:
    candidates = made()
    candidates.heard_of(urls(900), now_s=0)
    asked: set[str] = set()
    for turn in range(2_000):
        chosen = candidates.take_due(now_s=float(turn))
        assert len(chosen) <= STRANGERS_PER_ROUND_MAX
        candidates.heard_of(urls(900), now_s=float(turn))
        for url in chosen:
            candidates.failed(url, now_s=float(turn))
        asked.update(chosen)
    assert len(asked) == 900


def test_the_proved_do_not_wait_behind_strangers() -> None:
    candidates = made()
    for number, url in enumerate(urls(10)):
        candidates.answered(url, statement(f"n{number}"), now_s=0, again_s=1)
    candidates.heard_of([f"http://10.9.0.{number}:1" for number in range(250)], now_s=0)
    assert set(urls(10)) <= set(candidates.take_due(now_s=1))


def test_questions_that_nobody_answers_do_not_pile_up() -> None:
    candidates = made()
    candidates.heard_of(urls(900), now_s=0)
    asked = sum(len(candidates.take_due(now_s=float(turn))) for turn in range(100))
    assert asked == ASKED_AT_ONCE_MAX


def test_the_tables_are_bounded_and_prefer_what_was_heard_last() -> None:
    candidates = made()
    candidates.heard_of(urls(STRANGERS_MAX + 500), now_s=0)
    assert len(candidates) == STRANGERS_MAX
    for number, url in enumerate(urls(2 * TRUSTED_MAX)):
        candidates.answered(url, statement(f"n{number}"), now_s=1, again_s=2)
    assert len(candidates) <= STRANGERS_MAX + TRUSTED_MAX
    assert len(candidates.sightings(since_s=0)) == TRUSTED_MAX
    assert candidates.seen_at_s(f"n{2 * TRUSTED_MAX - 1}") == 1


def test_what_nobody_speaks_of_any_more_is_forgotten_unless_it_answers() -> None:
    candidates = made()
    candidates.heard_of([A, B], now_s=0)
    now_s = 0.0
    while now_s < 3 * HEARSAY_S_MAX:
        for url in candidates.take_due(now_s=now_s):
            if url == A:
                candidates.answered(A, statement("n1"), now_s=now_s, again_s=now_s + 2)
            else:
                candidates.failed(url, now_s=now_s)
        now_s += 0.5
    assert len(candidates) == 1
    assert candidates.sightings(since_s=now_s - 5)[0].url == A


def test_a_node_that_moved_is_where_it_answered_last() -> None:
    candidates = made()
    candidates.heard_of([A], now_s=0)
    candidates.answered(A, statement("n1"), now_s=0, again_s=1)
    moved = msgspec.structs.replace(statement("n1"), http_url=B)
    candidates.heard_of([B], now_s=1)
    candidates.answered(B, moved, now_s=1, again_s=2)
    (sighting,) = candidates.sightings(since_s=0)
    assert (sighting.url, sighting.statement) == (B, moved)
    assert candidates.take_due(now_s=2) == [B], "the address it left rests"


def test_two_nodes_that_follow_each_other_at_one_address_are_both_remembered() -> None:
    """A wiped node comes back under another id: the old one is seen no more."""
    candidates = made()
    candidates.answered(A, statement("n1-old"), now_s=0, again_s=1)
    candidates.answered(A, statement("n1-new"), now_s=5, again_s=6)
    assert [one.statement.id for one in candidates.sightings(since_s=4)] == ["n1-new"]
    assert candidates.seen_at_s("n1-old") == 0


def test_an_address_that_relays_others_and_then_ourselves_takes_up_no_question() -> None:
    """A member's answer, relayed, makes the relay an address of a member until it relays ours."""
    candidates = made()
    relays = urls(ASKED_AT_ONCE_MAX)
    for url in relays:
        candidates.answered(url, statement(url), now_s=0, again_s=1)
    assert candidates.take_due(now_s=1) == relays
    for url in relays:
        candidates.is_own(url)
    candidates.heard_of([A], now_s=1)
    assert candidates.take_due(now_s=1) == [A]


def test_our_own_address_is_never_asked_again() -> None:
    candidates = made()
    candidates.heard_of([A, C], now_s=0)
    candidates.take_due(now_s=0)
    candidates.is_own(A)
    candidates.heard_of([A], now_s=9)
    candidates.failed(C, now_s=0)
    assert candidates.take_due(now_s=9) == [C]
