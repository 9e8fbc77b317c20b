"""Triton over gRPC: requests are serialized before the clock starts and sent as bytes.

The bytes are KServe v2 ModelInferRequest messages (inference.GRPCInferenceService); tritonclient brings their classes.
"""

from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from raybench.clients.base import ClientError, Description, Reply, UnsupportedReplyError
from raybench.clients.grpc.channel import DESCRIBE_TIMEOUT_S, CallError, Channel
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.kserve import INFER, ask
from raybench.clients.shared_memory import Region
from raybench.config import triton_model
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Signature, TensorSpec

_UNREADY = "Request for unknown model"  # with UNAVAILABLE: of a model that it has, and that is not loaded


class TritonClient:
    """One model and signature behind Triton's `saved_model`, on connections of its own; lanes may share it.

    With a region inputs go there, to be registered before the first request is sent.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        signature: str,
        region: Region | None = None,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
    ) -> None:
        self._url, self._region = url, region
        self._triton_model = triton_model(model)
        # The metadata is the union of all signatures' inputs: which of them one takes is known of the demo's alone.
        (self._input,) = demo_signature(signature).inputs
        self._routing = {"model_name": model, "signature": signature}
        self._channel = Channel(url, credentials)
        self._infer = self._channel.method(INFER)

    def describe(self) -> Description:
        server = self._ask("ServerMetadata")
        metadata = self._ask("ModelMetadata", name=self._triton_model)
        self._check_routing()
        inputs = {tensor.name: _spec(tensor) for tensor in metadata.inputs}
        if self._input not in inputs:
            raise ClientError(f"url triton={self._url}; its model {self._triton_model!r} has no input {self._input!r}")
        outputs = {tensor.name: _spec(tensor) for tensor in metadata.outputs}
        signature = Signature({self._input: inputs[self._input]}, outputs)
        return Description(server=server.name, version=server.version, signature=signature)

    def encode(self, batch: Batch) -> bytes:
        """The demo's request: `model_name` and `signature` [1, 1], and each input with a leading 1."""
        request = self._routed()
        for name, values in batch.items():
            is_bytes = values.dtype.kind in "OS"
            raw = serialize_byte_tensor(values).item() if is_bytes else np.ascontiguousarray(values).tobytes()
            datatype = "BYTES" if is_bytes else np_to_triton_dtype(values.dtype)
            self._add_payload(request, name, datatype, (1, *values.shape), raw)
        return bytes(request.SerializeToString())

    def readdressed(self, request: bytes) -> bytes:
        """A request of another model, asked of this one: of a scalar that is there twice protobuf takes the last."""
        return request + bytes(service_pb2.ModelInferRequest(model_name=self._triton_model).SerializeToString())

    def prepare(self, calls: int) -> None:
        self._channel.prepare(calls)

    def send(self, request: bytes, timeout_s: float) -> Reply:
        return self._infer(request, timeout_s)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        response = service_pb2.ModelInferResponse.FromString(reply.body)
        if any(tensor.HasField("contents") for tensor in response.outputs):
            raise UnsupportedReplyError("raybench does not read typed contents, but raw ones")
        return {
            tensor.name: _array(tensor, raw)
            for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }

    def about(self) -> str | None:
        """What raybench's python backend says of the model, as JSON; None where another backend answers."""
        request = self._routed()
        request.outputs.add(name="about")
        reply = self.send(bytes(request.SerializeToString()), DESCRIBE_TIMEOUT_S)
        said = self.decode(reply) if reply.is_ok else {}
        return said["about"][0] if "about" in said else None

    def close(self) -> None:
        self._channel.close()

    def _routed(self) -> Any:
        request = service_pb2.ModelInferRequest(model_name=self._triton_model)
        for name, value in self._routing.items():
            _add(request, name, "BYTES", (1, 1), serialize_byte_tensor(np.array([value.encode()], object)).item())
        return request

    def _add_payload(self, request: Any, name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> None:
        """Into the request, or into shared memory with where it lies there: Triton's extension_shared_memory.md."""
        if self._region is None:
            _add(request, name, datatype, shape, raw)
            return
        where = request.inputs.add(name=name, datatype=datatype, shape=shape).parameters
        where["shared_memory_region"].string_param = self._region.name
        where["shared_memory_offset"].int64_param = self._region.add(raw)
        where["shared_memory_byte_size"].int64_param = len(raw)

    def _check_routing(self) -> None:
        """A request without inputs computes nothing: it is refused for that, or for a name that is not there."""
        reply = self.send(bytes(self._routed().SerializeToString()), DESCRIBE_TIMEOUT_S)
        if reply.status == "NOT_FOUND":
            raise ClientError(f"url triton={self._url}: {reply.error}")

    def _ask(self, method: str, **fields: Any) -> Any:
        try:
            return ask(self._channel, method, **fields)
        except CallError as error:
            if _UNREADY in (error.said or "") and error.status == "UNAVAILABLE":
                raise ClientError(
                    f"url triton={self._url}; its model {self._triton_model!r} is not ready ({error.said}): "
                    "wait until it has loaded, or read in Triton's log why it has not"
                ) from error
            said = f"this Triton says {error.status}: {error.said}; raybench calls its model {self._triton_model!r}"
            raise ClientError(f"url triton={self._url}; {self._channel.diagnose(error, 'Triton') or said}") from error


def _add(request: Any, name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)


def _spec(tensor: Any) -> TensorSpec:
    """What a tensor of the metadata is, without Triton's leading element."""
    return TensorSpec(tensor.datatype, tuple(int(size) for size in tensor.shape[1:]))


def _array(tensor: Any, raw: bytes) -> np.ndarray:
    if tensor.datatype == "BYTES":
        flat = deserialize_bytes_tensor(raw)
    elif tensor.datatype == "BF16":
        flat = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif kind := triton_to_np_dtype(tensor.datatype):
        flat = np.frombuffer(raw, kind)
    else:
        raise UnsupportedReplyError(f"raybench does not read Triton's type {tensor.datatype or 'without a name'}")
    return np.asarray(flat).reshape(tuple(tensor.shape))
