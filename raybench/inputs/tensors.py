"""Batches: what one request carries, as arrays by input name with an item along axis 0."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench.models.saved_models import TensorSpec

Batch = Mapping[str, np.ndarray]  # BYTES are arrays of dtype object that hold bytes


def item_count(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def items_of(batch: Batch, first: int, count: int) -> dict[str, np.ndarray]:
    """So many items of a batch from number `first` on, or as many as there are."""
    return {name: array[first : first + count] for name, array in batch.items()}


def concatenated(batches: Sequence[Batch]) -> Batch:
    """One batch of the items of several."""
    if len(batches) == 1:
        return batches[0]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def unnested(batch: Batch) -> dict[str, np.ndarray]:
    """A batch whose strings with more than one for each item came through Ray Data as arrays in an array."""
    return {name: _unnested(array) for name, array in batch.items()}


def _unnested(array: np.ndarray) -> np.ndarray:
    if array.dtype != object or not len(array) or not isinstance(array[0], np.ndarray | list):
        return array
    rows = [np.asarray(_unnested(np.asarray(row, object)), object) for row in array]
    made = np.empty((len(rows), *rows[0].shape), object)
    for number, row in enumerate(rows):
        made[number, ...] = row
    return made


def item_hashes(batch: Batch) -> tuple[str, ...]:
    """What distinguishes items: equal items have equal hashes."""
    return tuple(_hash(items_of(batch, number, 1)) for number in range(item_count(batch)))


def bytes_of(array: np.ndarray) -> list[bytes]:
    """The values of an array of bytes, in row-major order."""
    return [bytes(value) for value in array.ravel().tolist()]


def size_bytes(batch: Batch) -> int:
    """The bytes of the values, without what a wire format puts around them."""
    return sum(sum(map(len, bytes_of(a))) if a.dtype.kind in "OS" else int(a.nbytes) for a in batch.values())


def described(name: str, spec: TensorSpec) -> str:
    """An input in words, such as images UINT8 [-1, 32, 32, 3]."""
    return f"{name} {spec.datatype} {'of any rank' if spec.shape is None else list(spec.shape)}"


def _hash(batch: Batch) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in batch.values():
        for part in _buffers(array):
            digest.update(part)
    return digest.hexdigest()


def _buffers(array: np.ndarray) -> Sequence[Any]:
    if array.dtype.kind not in "OS":
        return [np.ascontiguousarray(array).data]
    values = bytes_of(array)
    return [np.array([len(value) for value in values], np.int64).data, *values]
