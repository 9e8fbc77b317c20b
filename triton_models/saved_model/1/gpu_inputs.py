"""Inputs that a client has put on a GPU, as Triton lends them; TensorFlow takes them by DLPack, where they lie."""

import ctypes
from math import prod
from typing import Any

import numpy as np


class GpuInput:
    """A tensor on a GPU, with its address there and as much of an array as requests are checked and grouped by."""

    def __init__(self, tf: Any, tensor: Any, address: int) -> None:
        self._tf, self.tensor, self.address = tf, tensor, address
        self.shape: tuple[int, ...] = tuple(tensor.shape)
        self.dtype = np.dtype(tensor.dtype.as_numpy_dtype)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, shape: tuple[int, ...]) -> "GpuInput":
        """At the same address; TensorFlow has a copy of int32 on the host."""
        return GpuInput(self._tf, self._tf.reshape(self.tensor, shape), self.address)


Input = np.ndarray | GpuInput


def lent(tensor: Any) -> GpuInput:
    """A tensor of Triton's that lies on a GPU, in memory that Triton lends until execute() returns."""
    import tensorflow as tf

    capsule = tensor.to_dlpack()
    address = address_in(capsule)  # before TensorFlow takes the tensor out of it
    return GpuInput(tf, tf.experimental.dlpack.from_dlpack(capsule), address)


def joined(tf: Any, parts: list[Input]) -> Any:
    """One tensor of parts along axis 0, of which some lie on a GPU; the others go there."""
    tensors = [part.tensor if isinstance(part, GpuInput) else tf.constant(part) for part in parts]
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, 0)


class _DlTensor(ctypes.Structure):
    """What a capsule named dltensor begins with: DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("type_code", ctypes.c_uint8),
        ("type_bits", ctypes.c_uint8),
        ("type_lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def address_in(capsule: Any) -> int:
    """Where the tensor of a DLPack capsule lies that nobody has taken yet; raises ValueError where it is taken."""
    tensor = _DlTensor.from_address(_pointer_in(capsule, b"dltensor"))
    return int(tensor.data or 0) + int(tensor.byte_offset)
