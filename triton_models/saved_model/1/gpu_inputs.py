"""Inputs that a client has put on a GPU, as Triton hands them over: to TensorFlow by DLPack, without a copy."""

from math import prod
from typing import Any

import numpy as np


class GpuInput:
    """A tensor on a GPU, with as much of an array as requests are checked and grouped by."""

    def __init__(self, tf: Any, tensor: Any) -> None:
        self._tf, self.tensor = tf, tensor
        self.shape: tuple[int, ...] = tuple(tensor.shape)
        self.dtype = np.dtype(tensor.dtype.as_numpy_dtype)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, shape: tuple[int, ...]) -> "GpuInput":
        """The same memory."""
        return GpuInput(self._tf, self._tf.reshape(self.tensor, shape))


Input = np.ndarray | GpuInput


def lent(tensor: Any) -> GpuInput:
    """A tensor of Triton's that lies on a GPU, as long as it is kept."""
    import tensorflow as tf

    return GpuInput(tf, tf.experimental.dlpack.from_dlpack(tensor.to_dlpack()))


def joined(tf: Any, parts: list[Input]) -> Any:
    """One tensor of parts along axis 0, of which some lie on a GPU; the others go there."""
    tensors = [part.tensor if isinstance(part, GpuInput) else tf.constant(part) for part in parts]
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, 0)
