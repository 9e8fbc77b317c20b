"""A table as a source of inputs: its rows fill some inputs, other sources the rest."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from raybench.inputs.batch_axis import has_item_axis, is_image
from raybench.inputs.file_locations import InputFileError
from raybench.inputs.source import TensorSource
from raybench.inputs.stored_items import SkippedRows
from raybench.inputs.table_rows import RowReader, RowReport, requests
from raybench.inputs.tensors import Batch, item_count, items_of, size_bytes
from raybench.inputs.wanted_values import Wanted
from raybench.models.saved_models import Signature

_LOOKED_AT = 64  # rows of which the largest tells how much memory an item takes


@dataclass(frozen=True)
class TableInputs:
    """Inputs of which a table fills some; `parts` fill the rest, by the number of an item. Equal ones send the same."""

    source: str
    reader: RowReader
    parts: tuple[tuple[str, TensorSource], ...]
    signature: Signature = field(compare=False)

    @property
    def encoding(self) -> str:
        said = [f"{its.name}: {self._encoding_of(its)}" for its in self.reader.wanted]
        return "; ".join([*said, *(f"{name}: {part.encoding}" for name, part in self.parts)])

    def _encoding_of(self, wanted: Wanted) -> str:
        first = _first_rows(self.reader)[wanted.name]
        kind = wanted.images.encoding if wanted.images and _holds_image_files(self.reader, wanted) else None
        return f"{kind or wanted.datatype.lower()} {list(first.shape[1:])}"

    @property
    def unit(self) -> str:
        specs = [self.signature.inputs[its.name] for its in self.reader.wanted]
        is_picture = any(map(is_image, specs)) or any(part.is_image for _, part in self.parts)
        return "images" if has_item_axis(self.signature) and is_picture else "inferences"

    @property
    def item_bytes(self) -> int:
        first = _first_rows(self.reader)
        largest = max(size_bytes(items_of(first, number, 1)) for number in range(item_count(first)))
        return max(1, largest) + sum(part.item_bytes for _, part in self.parts)

    distinct = None

    def batch(self, numbers: np.ndarray) -> Batch:
        """Items like those that are sent: of the first rows."""
        first = _first_rows(self.reader)
        return self.completed({name: values[numbers % len(values)] for name, values in first.items()}, numbers)

    def completed(self, rows: Batch, numbers: np.ndarray) -> Batch:
        """Rows with the values of these numbers for the inputs that the table does not fill."""
        return {**rows, **{name: part.values(numbers) for name, part in self.parts}}

    def once(self, items: int, most: int) -> tuple[list[Batch], SkippedRows]:
        """Requests of so many rows, at most so many, that hold every row; the last one goes on with the first rows.

        Raises InputFileError where no row fits.
        """
        report, found = self.report(), list[Batch]()
        for batch in requests(self._over_and_over(report), items, report):
            if report.is_over and found and report.fitting % items == 0:
                break
            found.append(batch)
            if report.is_over or len(found) == most:
                break
        return found, report.skipped()

    def report(self) -> RowReport:
        """Of rows that are yet to be read."""
        return RowReport(self.reader.table.name)

    def endless(self, items: int, part: int, parts: int, report: RowReport) -> Iterator[Batch]:
        """Requests of so many rows of one of several parts of the table, over and over; the first time is reported.

        Raises InputFileError.
        """
        return requests(self._over_and_over(report, part, parts), items, report)

    def _over_and_over(self, report: RowReport, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """The rows of a part; of the whole table where none of that part fits."""
        yield from self.reader.blocks(report, part, parts)
        report.is_over = True
        if not report.fitting and parts == 1:
            raise report.nothing()
        if not report.fitting:
            part, parts = 0, 1
        while True:
            again = RowReport(report.source)
            yield from self.reader.blocks(again, part, parts)
            if not again.fitting:
                raise again.nothing()


@cache
def _first_rows(reader: RowReader) -> Batch:
    """Some of the first rows that fit, of one shape; raises InputFileError where none fits."""
    report = RowReport(reader.table.name)
    for block in reader.blocks(report):
        return items_of(block, 0, _LOOKED_AT)
    raise report.nothing()


@cache
def _holds_image_files(reader: RowReader, wanted: Wanted) -> bool:
    return reader.holds_image_files(wanted)


def check_columns(reader: RowReader) -> None:
    """Raise InputFileError where the table lacks a column, or no row fits."""
    there, table = reader.table.columns(), reader.table
    for its in reader.wanted:
        column = dict(reader.column_of).get(its.name, its.name)
        if there is not None and column not in there:
            listed = ", ".join(there[:20])
            why = f"it has no column {column} (it has {listed}): rename one, or use --input {its.name}=random"
            raise InputFileError(table.name, why)
    _first_rows(reader)
