"""Items as perf_analyzer's --input-data has them: JSON files of steps, and folders with a raw file for each input."""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raybench.inputs.file_locations import InputFileError, read_bytes
from raybench.inputs.stored_items import SkippedRows, StoredItems, as_columns, fitting_rows
from raybench.inputs.tensors import Batch
from raybench.inputs.wanted_values import MisfitError, Wanted, from_raw, item_of

_MODEL = "model"  # a key of a step that names no tensor
Step = Mapping[str, Any]


@dataclass(frozen=True)
class StepsFile:
    """The steps of a JSON file, and what is expected of each; of several streams the first, as perf_analyzer does."""

    name: str
    steps: tuple[Step, ...] = field(repr=False)
    expected: tuple[Step, ...] | None = field(default=None, repr=False)

    is_strict = True

    @property
    def names(self) -> tuple[str, ...]:
        """Every input that a step has."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step if name != _MODEL))

    def items(self, wanted: Mapping[str, Wanted], outputs: Mapping[str, Wanted]) -> StoredItems:
        """The items for these inputs; raises InputFileError where a name is unknown, or no step fits."""
        rows, numbers, skipped = fitting_rows(
            self.name, len(self.steps), lambda number: _tensors(self.steps[number], wanted)
        )
        expected = None if self.expected is None else tuple(self._expected(number, outputs) for number in numbers)
        return StoredItems(as_columns(rows), skipped, expected)

    def _expected(self, number: int, outputs: Mapping[str, Wanted]) -> Batch:
        step = (self.expected or ())[number]
        if unknown := [name for name in step if name not in (*outputs, _MODEL)]:
            there = ", ".join(outputs) or "none"
            raise InputFileError(self.name, f"validation_data has {unknown[0]}, and the outputs are {there}: rename it")
        try:
            return {name: _tensor(value, outputs[name]) for name, value in step.items() if name != _MODEL}
        except MisfitError as error:
            raise InputFileError(self.name, f"validation_data of row {number}: {error}: correct it") from error


@dataclass(frozen=True)
class RawFolder:
    """A folder with a file of raw bytes for each input, and maybe for outputs that are expected: one item."""

    name: str
    files: Mapping[str, bytes] = field(compare=False, repr=False)

    is_strict = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.files)

    def items(self, wanted: Mapping[str, Wanted], outputs: Mapping[str, Wanted]) -> StoredItems:
        """The item for these inputs; raises InputFileError where it does not fit."""
        rows, _, _ = fitting_rows(
            self.name, 1, lambda _: {name: self._tensor(name, its) for name, its in wanted.items()}
        )
        try:
            expected = {name: self._tensor(name, its) for name, its in outputs.items() if name in self.files}
        except MisfitError as error:
            raise InputFileError(self.name, f"{error}: correct it") from error
        return StoredItems(as_columns(rows), SkippedRows(self.name, 0, 1), (expected,) if expected else None)

    def _tensor(self, name: str, wanted: Wanted) -> np.ndarray:
        if name not in self.files:
            raise MisfitError(f"there is no file {name}")
        if wanted.datatype == "BYTES":
            return item_of(self.files[name].removesuffix(b"\n").split(b"\n"), wanted)
        return from_raw(self.files[name], wanted, wanted.shape)


def steps_file(source: str, data: bytes) -> StepsFile:
    """The steps of a JSON file; raises InputFileError where it is not built so."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputFileError(source, f"it is not JSON ({said}): correct it, or name JSON Lines .jsonl") from error
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise InputFileError(source, "it has no list 'data': write perf_analyzer's form, or name JSON Lines .jsonl")
    steps = _steps(source, "data", content["data"])
    expected = content.get("validation_data")
    if expected is None:
        return StepsFile(source, steps)
    if not isinstance(expected, list) or len(expected) != len(content["data"]):
        raise InputFileError(source, "validation_data needs as many entries as data: give one for each")
    answers = _steps(source, "validation_data", expected)
    if len(answers) != len(steps):
        raise InputFileError(source, "validation_data needs as many steps as data: give one for each")
    return StepsFile(source, steps, answers)


