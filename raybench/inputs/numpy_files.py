"""Items from .npz and .npy files: keys are input names, and axis 0 counts the items."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from raybench.inputs.file_locations import InputFileError, read_bytes
from raybench.inputs.stored_items import SkippedRows, StoredItems, as_columns, fitting_rows
from raybench.inputs.wanted_values import MisfitError, Wanted, items_of_array


@dataclass(frozen=True)
class NumpyFile:
    """The arrays of a file by key; a .npy file has one without a key."""

    name: str
    arrays: Mapping[str, np.ndarray] = field(compare=False, repr=False)

    is_strict = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    def items(self, wanted: Mapping[str, Wanted], outputs: Mapping[str, Wanted]) -> StoredItems:  # noqa: ARG002
        """The items for these inputs; raises InputFileError where an array is missing, or none of them fits."""
        arrays = {name: self._array(name, alone=len(wanted) == 1) for name in wanted}
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputFileError(
                self.name, f"its arrays have different numbers of items along axis 0 ({said}): make them equal"
            )
        count = next(iter(counts.values()))
        try:
            if count:
                columns = {name: items_of_array(array, wanted[name]) for name, array in arrays.items()}
                return StoredItems(columns, SkippedRows(self.name, 0, count))
        except MisfitError:
            pass  # row by row
        rows, _, skipped = fitting_rows(
            self.name,
            count,
            lambda number: {name: _row(arrays[name], number, wanted[name]) for name in arrays},
        )
        return StoredItems(as_columns(rows), skipped)

    def _array(self, name: str, *, alone: bool) -> np.ndarray:
        """That of an input: by its key, or the only one where one input is wanted."""
        array = self.arrays.get(name)
        if array is None and alone and len(self.arrays) == 1:
            array = next(iter(self.arrays.values()))
        if array is None:
            if "" in self.arrays:
                raise InputFileError(self.name, f"it holds one array without a name: write --input {name}={self.name}")
            there = ", ".join(self.arrays)
            raise InputFileError(
                self.name, f"it has no array {name} (it has {there}): add one, or use --input {name}=random"
            )
        if array.ndim == 0:
            raise InputFileError(self.name, f"{name} is a single value: give it an axis 0, which counts the items")
        return array


def numpy_file(source: str) -> NumpyFile:
    """A .npz or .npy file; raises InputFileError where it cannot be read, or needs pickle."""
    data = read_bytes(source)
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputFileError(source, f"it is not a readable array file ({said}): save numbers or text") from error
    if not arrays:
        raise InputFileError(source, "it holds no arrays: save one for each input, under its name")
    return NumpyFile(source, arrays)


def _row(array: np.ndarray, number: int, wanted: Wanted) -> np.ndarray:
    one = items_of_array(array[number : number + 1], wanted)
    return one.reshape(one.shape[1:])
