"""Holds answers against the OpenAPI document: route, status, type, body and problem code."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from raft_exchange.gateway.openapi import document
from raft_exchange.gateway.routes import HISTORY_ROUTE, ROUTES, SEED_ROUTES, grenache_route
from raft_exchange.gateway.seed_surface import get_state

NOT_DESCRIBED = {404: "unknown_route", 405: "method_not_allowed", 500: "internal_error"}
"""What is answered where there is no route, and what no client can bring about."""


class Described:
    """The description of a node with history and seed surface; `check` is for each answer."""

    def __init__(self) -> None:
        routes = (*ROUTES, HISTORY_ROUTE, *SEED_ROUTES, grenache_route(get_state))
        self.document: Any = json.loads(msgspec.json.encode(document(routes)))
        for schema in self.document["components"]["schemas"].values():
            if schema.get("type") == "object":
                schema.setdefault("additionalProperties", False)
        self._validators: dict[tuple[str, str, str, str], Any] = {}
        self._paths = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + r"\Z"), path)
            for path in sorted(self.document["paths"], key=lambda path: path.count("{"))
        ]

    def operation(self, method: str, path: str) -> tuple[str, Any] | None:
        """Return the template and the description of what a request asks for."""
        for pattern, template in self._paths:
            found = self.document["paths"][template].get(method.lower())
            if found is not None and pattern.match(path):
                return template, found
        return None

    def check(self, method: str, path: str, *, status: int, content_type: str, body: Any) -> None:
        """Fail if the description does not say that this may be answered."""
        found = self.operation("GET" if method == "HEAD" else method, path.partition("?")[0])
        if found is None or (status in NOT_DESCRIBED and body["code"] == NOT_DESCRIBED[status]):
            return
        template, operation = found
        where = f"{method} {template}: {status} {content_type}"
        response = operation["responses"].get(str(status))
        assert response is not None, f"{where}: the status is not described: {body}"
        if method == "HEAD" or status in (101, 304):
            return
        media = response.get("content", {})
        if "*/*" in media:
            return
        assert content_type in media, f"{where}: the type is not described"
        schema = media[content_type].get("schema")
        if schema is None:
            return
        key = (method, template, str(status), content_type)
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(
                {"components": self.document["components"], **schema},
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
        errors = [error.message for error in self._validators[key].iter_errors(body)]
        assert not errors, f"{where}: {errors}: {body}"


DESCRIBED = Described()
