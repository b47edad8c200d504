"""Options of the whole suite."""

from __future__ import annotations

import gc

import pytest

DEFAULT_SEEDS = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds",
        type=int,
        default=DEFAULT_SEEDS,
        help="how many seeds the simulated cluster lives through",
    )
    parser.addoption(
        "--first-seed", type=int, default=0, help="the first of them: a long run goes on in parts"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Leave out, of the bare command, the faults that take minutes.

    Whoever names a path, a mark or a keyword gets what was named.
    """
    is_bare = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if is_bare and not config.option.markexpr and not config.option.keyword:
        config.option.markexpr = "not chaos"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames and metafunc.definition.path.parent.name == "sim":
        first = metafunc.config.getoption("first_seed")
        metafunc.parametrize("seed", range(first, first + metafunc.config.getoption("seeds")))


def pytest_collection_finish() -> None:
    """Put what importing the tests made where no collection looks.

    Every test in a loop ends with a collection (`support/coroutines.py`); walking the modules of
    the whole suite each time took half of the suite's time.
    """
    gc.collect()
    gc.freeze()
