"""A YAML file -> the values that it gives, in the types that are declared; an error names the line."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from raybench.config import yaml_lines
from raybench.config.benchmark import SETTINGS
from raybench.config.load_settings import LOAD_SETTINGS
from raybench.config.refusal import ConfigError, short
from raybench.config.setting import Setting

_LOADS = "loads"


def read(path: Path) -> dict[str, object]:
    """The keys of a YAML file in the types of their settings; an error names the line.

    Bounds, and whether settings go together, are checked later: a flag may still replace a value.
    """
    values: dict[str, object] = {}
    lines: dict[str, int] = {}
    for key, value, line in _pairs(path):
        where = f"{path}, line {line}"
        name = _known(where, key, (*SETTINGS, _LOADS))
        if name in lines:
            raise ConfigError(f"{where}: key {key!r} is already in line {lines[name]}; leave one out")
        values[name] = _loads(where, value) if name == _LOADS else _typed(where, SETTINGS[name], value)
        lines[name] = line
    return values


def _pairs(path: Path) -> list[tuple[object, object, int]]:
    try:
        return yaml_lines.pairs(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _loads(where: str, value: object) -> tuple[dict[str, object], ...]:
    """A list of mappings, such as [{workers: 4}, {workers: 8, request-count: 50}]."""
    if not isinstance(value, list) or not all(isinstance(load, dict) for load in value):
        example = "write a list such as [{workers: 4}, {workers: 8}]"
        raise ConfigError(f"{where}: {_LOADS} is {short(value)}; {example}")
    return tuple(_load(f"{where}, load {number}", load) for number, load in enumerate(value, 1))


def _load(where: str, load: Mapping[object, object]) -> dict[str, object]:
    names = {_known(where, key, LOAD_SETTINGS): value for key, value in load.items()}
    return {name: _typed(where, LOAD_SETTINGS[name], value) for name, value in names.items()}


def _known(where: str, key: object, names: Iterable[str]) -> str:
    name = str(key).replace("-", "_")
    if name not in names:
        near = "".join(f"did you mean {word}? " for word in get_close_matches(name, names, 1))
        raise ConfigError(f"{where}: key {short(key)} is unknown; {near}the keys are {', '.join(sorted(names))}")
    return name


def _typed(where: str, setting: Setting, value: object) -> object:
    """A value in the type of its setting."""
    if setting.is_list:
        value = tuple(value) if isinstance(value, list) else (value,)
    try:
        return setting.type.validate_python(value)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if sentence := setting.wrong_type(found, value):
                raise ConfigError(f"{where}: {sentence}") from None
        return value
