"""Tensors between numpy and Triton: their bytes on the wire, and what Triton says of them."""

from typing import Any

import numpy as np
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from raybench.clients.base import UnsupportedReplyError
from raybench.inputs.tensors import bytes_of
from raybench.models.saved_models import TensorSpec


def spec_of(tensor: Any) -> TensorSpec:
    return TensorSpec(tensor.datatype, tuple(map(int, tensor.shape)))


def described_specs(described: dict[str, Any]) -> dict[str, TensorSpec]:
    """Tensors as the backend describes them: by name [datatype, shape]."""
    return {
        name: TensorSpec(datatype, None if shape is None else tuple(shape))
        for name, (datatype, shape) in described.items()
    }


def raw_bytes(values: np.ndarray, datatype: str) -> bytes:
    """A tensor's bytes, row-major; of BYTES each element after its length, 4 bytes little-endian."""
    if datatype == "BYTES":
        return b"".join(len(value).to_bytes(4, "little") + value for value in bytes_of(values))
    if datatype == "BF16":
        return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return np.ascontiguousarray(values).tobytes()


def array_of(tensor: Any, raw: bytes) -> np.ndarray:
    if tensor.datatype == "BYTES":
        flat = deserialize_bytes_tensor(raw)
    elif tensor.datatype == "BF16":
        flat = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif kind := triton_to_np_dtype(tensor.datatype):
        flat = np.frombuffer(raw, kind)
    else:
        raise UnsupportedReplyError(f"raybench does not read Triton's type {tensor.datatype or 'without a name'}")
    return np.asarray(flat).reshape(tuple(tensor.shape))
