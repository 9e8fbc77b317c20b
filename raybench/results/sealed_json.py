"""JSON files of a results folder: each names its schema, and carries the SHA-256 of its content as a seal."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raybench.results import ResultsError
from raybench.results.atomic_files import read_json, write_json

SCHEMA_VERSION = 6
_VERSION, _SEAL = "schema_version", "sha256"


class OtherSchemaError(ResultsError):
    """A file of another version of raybench: one sentence."""


@dataclass(frozen=True)
class SealedJson:
    """The content of a file, and whether a seal vouches for it: raybench once wrote files without one."""

    content: dict[str, object]
    is_sealed: bool


def write_sealed(path: Path, content: Mapping[str, object]) -> None:
    """Raises ResultsError."""
    whole = {_VERSION: SCHEMA_VERSION, **content}
    write_json(path, {**whole, _SEAL: _seal(json.loads(json.dumps(whole)))})


def read_sealed(path: Path) -> SealedJson:
    """The content of a file of this schema, without version and seal.

    Raises OtherSchemaError for one of another schema, and ResultsError where it is damaged.
    """
    there = read_json(path)
    seal = there.pop(_SEAL, None)
    if seal is not None and seal != _seal(there):
        raise ResultsError(f"{path}: is damaged or was edited: its content does not match its SHA-256")
    version = there.pop(_VERSION, None)
    if version != SCHEMA_VERSION:
        written = "an older schema" if version is None else f"schema {version}"  # up to 4 environment.json had none
        raise OtherSchemaError(
            f"{path}: was written with {written}, this raybench reads {SCHEMA_VERSION}; use the raybench that wrote it"
        )
    return SealedJson(there, is_sealed=seal is not None)


def _seal(content: Mapping[str, object]) -> str:
    """Of the content as JSON has it, however it is laid out: a file may be printed prettier, and not be changed."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
