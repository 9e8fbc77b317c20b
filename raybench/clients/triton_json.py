"""Tensors as lists of JSON (KServe v2), and as the raw bytes of Triton's gRPC interface."""

from typing import Any

import numpy as np
from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

from raybench.clients.base import ClientError

_WITHOUT_JSON = ("FP16", "BF16")  # http_server.cc: "must be binary"


def listed(name: str, datatype: str, raw: bytes) -> list[Any]:
    """The values of an input in row-major order; raises ClientError where JSON cannot hold them."""
    if datatype in _WITHOUT_JSON:
        raise ClientError(f"protocol is http-json; JSON has no {datatype}, the type of input {name}: use http or grpc")
    if datatype != "BYTES":
        return list(np.frombuffer(raw, triton_to_np_dtype(datatype)).tolist())
    try:
        return [value.decode() for value in deserialize_bytes_tensor(raw)]
    except UnicodeDecodeError as error:
        raise ClientError(
            f"protocol is http-json; input {name} has bytes that are not UTF-8 text, which Triton's JSON cannot "
            "carry: use http or grpc"
        ) from error


def packed(datatype: str, values: Any) -> bytes:
    """The raw bytes of values as JSON has them, nested or not; raises ValueError where they are not of the type."""
    if datatype == "BYTES":
        texts = [each.encode() for each in np.ravel(np.array(values, object))]
        return b"".join(len(each).to_bytes(4, "little") + each for each in texts)
    kind = triton_to_np_dtype(datatype)
    if kind is None:
        raise ValueError(f"JSON has no {datatype}")
    return np.array(values, kind).tobytes()
