"""Batches in a file, without pickle: numbers as they are, bytes as joined bytes and lengths."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_LENGTHS = ".lengths"


def write_batches(path: Path, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write batches to a .npz file."""
    arrays = {f"{number}/{name}": a for number, batch in enumerate(batches) for name, a in flat(batch).items()}
    np.savez(path, **arrays)


def read_batches(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    """The first batches of a file."""
    with np.load(path, allow_pickle=False) as file:
        found: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
        for entry in file:
            number, _, name = entry.partition("/")
            found[int(number)][name] = file[entry]
    return [_unflat(batch) for batch in found]


def flat(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of bytes as their joined bytes and their lengths: zeros at the end are kept."""
    arrays: dict[str, np.ndarray] = {}
    for name, array in batch.items():
        if array.dtype.kind in "OS":
            values = [bytes(value) for value in array.ravel().tolist()]
            arrays[name] = np.frombuffer(b"".join(values), np.uint8)
            arrays[f"{name}{_LENGTHS}"] = np.array([len(value) for value in values], np.int64).reshape(array.shape)
        else:
            arrays[name] = array
    return arrays


def _unflat(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [name for name in arrays if not name.endswith(_LENGTHS)]
    return {name: _bytes(arrays[name], arrays.get(f"{name}{_LENGTHS}")) for name in names}


def _bytes(array: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    if lengths is None:
        return array
    ends = np.cumsum(lengths.ravel())
    values = np.empty(lengths.size, object)
    for number, (end, length) in enumerate(zip(ends, lengths.ravel(), strict=True)):
        values[number] = array[end - length : end].tobytes()
    return values.reshape(lengths.shape)
