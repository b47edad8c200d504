"""The AsyncAPI document against the schema that AsyncAPI publishes."""

from __future__ import annotations

import json

import msgspec
import pytest
from jsonschema import Draft7Validator

from raft_exchange.gateway.asyncapi import document
from tests.support.node_modules import node_modules

pytestmark = pytest.mark.interop


def test_the_document_is_valid_asyncapi_3() -> None:
    schema = json.loads((node_modules() / "@asyncapi/specs/schemas/3.0.0.json").read_text())
    described = json.loads(msgspec.json.encode(document()))
    errors = [
        f"{'/'.join(map(str, error.path))}: {error.message[:300]}"
        for error in Draft7Validator(schema).iter_errors(described)
    ]
    assert not errors
    described["operations"]["readStream"]["action"] = "shout"
    assert not Draft7Validator(schema).is_valid(described)
