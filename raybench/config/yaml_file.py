"""A YAML file -> the values that it gives, in the types of their fields; an error names the line."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from raybench.config import yaml_lines
from raybench.config.benchmark import LOAD_KEYS, Benchmark, ConfigError, short

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def read(path: Path) -> dict[str, Any]:
    """The keys of a YAML file in the types of their fields; an error names the line."""
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value, line in _pairs(path):
        where = f"{path}, line {line}"
        name = _known(where, key, [f.name for f in fields(Benchmark)])
        if name in lines:
            raise ConfigError(f"{where}: key {key!r} stands in line {lines[name]} already; leave one out")
        values[name], lines[name] = (_loads if name == "loads" else _typed)(where, name, value), line
    return values


def _pairs(path: Path) -> list[tuple[Any, Any, int]]:
    try:
        return yaml_lines.pairs(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _loads(where: str, name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """A list of mappings, such as [{workers: 4}, {workers: 8, request-count: 50}]."""
    if not isinstance(value, list) or not all(isinstance(load, dict) for load in value):
        raise ConfigError(f"{where}: {name} is {short(value)}; write a list such as [{{workers: 4}}, {{workers: 8}}]")
    return tuple(_load(f"{where}, load {number}", load) for number, load in enumerate(value, 1))


def _load(where: str, load: Mapping[Any, Any]) -> dict[str, Any]:
    names = {_known(where, key, LOAD_KEYS): value for key, value in load.items()}
    return {name: _typed(where, name, value) for name, value in names.items()}


def _known(where: str, key: object, names: Sequence[str]) -> str:
    name = str(key).replace("-", "_")
    if name not in names:
        near = "".join(f"did you mean {word}? " for word in get_close_matches(name, names, 1))
        raise ConfigError(f"{where}: key {short(key)} is unknown; {near}there are {', '.join(sorted(names))}")
    return name


def _typed(where: str, name: str, value: Any) -> Any:
    """A YAML value in the type of its field; a single value stands for a list of one."""
    expected = str(get_type_hints(Benchmark)[name])
    if "tuple" in expected:
        element = next((kind for kind in (int, float) if kind.__name__ in expected), str)
        values = value if isinstance(value, list) else [value]
        return tuple(_scalar(where, name, element, each) for each in values)
    if "Mapping" in expected:
        return _headers(where, value) if name == "header" else _urls(where, name, value)
    if value is None and "None" in expected:
        return None
    kinds = {"bool": bool, "int": int, "float": float}
    kind = next((kinds[word] for word in kinds if word in expected), str)
    return _scalar(where, name, kind, value)


def _urls(where: str, name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {name} is {short(value)}; write 'url: {{triton: HOST:PORT}}'")
    return {_scalar(where, name, str, key): _scalar(where, name, str, each) for key, each in value.items()}


def _headers(where: str, value: Any) -> dict[str, str]:
    """What may be a secret is not shown."""
    if isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair):
        return value
    raise ConfigError(f"{where}: header holds no texts by key; write 'header: {{authorization: Bearer $TOKEN}}'")


def _scalar(where: str, name: str, kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}: {name} is {short(value)}; it takes {_KINDS[kind]}")
    return value
