"""Rows of a table as items: checked, converted, and put together into requests."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.inputs.arrow_columns import array_of
from raybench.inputs.file_locations import InputFileError
from raybench.inputs.stored_items import EXAMPLES, SkippedRows, as_columns, none_fits
from raybench.inputs.table_files import CSV, TFRECORD, Chunk, Row, TableFiles
from raybench.inputs.tensors import Batch, concatenated, item_count, items_of
from raybench.inputs.wanted_values import MisfitError, Wanted, is_image_file, item_of


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of a table for some inputs, each from the column of its name or of the one that is given."""

    table: TableFiles
    wanted: tuple[Wanted, ...]
    column_of: tuple[tuple[str, str], ...] = ()

    def blocks(self, report: "RowReport", part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """The rows that fit, in order, as batches whose items have one shape; of several parts one.

        Raises InputFileError where a file cannot be read.
        """
        names = [self._column(its) for its in self.wanted]
        pieces = self.table.pieces()
        is_dealt = len(pieces) >= parts  # each part has its own pieces; else its own chunks of all
        number = 0
        for piece in pieces[part::parts] if is_dealt else pieces:
            first = piece.first_row
            where = f" of {piece.path}" if len(self.table.paths) > 1 else ""
            for chunk in self.table.chunks(piece, names):
                if is_dealt or number % parts == part:
                    yield from self._fitting(chunk, report, first, where)
                first, number = first + chunk.count, number + 1

    def holds_image_files(self, wanted: Wanted) -> bool:
        """Whether the first rows of its column hold image files to decode; raises InputFileError."""
        column, piece = self._column(wanted), self.table.pieces()[0]
        for chunk in self.table.chunks(piece, [column]):
            rows = [row.get(column) for row in _rows(chunk) if not isinstance(row, MisfitError)]
            return any(is_image_file(_single(value), wanted) for value in rows)
        return False

    def _fitting(self, chunk: Chunk, report: "RowReport", first: int, where: str) -> Iterator[Batch]:
        report.total += chunk.count
        if chunk.columns is not None and (whole := self._whole(chunk.columns)):
            yield whole
            return
        rows = list[Batch]()
        for number, row in enumerate(_rows(chunk)):
            try:
                rows.append({its.name: self._item(row, its) for its in self.wanted})
            except MisfitError as error:
                report.add(f"row {first + number}{where}: {error}")
        yield from _runs(rows)

    def _whole(self, columns: Mapping[str, pa.Array]) -> Batch | None:
        """All rows of a chunk at once; None where one of them does not fit, or they differ in shape."""
        found: dict[str, np.ndarray] = {}
        for its in self.wanted:
            column = columns.get(self._column(its))
            array = None if column is None else array_of(column, its)
            if array is None:
                return None
            found[its.name] = array
        return found

    def _item(self, row: Row, wanted: Wanted) -> np.ndarray:
        if isinstance(row, MisfitError):
            raise row
        column = self._column(wanted)
        if column not in row:
            raise MisfitError(f"it has no {column}")
        value = row[column]
        if self.table.kind == CSV:
            value = _cell(value, wanted)
        elif self.table.kind == TFRECORD:
            value = _feature(value, wanted)
        return item_of(value, wanted)

    def _column(self, wanted: Wanted) -> str:
        return dict(self.column_of).get(wanted.name, wanted.name)


@dataclass
class RowReport:
    """What was looked at, and the rows that were skipped."""

    source: str
    total: int = 0
    count: int = 0
    examples: list[str] = field(default_factory=list)
    is_over: bool = False  # every row was looked at once

    @property
    def fitting(self) -> int:
        return self.total - self.count

    def add(self, reason: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(reason)

    def skipped(self) -> SkippedRows:
        return SkippedRows(self.source, self.count, self.total, tuple(self.examples))

    def nothing(self) -> InputFileError:
        """The error where no row was found."""
        return none_fits(self.source, self.examples, self.count)


def requests(blocks: Iterator[Batch], items: int, report: RowReport) -> Iterator[Batch]:
    """Batches of so many items; where that is more than one, all have the shapes of the first row. What is left at the
    end is not among them."""
    form, waiting, count = None, list[Batch](), 0
    for block in blocks:
        if items > 1 and (form := form or _form(block)) != _form(block):
            for _ in range(item_count(block)):
                report.add("a row has other shapes than the first (only -b 1 sends them)")
            continue
        waiting.append(block)
        count += item_count(block)
        if count < items:
            continue
        joined = concatenated(waiting)
        for first in range(0, count - items + 1, items):
            yield items_of(joined, first, items)
        left = count % items
        waiting, count = ([items_of(joined, item_count(joined) - left, left)] if left else []), left


def _rows(chunk: Chunk) -> Sequence[Row]:
    if chunk.columns is None:
        return chunk.rows
    values = {name: column.to_pylist() for name, column in chunk.columns.items()}
    return [{name: column[number] for name, column in values.items()} for number in range(chunk.count)]


def _runs(rows: Sequence[Batch]) -> Iterator[Batch]:
    """Neighbours of one shape as one batch."""
    first = 0
    for number in range(1, len(rows) + 1):
        if number == len(rows) or _shapes(rows[number]) != _shapes(rows[first]):
            yield {name: np.asarray(column) for name, column in as_columns(rows[first:number]).items()}
            first = number


def _shapes(row: Batch) -> tuple[tuple[int, ...], ...]:
    return tuple(value.shape for value in row.values())


def _form(block: Batch) -> tuple[tuple[int, ...], ...]:
    return tuple(values.shape[1:] for values in block.values())


def _cell(text: str | None, wanted: Wanted) -> Any:
    """The text of a CSV's cell as a number or a list, where the input takes such."""
    if text is None or (wanted.datatype == "BYTES" and wanted.shape in ((), (1,), None)):
        return text
    try:
        return json.loads(text.strip().lower() if wanted.datatype == "BOOL" else text)
    except ValueError:
        pass
    try:
        return float(text)  # such as 1. or nan
    except ValueError as error:
        raise MisfitError(f"{wanted.name} has {text[:40]!r}, but it takes {wanted.datatype}") from error


def _feature(value: Any, wanted: Wanted) -> Any:
    """A feature's list; raw bytes where it holds those, and truths, which an Example has as integers."""
    if wanted.datatype == "BYTES" or not value:
        return value
    if isinstance(_single(value), bytes):
        return value[0]
    return [bool(each) for each in value] if wanted.datatype == "BOOL" and set(value) <= {0, 1} else value


def _single(value: Any) -> Any:
    """The value of a feature, which is a list, where it is a single one; else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
