"""The committed dashboards, taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RULES: Final = ROOT / "grafana" / "rules.yaml"
SUFFIXES: Final = ("_bucket", "_count", "_sum")

Object = dict[str, Any]


def tool(name: str) -> Any:
    """Return a Python package of `.ci/requirements-deploy.txt`; skip the test without it."""
    told = f"{name} is not installed: pip install -r .ci/requirements-deploy.txt"
    return pytest.importorskip(name, reason=told)


def allowed() -> Object:
    """Return what the tests let pass, with reasons."""
    text = (ROOT / "tests" / "observe" / "allowed.yaml").read_text()
    found: Object = tool("yaml").safe_load(text)
    return found


def boards() -> list[Object]:
    """Return every dashboard."""
    return [json.loads(path.read_text()) for path in FILES]


def queries() -> Iterator[tuple[str, str]]:
    """Give (title of the panel, expression), as committed."""
    for board in boards():
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


def variables(board: Object) -> list[Object]:
    """Return the template variables that are queries."""
    return [one for one in board["templating"]["list"] if one["type"] == "query"]


def filled(expr: str, *, interval: str = "15s") -> str:
    """Return an expression with Grafana's variables in place."""
    for name, value in (
        ("$__rate_interval", interval),
        ("$__range", "5m"),
        *((f"${name}", ".*") for name in ("cluster", "job", "instance", "market", "pod")),
    ):
        expr = expr.replace(name, value)
    return expr


def selectors(node: Any) -> Iterator[Any]:
    """Give every vector selector of a parsed expression."""
    if type(node).__name__ == "VectorSelector":
        yield node
    for name in ("expr", "lhs", "rhs", "args", "vector_selector", "param", "vs"):
        child = getattr(node, name, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None and not isinstance(one, str | int | float):
                yield from selectors(one)


def parsed(expr: str) -> Any:
    """Return the syntax tree of an expression; ValueError where there is none."""
    return tool("promql_parser").parse(filled(expr))


def rule_expressions() -> list[str]:
    """Return the expression of every rule."""
    groups = tool("yaml").safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def recorded_names() -> list[str]:
    """Return the names that rules record."""
    groups = tool("yaml").safe_load(RULES.read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]


def plain(name: str) -> str:
    """Return the name of a metric without what a histogram adds."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name
