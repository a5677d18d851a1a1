"""The stream's schema as tests hold lines against it: closed, so that a key that nobody documented is found."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from segcli.io.stream import SCHEMA_FILE


@cache
def validator() -> Draft202012Validator:
    """The shipped schema, in which no object may have keys that it does not name."""
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(_closed(schema))


def check_line(line: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError, which says where a line differs from the schema."""
    kinds = ("error", "summary", "planned", "files")
    kind = next((kind for kind in kinds if kind in line and "ask" not in line), "ask")
    name = {"error": "failure", "summary": "summary", "planned": "planned", "files": "item", "ask": "answer"}[kind]
    validator().evolve(schema={**validator().schema, "oneOf": [{"$ref": f"#/$defs/{name}"}]}).validate(line)
    validator().validate(line)


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    closed = {key: _closed(entry) for key, entry in value.items()}
    return closed | {"additionalProperties": False} if isinstance(value.get("properties"), dict) else closed