def joined(files: Sequence[StepsFile]) -> StepsFile:
    """The steps of several files, one behind the other; expectations count where every file has some."""
    answers = [file.expected for file in files]
    expected = None if None in answers else tuple(step for each in answers for step in each or ())
    steps = tuple(step for file in files for step in file.steps)
    return StepsFile(", ".join(file.name for file in files), steps, expected)


def raw_folder(source: str) -> RawFolder:
    """The files of a folder, by name; raises InputFileError where there is none."""
    paths = [path for path in sorted(Path(source).expanduser().iterdir()) if not path.name.startswith(".")]
    if not paths:
        raise InputFileError(source, "it is empty: put images in it, a table, or a raw file named like each input")
    if folders := [path.name for path in paths if not path.is_file()]:
        raise InputFileError(source, f"{folders[0]} in it is not a file: put a raw file named like each input there")
    return RawFolder(source, {path.name: read_bytes(str(path)) for path in paths})


def _steps(source: str, field_name: str, entries: list[Any]) -> tuple[Step, ...]:
    """The entries themselves where they are steps, or those of the first where each is a stream."""
    kinds = {type(entry) for entry in entries}
    if kinds - {dict, list}:
        raise InputFileError(source, f"{field_name} has entries that are neither steps nor streams: write objects")
    if len(kinds) > 1:
        raise InputFileError(source, f"{field_name} mixes steps and streams: write only objects, or only lists of them")
    steps = entries[0] if kinds == {list} else entries
    if not all(isinstance(step, dict) for step in steps):
        raise InputFileError(source, f"{field_name} has a stream with entries that are not steps: write objects")
    return tuple(steps)


def _tensors(step: Step, wanted: Mapping[str, Wanted]) -> Batch:
    if missing := [name for name, its in wanted.items() if name not in step and not its.is_optional]:
        raise MisfitError(f"it has no {missing[0]}")
    return {name: _tensor(step[name], its) for name, its in wanted.items() if name in step}


def _tensor(value: Any, wanted: Wanted) -> np.ndarray:
    """A tensor in any of perf_analyzer's forms, or as nested lists; raises MisfitError."""
    if not isinstance(value, dict):
        return item_of(value, wanted)
    content = value.get("content", value)
    shape = None if value.get("shape") is None else _shape(value["shape"], wanted)
    if isinstance(content, dict):
        if not isinstance(content.get("b64"), str):
            raise MisfitError(f"{wanted.name} has neither content nor b64")
        return from_raw(_decoded(content["b64"], wanted), wanted, wanted.shape if shape is None else shape)
    if shape is None:
        return item_of(content, wanted)
    flat = item_of(content, Wanted(wanted.name, wanted.datatype, None)).ravel()
    if flat.size != math.prod(shape):
        raise MisfitError(f"{wanted.name} has {flat.size} values, but its shape {list(shape)} takes {math.prod(shape)}")
    return flat.reshape(shape)


def _shape(said: Any, wanted: Wanted) -> tuple[int, ...]:
    """The shape that a step gives; it has to be one that the input takes."""
    is_shape = isinstance(said, list) and all(type(size) is int and size >= 0 for size in said)
    if not is_shape:
        raise MisfitError(f"{wanted.name} has shape {said!r:.60}, which is not a list of sizes")
    declared = wanted.shape
    if declared is None or _fits(said, declared):
        return tuple(said)
    if -1 not in declared and [n for n in said if n != 1] == [n for n in declared if n != 1]:
        return declared  # but for a 1, such as that of the batch axis, or of what Triton reshapes
    if said[:1] == [1] and _fits(said[1:], declared):
        return tuple(said[1:])
    raise MisfitError(f"{wanted.name} has shape {said}, but an item has {list(declared)}")


def _fits(said: Sequence[int], declared: tuple[int, ...]) -> bool:
    return len(said) == len(declared) and all(b in (-1, a) for a, b in zip(said, declared, strict=True))


def _decoded(text: str, wanted: Wanted) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MisfitError(f"{wanted.name} has b64 that does not decode ({error})") from error
