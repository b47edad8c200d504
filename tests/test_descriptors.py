"""The node's own files come first, HTTP gets what is left."""

from __future__ import annotations

import resource

import pytest

from raft_exchange.descriptors import (
    CONNECTIONS_MAX,
    CONNECTIONS_MIN,
    RESERVED,
    TooFewDescriptors,
    connections_affordable,
    share_out,
)

ENDLESS = resource.RLIM_INFINITY
ENOUGH = RESERVED + CONNECTIONS_MAX


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The limits of a pretended process, soft and hard."""
    held = [0, 0]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(held))
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: held.__setitem__(slice(2), new))
    return held


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1_024, 4_096, 4_096, 4_096 - RESERVED),
        (300, 300, 300, 300 - RESERVED),
        (1_024, 10**9, ENOUGH, CONNECTIONS_MAX),
        (1_024, ENDLESS, ENOUGH, CONNECTIONS_MAX),
        (20_000, 30_000, 20_000, CONNECTIONS_MAX),
        (ENDLESS, ENDLESS, ENDLESS, CONNECTIONS_MAX),
    ],
)
def test_the_limit_is_raised_as_far_as_needed_and_never_lowered(
    limits: list[int], soft: int, hard: int, raised: int, connections: int
) -> None:
    limits[:] = soft, hard
    assert connections_affordable() == connections
    assert limits == [raised, hard]


def test_a_limit_that_leaves_room_for_nobody_is_refused(limits: list[int]) -> None:
    least = RESERVED + CONNECTIONS_MIN
    limits[:] = 100, least
    assert connections_affordable() == CONNECTIONS_MIN
    limits[:] = 100, least - 1
    with pytest.raises(TooFewDescriptors, match=f"the limit is {least - 1}; allowed: {least}"):
        connections_affordable()


@pytest.mark.parametrize("connections", [CONNECTIONS_MIN, 300, CONNECTIONS_MAX])
def test_all_ports_together_hold_what_can_be_afforded_and_none_is_left_out(
    connections: int,
) -> None:
    shares = share_out(connections)
    assert sum(shares) == connections
    assert min(shares) >= 1
    assert shares.doors > connections / 2
