"""The inputs kept for the fuzzers hold in every run, also where atheris is not installed."""

from pathlib import Path

import pytest

from tests.grape import fuzz_bencode, fuzz_krpc
from tests.support.fuzzing import CORPUS


@pytest.mark.parametrize("path", sorted((CORPUS / "bencode").iterdir()), ids=lambda path: path.name)
def test_bencode_holds_on_its_corpus(path: Path) -> None:
    fuzz_bencode.one_input(path.read_bytes())


@pytest.mark.parametrize("path", sorted((CORPUS / "krpc").iterdir()), ids=lambda path: path.name)
def test_krpc_holds_on_its_corpus(path: Path) -> None:
    fuzz_krpc.one_input(path.read_bytes())
