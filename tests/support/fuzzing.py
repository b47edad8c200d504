"""Runs a function under atheris, which the project does not depend on, with a corpus it keeps."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parents[1] / "grape" / "corpus"


def fuzz(one_input: Callable[[bytes], None], *, corpus: str) -> None:
    """Fuzz until a failure; what is found new goes to a temporary folder, not into the corpus."""
    try:
        import atheris
    except ImportError:
        sys.exit("this command needs atheris, which is not installed: pip install atheris")
    atheris.instrument_all()
    found = tempfile.mkdtemp(prefix=f"fuzz-{corpus}-")
    atheris.Setup([sys.argv[0], found, str(CORPUS / corpus), *sys.argv[1:]], one_input)
    atheris.Fuzz()
