"""The real grapes that the other tests of this directory stand on."""

import pytest

from tests.support.node_modules import ask, real_grapes

pytestmark = pytest.mark.interop


def test_two_real_grapes_find_what_the_other_one_was_told() -> None:
    with real_grapes(2) as (first, second):
        assert ask(first.url, "announce", ["interop_service", 1337]) >= 1
        assert ask(second.url, "lookup", "interop_service") == ["127.0.0.1:1337"]


def test_a_lone_real_grape_is_ready_when_it_answers() -> None:
    with real_grapes(1) as (grape,):
        assert ask(grape.url, "lookup", "nobody") == []
