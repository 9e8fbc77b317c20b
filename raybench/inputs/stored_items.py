"""Items that lie in memory: what was read of a file, the rows that were skipped, and the values of each input."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from raybench.inputs.file_locations import InputFileError
from raybench.inputs.tensors import Batch, size_bytes
from raybench.inputs.wanted_values import MisfitError

EXAMPLES = 5
Column = np.ndarray | tuple[np.ndarray | None, ...]  # items along axis 0; apart where shapes differ or one is left out


@dataclass(frozen=True)
class SkippedRows:
    """Rows that do not fit: how many of how many, and the first few with their reasons."""

    source: str
    count: int = 0
    total: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"skipped {self.count} of {self.total} rows of {self.source}: {'; '.join(self.examples)}{more}"


def skipped_in_all(parts: Sequence[SkippedRows]) -> SkippedRows | None:
    """What several workers skipped of one source, together; None where no worker read it."""
    if not parts:
        return None
    examples = [example for part in parts for example in part.examples][:EXAMPLES]
    count, total = sum(part.count for part in parts), sum(part.total for part in parts)
    return SkippedRows(parts[0].source, count, total, tuple(examples))


@dataclass(frozen=True)
class StoredItems:
    """What a file holds for some inputs, the outputs that it expects of each item, and what was skipped."""

    columns: Mapping[str, Column]
    skipped: SkippedRows
    expected: tuple[Batch, ...] | None = None


@dataclass(frozen=True)
class StoredValues:
    """The values of one input; item i is entry i, over and over. Equal ones hold the same."""

    column: Column = field(compare=False, repr=False)
    datatype: str
    is_image: bool
    digest: str

    @property
    def encoding(self) -> str:
        shapes = {str(list(each.shape)) for each in _first_ones(self.column)}
        return f"{self.datatype.lower()} {shapes.pop() if len(shapes) == 1 else 'of several shapes'}"

    @property
    def item_bytes(self) -> int:
        if isinstance(self.column, np.ndarray) and self.column.dtype.kind != "O":
            return max(1, self.column.nbytes // len(self.column))
        return max(1, *(size_bytes({"": each}) for each in _each(self.column) if each is not None))

    @property
    def distinct(self) -> int:
        return len(self.column)

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The values of items by number: [n, *shape], where all have one shape."""
        picked = np.asarray(numbers) % len(self.column)
        if isinstance(self.column, np.ndarray):
            return self.column[picked]
        return _stacked([self.column[number] for number in picked.tolist()])

    def form(self, number: int) -> tuple[int, ...] | None:
        """The shape of an item; None where it is left out."""
        one = self.column[number % len(self.column)]
        return None if one is None else np.shape(one) if isinstance(self.column, tuple) else self.column.shape[1:]


def stored_values(column: Column, datatype: str, *, is_image: bool) -> StoredValues:
    return StoredValues(column, datatype, is_image, _digest(column))


def fitting_rows(source: str, count: int, row: Callable[[int], Batch]) -> tuple[list[Batch], list[int], SkippedRows]:
    """The rows that fit, their numbers, and what was skipped; raises InputFileError where none fits."""
    found, numbers, reasons = list[Batch](), list[int](), list[str]()
    for number in range(count):
        try:
            found.append(row(number))
            numbers.append(number)
        except MisfitError as error:
            reasons.append(f"row {number}: {error}")
    if not found:
        raise none_fits(source, reasons)
    skipped = SkippedRows(source, len(reasons), count, tuple(reasons[:EXAMPLES]))
    return found, numbers, skipped


def none_fits(source: str, reasons: Sequence[str], count: int | None = None) -> InputFileError:
    """The error of a source that has no row to send."""
    if not reasons:
        return InputFileError(source, "it has no rows: name a file that has")
    rows = len(reasons) if count is None else count
    what = "its only row does not fit" if rows == 1 else f"none of its {rows} rows fits"
    return InputFileError(source, f"{what} ({reasons[0]}): correct it, or choose another file or --signature")


def as_columns(rows: Sequence[Batch]) -> dict[str, Column]:
    """Rows by input; stacked where all have one shape."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: list[np.ndarray | None]) -> Column:
    if any(each is None for each in values) or len({each.shape for each in values if each is not None}) > 1:
        return tuple(values)
    return _stacked(values)


def _stacked(values: Sequence[np.ndarray | None]) -> np.ndarray:
    there = [each for each in values if each is not None]
    stacked = np.empty((len(there), *there[0].shape), there[0].dtype)
    for number, each in enumerate(there):
        stacked[number] = each[()] if each.shape == () else each
    return stacked


def _each(column: Column) -> Iterable[np.ndarray | None]:
    return (np.asarray(each, object) if isinstance(each, bytes) else each for each in column)


def _first_ones(column: Column) -> Iterable[np.ndarray]:
    return (
        [column[0]]
        if isinstance(column, np.ndarray) and column.ndim > 1
        else [
            np.asarray(each) if isinstance(column, tuple) else np.zeros(())
            for each in column[:1000]
            if each is not None
        ]
    )


def _digest(column: Column) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for each in [column] if isinstance(column, np.ndarray) else column:
        digest.update(f"{None if each is None else (each.shape, each.dtype.kind)}".encode())
        if each is not None and each.dtype.kind == "O":
            for value in each.ravel().tolist():
                digest.update(len(value).to_bytes(8, "little") + value)
        elif each is not None:
            digest.update(np.ascontiguousarray(each).data)
    return digest.hexdigest()
