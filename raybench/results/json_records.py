"""Records as JSON and back: the one place where a field of a record meets a key of a file."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from raybench.results import ResultsError
from raybench.results.records import TrialRecord

T = TypeVar("T")


def to_json(record: TrialRecord) -> dict[str, Any]:
    """A trial's record as JSON: a dataclass is an object with all of its fields, and None is null."""
    return asdict(record)


def from_json(value: object, path: str) -> TrialRecord:
    """A trial's record from JSON.

    Raises ResultsError, which names the file `path` and the field, where one is missing, unknown or of another type.
    """
    return read(TrialRecord, value, path)


def read(kind: type[T], value: object, path: str) -> T:
    """A frozen dataclass from JSON; raises ResultsError as from_json does.

    Every field must be there but those that are null by default.
    """
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
    there = _checked(dict, value, path, name)
    hints, start = get_type_hints(kind), f"{name}." if name else ""
    absent = {each.name for each in fields(kind) if each.name not in there}
    if missing := [name for name in hints if name in absent - _unknown(kind)]:
        raise ResultsError(f"{path}: field {start}{missing[0]} is missing")
    if unknown := [field for field in there if field not in hints]:
        raise ResultsError(f"{path}: field {start}{unknown[0]} is unknown")
    given = {field: of for field, of in hints.items() if field in there}
    return kind(**{field: _read(of, there[field], path, f"{start}{field}") for field, of in given.items()})


def _unknown(kind: Any) -> set[str]:
    """The fields that are null unless something is known: a folder of before there was such a field lacks it."""
    return {each.name for each in fields(kind) if each.default is None}


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
    return value


def _named(kinds: tuple[type, ...]) -> str:
    words = {list: "a list", dict: "an object", str: "a string", int: "a whole number", float: "a number"}
    return " or ".join(words.get(kind, kind.__name__) for kind in kinds)
