"""The samples of the trial that is being measured, on disk as they come: what a killed run leaves of it.

One writer appends messages of an Arrow IPC stream to `samples/<trial>.arrows`; a reader takes all that are whole. Once
the trial is saved, its Parquet file replaces it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from raybench.results import ResultsError, samples
from raybench.results.atomic_files import unwritable

_INTERVAL_S = 0.2  # a message takes 0.4 ms however few rows it has, and chunks of many workers come 400 times a second
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class GrowingSamples:
    """The file of one trial, open for appending."""

    def __init__(self, path: Path) -> None:
        self._path, self._waiting = path, list[pa.Table]()
        self._written_s = 0.0
        self._file = path.open("wb", buffering=0)
        self._writer = pa.ipc.new_stream(self._file, samples.SCHEMA, options=_OPTIONS)

    def append(self, chunk: pa.Table) -> None:
        """Write a chunk within 0.2 s; raises ResultsError where the disk is full, or the folder is gone."""
        self._waiting.append(chunk)
        if time.monotonic() - self._written_s > _INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits; raises ResultsError as append does."""
        together = samples.merge(self._waiting).combine_chunks()
        try:
            self._path.stat()  # of a folder that is deleted Linux keeps the open file
            if len(together):
                self._writer.write_table(together)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._waiting.clear()
        self._written_s = time.monotonic()

    def close(self) -> None:
        """Write the rest, as far as that can be done."""
        with suppress(OSError, ResultsError):
            self.flush()
            self._writer.close()
        self._file.close()


def path_of(folder: Path, trial: str) -> Path:
    """Where a results folder has the samples of a trial that has not ended."""
    return folder / "samples" / f"{trial}.arrows"


@contextmanager
def growing_samples(folder: Path, trial: str) -> Iterator[GrowingSamples]:
    """An empty file for a trial, until the block ends; raises ResultsError where it cannot be made."""
    path = path_of(folder, trial)
    try:
        file = GrowingSamples(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield file
    finally:
        file.close()


def read_growing(folder: Path, trial: str) -> pa.Table:
    """The samples of a trial that has not ended, up to the last whole message; none where there is no file."""
    found: list[pa.Table] = []
    with suppress(OSError, pa.ArrowInvalid), pa.OSFile(str(path_of(folder, trial))) as file:
        for batch in pa.ipc.open_stream(file):
            found.append(pa.Table.from_batches([batch]))
    return samples.merge(found)
