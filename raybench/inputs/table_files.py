"""Tables of rows with a column for each input: Parquet, CSV, JSON Lines and TFRecord, read a part at a time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from raybench.inputs.file_locations import InputFileError, absolute, opened, random_access, unreadable
from raybench.inputs.tfrecords import records, row_of
from raybench.inputs.wanted_values import MisfitError

PARQUET, CSV, LINES, TFRECORD = "parquet", "csv", "jsonl", "tfrecord"
_ENDINGS = {".parquet": PARQUET, ".csv": CSV, ".jsonl": LINES, ".ndjson": LINES, ".tfrecord": TFRECORD,
            ".tfrecords": TFRECORD}  # fmt: skip
_PACKED = (".gz", ".zst", ".bz2", ".lz4")
_CHUNK_BYTES = 2**22  # of rows that are looked at together
_CHUNK_ROWS = 1024
_BLOCK_BYTES = 2**20

Values = pa.Array | list[Any]  # a column of a chunk
Row = Mapping[str, Any] | MisfitError


@dataclass(frozen=True)
class Chunk:
    """Some rows: as columns, or each by itself where it is read so; a row that cannot be read is its reason."""

    count: int
    columns: Mapping[str, pa.Array] | None = None
    rows: Sequence[Row] = ()


@dataclass(frozen=True)
class Piece:
    """A part of a table that can be read by itself: a file, or a row group of one."""

    path: str
    row_group: int = 0
    first_row: int = 0


@dataclass(frozen=True)
class TableFiles:
    """The files of a table, all of one kind."""

    name: str
    kind: str
    paths: tuple[str, ...]

    def pieces(self) -> tuple[Piece, ...]:
        """The parts that can be read each by itself, in order; raises InputFileError."""
        if self.kind != PARQUET:
            return tuple(map(Piece, self.paths))
        return tuple(piece for path in self.paths for piece in _row_groups(path, self._parquet(path).metadata))

    def columns(self) -> tuple[str, ...] | None:
        """The names of its columns; None where each row has its own. Raises InputFileError."""
        if self.kind == PARQUET:
            return tuple(self._parquet(self.paths[0]).schema_arrow.names)
        if self.kind == CSV:
            try:
                with opened(self.paths[0]) as stream, csv.open_csv(stream) as reader:
                    return tuple(reader.schema.names)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise self._unreadable(self.paths[0], error) from error
        return None

    def chunks(self, piece: Piece, names: Sequence[str]) -> Iterator[Chunk]:
        """The rows of a piece, some at a time; raises InputFileError."""
        readers = {PARQUET: self._of_parquet, CSV: _of_csv, LINES: _of_lines, TFRECORD: _of_records}
        try:
            yield from readers[self.kind](piece, names)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(piece.path, error) from error

    def _of_parquet(self, piece: Piece, names: Sequence[str]) -> Iterator[Chunk]:
        file = self._parquet(piece.path)
        group = file.metadata.row_group(piece.row_group)
        rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES * group.num_rows // max(1, group.total_byte_size)))
        for batch in file.iter_batches(rows, row_groups=[piece.row_group], columns=list(names), use_threads=False):
            yield Chunk(len(batch), dict(zip(batch.schema.names, batch.columns, strict=True)))

    def _parquet(self, path: str) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(random_access(path), buffer_size=_BLOCK_BYTES, pre_buffer=False)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> InputFileError:
        """The error of one of its files, which is named where there are several."""
        return unreadable(self.name, error, "it" if len(self.paths) == 1 else path)


def table_files(source: str, files: Sequence[str]) -> TableFiles | None:
    """The table that files are, by their names; None where they are something else.

    Raises InputFileError where they are of several kinds.
    """
    kinds = [_kind(file) for file in files]
    if not any(kinds):
        return None
    if len(set(kinds)) > 1:
        other = files[next(number for number, kind in enumerate(kinds) if kind != kinds[0])]
        raise InputFileError(source, f"it holds files of several kinds, such as {files[0]} and {other}: separate them")
    return TableFiles(source, str(kinds[0]), tuple(map(absolute, files)))


def _row_groups(path: str, metadata: Any) -> Iterator[Piece]:
    first = 0
    for number in range(metadata.num_row_groups):
        yield Piece(path, number, first)
        first += metadata.row_group(number).num_rows


def _kind(path: str) -> str | None:
    name = path.lower().partition("?")[0]
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)


def _of_csv(piece: Piece, names: Sequence[str]) -> Iterator[Chunk]:
    """Every cell as text: only the input knows its type."""
    with opened(piece.path) as stream:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(names), strings_can_be_null=True,
                quoted_strings_can_be_null=False, null_values=[""],
            ),
        )  # fmt: skip
        for batch in reader:
            texts = batch.to_pydict()
            rows = [dict(zip(texts, cells, strict=True)) for cells in zip(*texts.values(), strict=True)]
            yield Chunk(len(rows), rows=rows)


def _of_lines(piece: Piece, names: Sequence[str]) -> Iterator[Chunk]:  # noqa: ARG001
    with opened(piece.path) as stream:
        yield from _gathered((_line(line), len(line)) for line in _lines(stream) if line.strip())


def _of_records(piece: Piece, names: Sequence[str]) -> Iterator[Chunk]:  # noqa: ARG001
    with opened(piece.path) as stream:
        yield from _gathered((_example(record), len(record)) for record in records(stream))


def _lines(stream: Any) -> Iterator[bytes]:
    rest = b""
    while block := bytes(stream.read(_BLOCK_BYTES)):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _line(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return MisfitError(f"it is not JSON ({' '.join(str(error).split())[:80]})")
    return row if isinstance(row, dict) else MisfitError("it is not a JSON object")


def _example(record: bytes) -> Row:
    try:
        return row_of(record)
    except MisfitError as error:
        return error


def _gathered(rows: Iterator[tuple[Row, int]]) -> Iterator[Chunk]:
    """Rows, with the bytes of each, in chunks."""
    some, size = list[Row](), 0
    for row, row_bytes in rows:
        some.append(row)
        size += row_bytes
        if size >= _CHUNK_BYTES or len(some) >= _CHUNK_ROWS:
            yield Chunk(len(some), rows=some)
            some, size = [], 0
    if some:
        yield Chunk(len(some), rows=some)
