"""Requests of one execute() -> TensorFlow calls that several requests share; pure, no TensorFlow, no Triton."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Call:
    """What one request asks for: a callable's key and its inputs, each without Triton's leading element."""

    position: int
    key: tuple[str, int, str]
    inputs: dict[str, np.ndarray]
    outputs: frozenset[str]

    @property
    def images(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def kind(self) -> tuple[object, ...]:
        """Calls of equal kind can be concatenated: same callable, dtypes and trailing shapes."""
        return (self.key, *((name, a.dtype.str, a.shape[1:]) for name, a in sorted(self.inputs.items())))

    @property
    def is_aligned(self) -> bool:
        """Whether all inputs have the same first dimension, so that one split fits all."""
        return len({array.shape[:1] for array in self.inputs.values()}) == 1


Lot = tuple[Call, ...]  # answered by one TensorFlow call


def is_full(lot: Lot, *, max_images: int) -> bool:
    """Whether another call like its first would not fit: one that would had better be waited for."""
    return sum(call.images for call in lot) + lot[0].images > max_images


def merged(calls: Iterable[Call], *, max_images: int) -> Iterator[Lot]:
    """Group calls of equal kind, in order of arrival, into lots of at most `max_images`; a larger call goes alone."""
    by_kind: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        by_kind.setdefault(call.kind, []).append(call)
    for alike in by_kind.values():
        lot: list[Call] = []
        for call in alike:
            if lot and sum(c.images for c in lot) + call.images > max_images:
                yield tuple(lot)
                lot = []
            lot.append(call)
        yield tuple(lot)


class Scratch:
    """Reused memory for concatenated inputs, 64-byte aligned as TensorFlow's CPU kernels demand of borrowed buffers."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def concatenate(self, name: str, parts: list[np.ndarray]) -> np.ndarray:
        """The parts one behind the other; valid until the next call with this name."""
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        dtype = parts[0].dtype
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        whole: np.ndarray = self._aligned(name, n_bytes)[:n_bytes].view(dtype).reshape(shape)
        return np.concatenate(parts, out=whole)

    def holds(self, array: np.ndarray) -> bool:
        return any(np.may_share_memory(array, buffer) for buffer in self._buffers.values())

    def _aligned(self, name: str, n_bytes: int) -> np.ndarray:
        if name not in self._buffers or self._buffers[name].nbytes < n_bytes:
            raw = np.empty(n_bytes + 64, np.uint8)
            self._buffers[name] = raw[-raw.ctypes.data % 64 :][:n_bytes]
        return self._buffers[name]
