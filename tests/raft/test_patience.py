"""Patience: twice as long after every term given up, no longer than its bound, and back again."""

from __future__ import annotations

from raft_exchange.raft.patience import CALM_S, FREE_FAILURES, STRETCH_MAX, Patience

USUAL_S = 0.3


def impatient_after(failures: int) -> Patience:
    patience = Patience()
    for term in range(failures):
        patience.give_up(term, now_s=0.0)
    return patience


def test_a_split_vote_or_a_frozen_leader_costs_no_patience() -> None:
    assert impatient_after(FREE_FAILURES).stretch == 1


def test_it_doubles_with_every_further_term_that_came_to_nothing_up_to_its_bound() -> None:
    stretches = [impatient_after(FREE_FAILURES + more).stretch for more in range(1, 8)]
    assert stretches == [2, 4, 8, 16, 16, 16, 16]
    assert stretches[-1] == STRETCH_MAX


def test_a_term_counts_once() -> None:
    patience = Patience()
    for _ in range(20):
        patience.give_up(7, now_s=0.0)
    assert patience.stretch == 1


def test_a_term_whose_leader_is_known_to_be_gone_does_not_count() -> None:
    patience = Patience()
    for term in range(20):
        patience.excuse(term)
        patience.give_up(term, now_s=0.0)
    assert patience.stretch == 1


def test_it_falls_back_step_by_step_while_silences_are_short() -> None:
    patience, stretches = impatient_after(FREE_FAILURES + 3), []
    for beat in range(int(6 * CALM_S / 0.05)):
        patience.note_silence(0.05, usual_s=USUAL_S, now_s=0.05 * beat)
        if patience.stretch not in stretches:
            stretches.append(patience.stretch)
    assert stretches == [8, 4, 2, 1]


def test_it_stays_where_the_lesser_one_would_not_do() -> None:
    patience = impatient_after(FREE_FAILURES + 3)
    for beat in range(1_000):
        patience.note_silence(1.0, usual_s=USUAL_S, now_s=float(beat))
    assert patience.stretch == 8


def test_one_long_silence_begins_the_calm_anew() -> None:
    patience = impatient_after(FREE_FAILURES + 1)
    for now_s in (0.0, CALM_S - 1):
        patience.note_silence(0.05, usual_s=USUAL_S, now_s=now_s)
    patience.note_silence(1.0, usual_s=USUAL_S, now_s=CALM_S - 0.5)
    patience.note_silence(0.05, usual_s=USUAL_S, now_s=CALM_S + 1)
    assert patience.stretch == 2
