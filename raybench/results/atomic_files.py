"""Files that a reader never sees half-written, and the errors of reading them as sentences."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import ParquetFileFormat, ParquetFragmentScanOptions, dataset

from raybench.results import ResultsError

_POOL = pa.system_memory_pool()  # gives back what is freed, where Arrow's own keeps it for its next table
_CHECKED_PAGES = ParquetFileFormat(
    default_fragment_scan_options=ParquetFragmentScanOptions(page_checksum_verification=True)
)
_MOST_JSON_BYTES = 2**30


def read_parquet(path: Path) -> pa.Table:
    """A whole table, the checksum of each page verified; raises ResultsError."""
    try:
        return dataset(path, format=_CHECKED_PAGES).to_table(memory_pool=_POOL)
    except (OSError, ValueError, MemoryError) as error:
        raise ResultsError(f"{path}: cannot be read: {first_line(error)}") from error


def parquet_schema(path: Path) -> pa.Schema:
    """The columns of a table, from the end of its file; raises ResultsError."""
    try:
        check_is_file(path)
        return pq.read_schema(path)
    except (OSError, ValueError, MemoryError) as error:
        raise ResultsError(f"{path}: cannot be read: {first_line(error)}") from error


def write_parquet(path: Path, table: pa.Table) -> str:
    """Write a table with a checksum for each page; the SHA-256 of the file. Raises ResultsError."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    write(path, data)
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file; raises ResultsError."""
    try:
        check_is_file(path)
        with path.open("rb") as there:
            return hashlib.file_digest(there, "sha256").hexdigest()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {first_line(error)}") from error


def read_bytes(path: Path, *, most: int = _MOST_JSON_BYTES) -> bytes:
    """A file of at most so many bytes; raises ResultsError."""
    try:
        check_is_file(path)
        if (size := path.stat().st_size) > most:
            raise ResultsError(f"{path}: has {size} bytes, but such a file has at most {most}")
        return path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {first_line(error)}") from error


def read_json(path: Path) -> dict[str, object]:
    """The object that a JSON file holds; raises ResultsError."""
    try:
        there = json.loads(read_bytes(path), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: is not a whole JSON file: {first_line(error)}") from error
    if not isinstance(there, dict):
        raise ResultsError(f"{path}: holds no JSON object")
    return there


def check_is_file(path: Path) -> None:
    """Raise OSError for what is there and is no file: a pipe would be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is not a file")


def first_line(error: Exception) -> str:
    """What the system or a library says, in one line."""
    lines = str(getattr(error, "strerror", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Raises ResultsError, and ValueError for a number that JSON does not have."""
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write(path: Path, data: bytes) -> None:
    """Beside, then in place: a reader never sees half a file. Raises ResultsError, with nothing half-written left."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # a run and a report may write the same file
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> ResultsError:
    """Why a file of a results folder cannot be written: one sentence."""
    if not path.parent.exists():
        return ResultsError(f"{path.parent}: is gone; it was deleted or moved during the run")
    return ResultsError(f"{path}: cannot be written: {error.strerror or error}; what was measured before is intact")
