"""Which members go when a StatefulSet shrinks, in what order, and when none may."""

from __future__ import annotations

import pytest

from raft_exchange.__main__ import main
from raft_exchange.cli.scaling import WouldLoseQuorum, check_quorum, leaving
from raft_exchange.client import Member


def members(*ids: str, away: tuple[str, ...] = (), learns: tuple[str, ...] = ()) -> list[Member]:
    return [
        Member(id=id_, http_url="", reachable=id_ not in away, votes=id_ not in learns)
        for id_ in ids
    ]


FIVE = tuple(f"rx-{number}-00000000000{number}" for number in range(5))


def test_the_highest_number_goes_first() -> None:
    assert leaving(members(*FIVE), of="rx", to=3) == [FIVE[4], FIVE[3]]
    twelve = members(*(f"rx-{number}-aa" for number in range(12)))
    assert leaving(twelve, of="rx", to=9) == ["rx-11-aa", "rx-10-aa", "rx-9-aa"]


def test_nobody_goes_where_there_are_to_be_as_many_or_more() -> None:
    assert leaving(members(*FIVE), of="rx", to=5) == []
    assert leaving(members(*FIVE), of="rx", to=7) == []


def test_members_of_other_names_are_left_alone() -> None:
    others = members("by-hand-00aa", "rx-more-4-00aa", "rx-4", "arx-4-00aa", "rx-04-00aa", FIVE[4])
    assert leaving(others, of="rx", to=1) == [FIVE[4]]


def test_the_former_ids_of_a_pod_go_before_the_one_it_has_now() -> None:
    """It lost its volume once: its first id is a member that nobody will be again."""
    found = members("rx-3-bb", "rx-3-aa", "rx-4-bb", "rx-4-aa", away=("rx-3-bb", "rx-4-bb"))
    assert leaving(found, of="rx", to=3) == ["rx-4-bb", "rx-4-aa", "rx-3-bb", "rx-3-aa"]


def test_five_may_become_three_with_all_in_reach_or_with_one_less() -> None:
    check_quorum(members(*FIVE), FIVE[:2:-1])
    check_quorum(members(*FIVE, away=FIVE[2:3]), FIVE[:2:-1])
    check_quorum(members(*FIVE, away=FIVE[3:]), FIVE[:2:-1])


@pytest.mark.parametrize(
    ("away", "doomed", "words"),
    [
        (FIVE[:2], FIVE[:2:-1], "without rx-4-000000000004 only 2 of 4 voters"),
        (FIVE[1:2], FIVE[:0:-1], "without rx-2-000000000002 only 1 of 2 voters"),
        (FIVE[:1], FIVE[:0:-1], f"bring back {FIVE[0]} first"),
        ((), FIVE[::-1], "only 0 of 0 voters"),
    ],
)
def test_a_step_that_would_cost_the_quorum_is_refused(
    away: tuple[str, ...], doomed: tuple[str, ...], words: str
) -> None:
    with pytest.raises(WouldLoseQuorum, match=words):
        check_quorum(members(*FIVE, away=away), doomed)


def test_who_only_learns_does_not_count() -> None:
    with pytest.raises(WouldLoseQuorum, match="only 0 of 0 voters"):
        check_quorum(members("rx-0-aa", "rx-1-aa", learns=("rx-0-aa",)), ["rx-1-aa"])


@pytest.mark.parametrize("count", ["0", "-1", "10", "three", "3.0", "٣"])
def test_how_many_there_are_to_be_is_checked(
    count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cluster-admin", "scale", "--of", "rx", f"--to={count}"])
    assert ended.value.code == 2
    assert "allowed 1-9" in capsys.readouterr().err


def test_nobody_who_answers_is_no_leave_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--url", "http://127.0.0.1:9", "--timeout", "0.2"]
    assert main(["cluster-admin", "scale", "--of", "rx", "--to", "1", *words]) == 1
    assert "no node answered" in capsys.readouterr().err
