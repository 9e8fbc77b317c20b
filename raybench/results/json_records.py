"""Records as JSON and back: the one place where a field of a record meets a key of a file."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from raybench.results import ResultsError
from raybench.results.records import ModelVerification, TrialRecord

T = TypeVar("T")

_LARGEST = 2**63 - 1
_RETIRED = {ModelVerification: frozenset({"unclear"})}  # fields of files that older versions wrote, read no more


def to_json(record: TrialRecord) -> dict[str, Any]:
    """A trial's record as JSON: a dataclass is an object with all of its fields, and None is null."""
    return asdict(record)


def from_json(value: object, path: str) -> TrialRecord:
    """A trial's record from JSON.

    Raises ResultsError, which names the file `path` and the field, where one is missing, unknown or of another type.
    """
    return read(TrialRecord, value, path)


def read(kind: type[T], value: object, path: str) -> T:
    """A frozen dataclass from JSON. Fields without a default must be there; raises ResultsError as from_json does."""
    return cast(T, _read(kind, value, path, ""))


def _read(kind: Any, value: object, path: str, name: str) -> object:
    if is_dataclass(kind):
        return _dataclass(kind, value, path, name)
    if get_origin(kind) is UnionType:
        return _union(get_args(kind), value, path, name)
    if get_origin(kind) is tuple:
        of, *_ = get_args(kind)
        entries = enumerate(_checked(list, value, path, name))
        return tuple(_read(of, each, path, f"{name}[{number}]") for number, each in entries)
    if get_origin(kind) is Mapping:
        keys, of = get_args(kind)
        entries = _checked(dict, value, path, name).items()
        return {_key(keys, key, path, name): _read(of, each, path, f"{name}.{key}") for key, each in entries}
    return float(_checked((int, float), value, path, name)) if kind is float else _checked(kind, value, path, name)


def _key(kind: Any, key: str, path: str, name: str) -> object:
    """A key of a mapping: JSON has strings alone."""
    try:
        return kind(key)
    except ValueError as error:
        raise ResultsError(f"{path}: field {name} has the key {key!r}, which is not {_named((kind,))}") from error


def _dataclass(kind: Any, value: object, path: str, name: str) -> object:
    retired = _RETIRED.get(kind, frozenset[str]())
    there = {field: each for field, each in _checked(dict, value, path, name).items() if field not in retired}
    hints, start = get_type_hints(kind), f"{name}." if name else ""
    if missing := [field for field in _needed(kind) if field not in there]:
        raise ResultsError(f"{path}: field {start}{missing[0]} is missing")
    if unknown := [field for field in there if field not in hints]:
        raise ResultsError(f"{path}: field {start}{unknown[0]} is unknown")
    return kind(**{field: _read(hints[field], value, path, f"{start}{field}") for field, value in there.items()})


def _needed(kind: Any) -> list[str]:
    """The fields without a default: files that are older than a field with one are read too."""
    return [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]


def _union(kinds: tuple[Any, ...], value: object, path: str, name: str) -> object:
    """One of plain types, or a part that may be null."""
    if value is None and NoneType in kinds:
        return None
    parts = [kind for kind in kinds if kind is not NoneType]
    if len(parts) == 1:
        return _read(parts[0], value, path, name)
    return _checked(tuple(parts), value, path, name)


def _checked(kind: Any, value: Any, path: str, name: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ResultsError(f"{path}: field {name or 'trial'} is {value!r:.60}, which is not {_named(kinds)}")
    if (isinstance(value, int) and abs(value) > _LARGEST) or (isinstance(value, float) and not isfinite(value)):
        raise ResultsError(f"{path}: field {name} is {value!r:.60}, which is larger than any measured number")
    return value


def _named(kinds: tuple[type, ...]) -> str:
    words = {list: "a list", dict: "an object", str: "a string", int: "a whole number", float: "a number"}
    return " or ".join(words.get(kind, kind.__name__) for kind in kinds)
