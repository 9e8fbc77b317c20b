"""Files that a reader never sees half-written, and the errors of reading them as sentences."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

from raybench.results import ResultsError

_POOL = pa.system_memory_pool()  # gives back what is freed, where Arrow's own keeps it for its next table


def read_parquet(path: Path) -> pa.Table:
    """A whole table; raises ResultsError."""
    try:
        return dataset(path).to_table(memory_pool=_POOL)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Raises ResultsError."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write(path, sink.getvalue().to_pybytes())


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Raises ResultsError, and ValueError for a number that JSON does not have."""
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write(path: Path, data: bytes) -> None:
    """Beside, then in place: a reader never sees half a file. Raises ResultsError, with nothing half-written left."""
    scratch = path.with_name(f".{path.name}.tmp")
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
        return ResultsError(f"{path.parent}: is no longer there; it was deleted or moved while the run went on")
    return ResultsError(f"{path}: cannot be written: {error.strerror or error}; what was measured before is intact")
