"""Columns of Arrow tables as arrays, where all of their rows fit an input and have one shape."""

import numpy as np
import pyarrow as pa
from pyarrow import types

from raybench.inputs.wanted_values import MisfitError, Wanted, from_raw, items_of_array


def array_of(column: pa.Array, wanted: Wanted) -> np.ndarray | None:
    """The rows of a column [n, *shape]; None where one does not fit: each has to be looked at."""
    try:
        if _holds_raw(column.type, wanted):
            return _raw(column, wanted)
        values = _values(column)
        return None if values is None else items_of_array(values, wanted)
    except MisfitError:
        return None


def _holds_raw(kind: pa.DataType, wanted: Wanted) -> bool:
    is_binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return is_binary and wanted.datatype != "BYTES"


def _raw(column: pa.Array, wanted: Wanted) -> np.ndarray | None:
    """Rows of little-endian bytes, each as long as an item; not copied where numbers need no conversion."""
    if column.null_count or wanted.size is None:
        return None
    item_bytes, count = wanted.size * wanted.value_bytes, len(column)
    if types.is_fixed_size_binary(column.type):
        if column.type.byte_width != item_bytes:
            return None
        first, data = column.offset * item_bytes, column.buffers()[1]
    else:
        width = np.int64 if types.is_large_binary(column.type) else np.int32
        offsets = np.frombuffer(column.buffers()[1], width)[column.offset : column.offset + count + 1]
        if (np.diff(offsets) != item_bytes).any():
            return None
        first, data = int(offsets[0]), column.buffers()[2]
    raw = memoryview(data)[first : first + count * item_bytes]
    return from_raw(raw, Wanted(wanted.name, wanted.datatype, None), None).reshape(count, *(wanted.shape or ()))


def _values(column: pa.Array) -> np.ndarray | None:
    """Rows of numbers, texts or nested lists of one shape; None where they differ, or are of another type."""
    kind = column.type
    if column.null_count:
        return None
    if isinstance(kind, pa.FixedShapeTensorType):
        return np.asarray(column.to_numpy_ndarray())
    if isinstance(kind, pa.BaseExtensionType):
        return _values(column.storage)
    if types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if types.is_fixed_size_list(kind):
        return _nested(column, kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        lengths = np.diff(column.offsets.to_numpy())
        return _nested(column, int(lengths[0])) if len(lengths) and (lengths == lengths[0]).all() else None
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        texts = np.empty(len(column), object)
        texts[:] = column.to_pylist()
        return texts
    return None


def _nested(column: pa.Array, length: int) -> np.ndarray | None:
    inner = _values(column.flatten())
    return None if inner is None else inner.reshape(len(column), length, *inner.shape[1:])
