"""Numbers are read from their text, exactly, or not at all."""

import contextlib
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_exchange.decoding.decimals import (
    E18,
    NotANumber,
    OffGrid,
    divide_half_even,
    format_e18,
    format_e36,
    parse_steps,
    parse_steps_up,
)

CENT_E18 = 10**16


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 100),
        ("100.25", 10_025),
        ("100.250000000000000000000000000000", 10_025),
        ("1e2", 10_000),
        ("1E+2", 10_000),
        ("12345e-2", 12_345),
        ("-3.5", -350),
        ("1e-2", 1),
        ("0.0100e0", 1),
    ],
)
def test_a_number_on_the_grid_is_a_whole_count_of_steps(text: str, cents: int) -> None:
    assert parse_steps(text, CENT_E18) == cents


@pytest.mark.parametrize("text", ["0.001", "100.255", "1e-3", "0.0000000000000000000000001"])
def test_a_number_between_two_steps_is_never_rounded(text: str) -> None:
    with pytest.raises(OffGrid):
        parse_steps(text, CENT_E18)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "41abc", "abc", "NaN", "nan", "Infinity", "-Infinity", "inf", "0x10", "1_000"),
        *(" 1", "1 ", "1\n", "+1", ".5", "1.", "01", "00", "--1", "1e", "e5", "1.5.2", "1,5"),
        *("٣", "\uff11", "1\x00", "\ud800", "1e65", "1e-65", "1e999999", "9" * 65, "1e" + "9" * 60),
    ],
)
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(NotANumber):
        parse_steps(text, CENT_E18)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**19))
def test_what_is_formatted_reads_back_the_same(steps: int, step_e18: int) -> None:
    if steps >= 0:
        assert parse_steps(format_e18(steps * step_e18), step_e18) == steps


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, max_value=10**12, min_value=0))
def test_exact_arithmetic_agrees(value: Decimal) -> None:
    """`Fraction` is the dumb twin."""
    expected = Fraction(value) * 10**6
    assert parse_steps(str(value), 10**12) == expected


@given(st.text(max_size=70))
def test_garbage_raises_only_its_own_errors(text: str) -> None:
    with contextlib.suppress(NotANumber, OffGrid):
        parse_steps(text, 3)


@pytest.mark.parametrize(
    ("value_e18", "text"),
    [(0, "0"), (E18, "1"), (10 * E18, "10"), (E18 // 2, "0.5"), (1, "0.000000000000000001")],
)
def test_decimals_are_canonical(value_e18: int, text: str) -> None:
    """No exponent, no trailing zeros, no bare point."""
    assert format_e18(value_e18) == text
    assert format_e36(value_e18 * E18) == text


def test_a_least_amount_is_rounded_up_to_whole_steps() -> None:
    """Ten is reached by the first product that is not below ten."""
    step_e36 = 3 * E18 * E18
    assert parse_steps_up("10", step_e36) == 4
    assert parse_steps_up("9", step_e36) == 3
    assert parse_steps_up("1e-40", step_e36) == 1


@given(st.integers(0, 10**40), st.integers(1, 10**20))
def test_a_quotient_is_the_nearest_integer(dividend: int, divisor: int) -> None:
    assert divide_half_even(dividend, divisor) == round(Fraction(dividend, divisor))


@given(st.integers(0, 10**20), st.integers(1, 10**20))
def test_halves_go_to_the_even_neighbour(whole: int, half: int) -> None:
    quotient = divide_half_even(2 * half * whole + half, 2 * half)
    assert quotient in (whole, whole + 1)
    assert quotient % 2 == 0
