"""The schema of summary.json: its parts, and what in a summary is against it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA_FILE = Path(__file__).parents[2] / "raybench" / "results" / "summary.schema.json"
SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
Located = tuple[tuple[Any, ...], dict[str, Any]]  # an object and its path
_MAPS = {"packages", "errors", "bounds", "config", "batches", "knobs"}  # their keys are names out of a run


def violations(summary: dict[str, Any]) -> list[str]:
    """A line, `path: what is wrong`, for each place where a summary is not as the schema has it."""
    found = VALIDATOR.iter_errors(summary)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[Located]:
    """Every object of a JSON value."""
    if isinstance(value, dict):
        yield path, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        yield from objects(each, (*path, key))


def records(summary: dict[str, Any]) -> Iterator[Located]:
    """Every object of a summary whose keys are the product's own."""
    return ((path, each) for path, each in objects(summary) if not path or path[-1] not in _MAPS)


def changed(value: Any, *path: Any, to: Any) -> Any:
    """A JSON value in which one place is another."""
    if not path:
        return to
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = changed(value[path[0]], *path[1:], to=to)
    return copy


def described_records() -> Iterator[Located]:
    """Every object of the schema that describes a record."""
    return ((path, each) for path, each in objects(SCHEMA) if each.get("type") == "object" and "properties" in each)


def described_fields() -> Iterator[Located]:
    """What the schema says of every field of every record."""
    for path, each in described_records():
        yield from (((*path, name), field) for name, field in each["properties"].items())


def types(described: dict[str, Any]) -> set[str]:
    """The types that a field may have, as far as they stand with it."""
    kinds = described.get("type", [])
    return {*([kinds] if isinstance(kinds, str) else kinds)}.union(*map(types, described.get("anyOf", ())))
