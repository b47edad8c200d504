"""`pytest tests/matching --rewrite` regenerates the answers in the scenario files."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write the machine's answers into the scenario files; read the diff before you commit",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    # The default serves runs that start above this folder and so never see the option.
    return bool(request.config.getoption("--rewrite", default=False))
