"""TensorFlow's TensorProto, in every form that a server may answer in, and numpy arrays."""

from math import prod
from typing import Any

import numpy as np

from raybench.clients.base import UnsupportedReplyError
from raybench.inputs.tensors import bytes_of

STRING = 7  # tensorflow/core/framework/types.proto, as all numbers here
_BFLOAT16 = 14
_DTYPES: dict[int, type] = {
    1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 7: np.object_, 9: np.int64,
    8: np.complex64, 10: np.bool_, 14: np.uint16, 17: np.uint16, 18: np.complex128, 19: np.float16, 22: np.uint32,
    23: np.uint64,
}  # fmt: skip
_NUMBERS: dict[np.dtype, int] = {
    np.dtype(kind): number for number, kind in _DTYPES.items() if number not in (STRING, _BFLOAT16)
}
_PACKED = {1: "float_val", 2: "double_val", 8: "scomplex_val", 18: "dcomplex_val"}
_HALVES = (14, 19)
_MOST_VALUES = 2**28  # of a reply: a shape costs nothing, and what it claims would be filled in
_LISTED = {7: "string_val", 9: "int64_val", 10: "bool_val", 22: "uint32_val", 23: "uint64_val"}  # others: int_val


def array(tensor: Any) -> np.ndarray:
    """A TensorProto's array, bfloat16 as float32.

    Raises UnsupportedReplyError for a type or form that is not read, and ValueError where its size cannot be.
    """
    if tensor.dtype not in _DTYPES or (tensor.dtype == STRING and tensor.tensor_content):
        raise UnsupportedReplyError(f"raybench does not read this form of TensorFlow's type {tensor.dtype}")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if not 0 <= prod(shape) <= _MOST_VALUES:
        raise ValueError(f"a tensor of shape {list(shape)} has no such number of values")
    values = _filled(_values(tensor), prod(shape)).reshape(shape)
    if tensor.dtype != _BFLOAT16:
        return values
    return np.asarray(np.left_shift(values.astype(np.uint32), 16, dtype=np.uint32)).view(np.float32)  # scalars too


def put(array: np.ndarray, tensor: Any, *, is_bfloat16: bool = False) -> None:
    """An array of numbers, or of bytes (dtype O or S), into an empty TensorProto; a scalar has no dimensions."""
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "OS":
        tensor.dtype = STRING
        tensor.string_val.extend(bytes_of(array))
        return
    if is_bfloat16:
        tensor.dtype = _BFLOAT16
        tensor.tensor_content = (np.asarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return
    tensor.dtype = _NUMBERS[array.dtype]
    tensor.tensor_content = np.ascontiguousarray(array).tobytes()


def _values(tensor: Any) -> np.ndarray:
    dtype = _DTYPES[tensor.dtype]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype)
    if tensor.dtype in _PACKED:
        return np.frombuffer(b"".join(getattr(tensor, _PACKED[tensor.dtype])), dtype)
    if tensor.dtype in _HALVES:
        return np.array(list(tensor.half_val), np.uint16).view(dtype)
    return np.array(list(getattr(tensor, _LISTED.get(tensor.dtype, "int_val"))), dtype)


def _filled(values: np.ndarray, count: int) -> np.ndarray:
    """The last value stands for those that are left out, zero where there is none (tensorflow/core/framework/tensor.cc,
    FromProtoField)."""
    missing = count - len(values)
    if missing <= 0:
        return values
    last = values[-1:] if len(values) else np.zeros(1, values.dtype)
    return np.concatenate([values, np.repeat(last, missing)])
