"""Options of the whole suite."""

from __future__ import annotations

import pytest

DEFAULT_SEEDS = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds",
        type=int,
        default=DEFAULT_SEEDS,
        help="how many seeds the simulated cluster lives through",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames and metafunc.definition.path.parent.name == "sim":
        metafunc.parametrize("seed", range(metafunc.config.getoption("seeds")))
