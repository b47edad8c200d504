"""The benches behind the figures run, and what they compare stands even for a moment's run."""

from __future__ import annotations

import pytest

from tests.bench import pace, restart

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_we_are_faster_with_syncs_than_the_stock_library_without() -> None:
    assert pace.main(["--runs", "1", "--seconds", "1"]) > 1


def test_everybody_killed_comes_back_with_its_log() -> None:
    assert restart.main(["--entries", "2000", "--trials", "1"]) < 30
