"""Style that no tool checks: ceilings, dead modules, names and words we do not use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("raft_exchange", "grape")
FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 50
BANNED_MODULES = {"utils", "util", "helpers", "base", "common", "misc"}
LEFT_UNDONE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
ENTRY_MODULES = {"__main__", "__init__"}
PUBLIC_MODULES = {"grape.link", "grape.rpc", "grape.pubsub"}  # what users of grape import


def sources(*roots: str) -> list[Path]:
    return sorted(
        path
        for root in roots
        for path in (ROOT / root).rglob("*.py")
        if "node_modules" not in path.parts
    )


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            yield found


def test_a_file_stays_under_its_ceiling() -> None:
    for path in sources(*PACKAGES, "tests"):
        is_test = relative(path).startswith("tests/")
        ceiling = TEST_FILE_LINES_MAX if is_test else FILE_LINES_MAX
        lines = len(path.read_text().splitlines())
        assert lines <= ceiling, f"{relative(path)}: {lines} lines; split it by noun ({ceiling})"


def test_a_function_fits_on_a_screen() -> None:
    for path in sources(*PACKAGES):
        for function in functions(path):
            first = function.body[0]
            has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            lines = (function.end_lineno or 0) - function.lineno + 1 - docstring
            assert lines <= FUNCTION_LINES_MAX, f"{relative(path)}: {function.name}: {lines} lines"


def test_a_module_is_named_by_a_noun_of_ours() -> None:
    for path in sources(*PACKAGES, "tests"):
        assert path.stem not in BANNED_MODULES, relative(path)
        assert not BANNED_MODULES & set(path.parent.parts), relative(path)


def test_nothing_is_left_undone() -> None:
    for path in sources(*PACKAGES):
        assert not LEFT_UNDONE.search(path.read_text()), relative(path)


def test_a_cancellation_is_never_swallowed() -> None:
    """`asyncio.wait_for` of Python 3.11 loses it where what it waits for just ended."""
    waits = "asyncio" + ".wait_for("
    for path in sources(*PACKAGES, "tests"):
        assert waits not in path.read_text(), f"{relative(path)}: `async with asyncio.timeout(...)`"


def test_every_module_is_used() -> None:
    """A module that nothing of the product imports is dead, however well it is tested."""
    imported = {name for path in sources(*PACKAGES) for name in imports(path)}
    configuration = (ROOT / "pyproject.toml").read_text()
    for path in sources(*PACKAGES):
        if path.stem in ENTRY_MODULES or "examples" in path.parts:
            continue
        name = relative(path).removesuffix(".py").replace("/", ".")
        if name not in PUBLIC_MODULES and f'"{name}:' not in configuration:
            assert name in imported, f"nothing imports {name}"


def imports(path: Path) -> Iterator[str]:
    """What a module imports: modules, and names of modules that may be modules themselves."""
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom) and found.module is not None:
            yield found.module
            yield from (f"{found.module}.{alias.name}" for alias in found.names)


def test_every_package_says_how_it_is_built() -> None:
    for folder in ("raft_exchange", "grape", *_packages_with_rules()):
        assert (ROOT / folder / "DESIGN.md").is_file(), f"{folder}/DESIGN.md is missing"


def _packages_with_rules() -> list[str]:
    return [
        f"raft_exchange/{name}"
        for name in ("matching", "sequencer", "raft", "gateway", "marketdata", "client")
    ]
