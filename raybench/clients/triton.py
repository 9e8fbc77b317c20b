"""Triton over gRPC: requests are serialized before the clock starts and sent as bytes.

The bytes are KServe v2 ModelInferRequest messages (inference.GRPCInferenceService); tritonclient brings their classes.
"""

from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from raybench.clients.base import ClientError, Description, Reply

_SERVICE = "/inference.GRPCInferenceService"
_TRITON_MODEL = "saved_model"
_DESCRIBE_TIMEOUT_S = 10.0
_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels of a process share one connection
)


class TritonClient:
    """One model and signature behind Triton's `saved_model`, on a channel of its own; lanes may share it."""

    def __init__(self, url: str, *, model: str, signature: str, triton_model: str = _TRITON_MODEL) -> None:
        self._url = url
        self._triton_model = triton_model
        self._routing = {"model_name": model, "signature": signature}
        self._channel = grpc.insecure_channel(url, options=_CHANNEL)
        self._infer = self._channel.unary_unary(f"{_SERVICE}/ModelInfer")

    def describe(self) -> Description:
        metadata = self._ask("ModelMetadata", service_pb2.ModelMetadataRequest(name=self._triton_model))
        server = self._ask("ServerMetadata", service_pb2.ServerMetadataRequest())
        return Description(
            server=server.name,
            version=server.version,
            inputs=tuple(tensor.name for tensor in metadata.inputs),
            outputs=tuple(tensor.name for tensor in metadata.outputs),
        )

    def encode(self, batch: np.ndarray) -> bytes:
        """The demo's request: `model_name` and `signature` [1, 1], `images` [1, n, h, w, 3]."""
        request = service_pb2.ModelInferRequest(model_name=self._triton_model)
        for name, value in self._routing.items():
            _add(request, name, "BYTES", (1, 1), serialize_byte_tensor(np.array([value.encode()], object)).item())
        _add(request, "images", "UINT8", (1, *batch.shape), np.ascontiguousarray(batch).tobytes())
        return bytes(request.SerializeToString())

    def send(self, request: bytes, timeout_s: float) -> Reply:
        try:
            body = self._infer(request, timeout=timeout_s)
        except grpc.RpcError as error:
            return Reply(status=error.code().name, error=error.details())
        return Reply(status="OK", body=body, received_bytes=len(body))

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        response = service_pb2.ModelInferResponse.FromString(reply.body)
        return {
            tensor.name: _array(tensor, raw)
            for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }

    def close(self) -> None:
        self._channel.close()

    def _ask(self, method: str, request: Any) -> Any:
        response = getattr(service_pb2, f"{method}Response")
        call = self._channel.unary_unary(
            f"{_SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return call(request, timeout=_DESCRIBE_TIMEOUT_S, wait_for_ready=False)
        except grpc.RpcError as error:
            raise ClientError(
                f"url triton={self._url} did not answer {method} as Triton does: {error.code().name}, "
                f"{error.details()}; name the gRPC port of a Triton that serves {self._triton_model!r}"
            ) from error


def _add(request: Any, name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)


def _array(tensor: Any, raw: bytes) -> np.ndarray:
    if tensor.datatype == "BYTES":
        flat = deserialize_bytes_tensor(raw)
    else:
        flat = np.frombuffer(raw, triton_to_np_dtype(tensor.datatype))
    return np.asarray(flat).reshape(tuple(tensor.shape))
