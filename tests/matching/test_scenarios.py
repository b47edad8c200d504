"""The scenario files: the rules of the market as stories a trader can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_exchange.matching import snapshot
from tests.support import scenario
from tests.support.workload import new_exchange

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_exchange_answers_as_the_story_says(path: Path, rewrite: bool) -> None:
    """Each block's answers are exactly those in the file; the machine is restored in between."""
    text = path.read_text()
    blocks = scenario.parse(text)
    exchange = new_exchange()
    for block in blocks:
        block.answers = []
        for line in block.commands():
            block.answers += scenario.answer(exchange, line)
        exchange = snapshot.decode(snapshot.encode(exchange))
    if rewrite:
        path.write_text(scenario.unparse(blocks))
    else:
        assert scenario.unparse(blocks) == text


def test_there_are_stories() -> None:
    """An empty folder would pass in silence."""
    assert len(FILES) >= 10
