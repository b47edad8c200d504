"""Two real grapes for all tests of this directory; every test announces names of its own."""

from collections.abc import Iterator

import pytest

from tests.support.node_modules import RealGrape, real_grapes


@pytest.fixture(scope="session")
def grapes() -> Iterator[list[RealGrape]]:
    """Two real grapes that store for each other."""
    with real_grapes(2) as running:
        yield running
