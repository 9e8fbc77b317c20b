"""Triton over gRPC: requests are serialized before the clock starts and sent as bytes.

The bytes are KServe v2 ModelInferRequest messages (inference.GRPCInferenceService); tritonclient brings their classes.
"""

import json
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from raybench.clients.base import ClientError, Description, Reply, UnsupportedReplyError
from raybench.clients.grpc.channel import DESCRIBE_TIMEOUT_S, CallError, Channel
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.kserve import INFER, ask
from raybench.clients.shared_memory import Region
from raybench.config import ECHO, EXPORTED, JPEGS
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.tensors import Batch, bytes_of
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import Signature, TensorSpec

_ABOUT, _ROUTING = "about", ("model_name", "signature")
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
        spec: Signature | None = None,
        is_direct: bool = False,
        region: Region | None = None,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
    ) -> None:
        self._url, self._region = url, region
        self._model, self._signature = model, signature
        self._datatypes = {name: each.datatype for name, each in spec.inputs.items()} if spec else {}
        self._is_routed = not (is_direct or model == ECHO)
        self._triton_model = "saved_model" if self._is_routed else model
        self._channel = Channel(url, credentials)
        self._infer = self._channel.method(INFER)

    def describe(self) -> Description:
        server = self._ask("ServerMetadata")
        signatures = self._routed_signatures() if self._is_routed else {self._signature: self._own_signature()}
        chosen = self._signature or default_signature(signatures) or ""
        return Description(
            server=server.name,
            version=server.version,
            signature=signatures.get(chosen, Signature({}, {})),
            signatures={name: signature for name, signature in signatures.items() if name},
        )

    def _own_signature(self) -> Signature:
        """What a Triton model takes and returns, by its metadata, with its batch axis where it has one."""
        metadata = self._ask("ModelMetadata", name=self._triton_model)
        config = self._ask("ModelConfig", name=self._triton_model).config
        inputs = {tensor.name: _spec(tensor) for tensor in metadata.inputs if tensor.name not in _ROUTING}
        return Signature(
            inputs=inputs,
            outputs={tensor.name: _spec(tensor) for tensor in metadata.outputs},
            optional=frozenset(each.name for each in config.input if each.optional),
            most_items=config.max_batch_size or None,
        )

    def _routed_signatures(self) -> dict[str, Signature]:
        """The signatures of a SavedModel behind raybench's python backend; raises ClientError where it is not there."""
        metadata = self._ask("ModelMetadata", name=self._triton_model)
        self._check_routing()
        if not any(tensor.name == _ABOUT for tensor in metadata.outputs):
            return _of_a_demo(metadata, self._url)
        said = json.loads(self.about(model="") or "{}")
        if "signatures" not in said:  # an older raybench's
            return _of_a_demo(metadata, self._url)
        found = said["signatures"].get(self._model, {})
        return {name: Signature(_specs(inputs), _specs(outputs)) for name, (inputs, outputs) in found.items()}

    def encode(self, batch: Batch) -> bytes:
        """Each input as it is or, behind raybench's backend, as the demo has it: `model_name` and `signature` [1, 1],
        and each input with a leading 1."""
        request = self._routed() if self._is_routed else self._plain()
        for name, values in batch.items():
            datatype = self._datatypes.get(name) or np_to_triton_dtype(values.dtype)
            shape = (1, *(values.shape or (1,))) if self._is_routed else values.shape or (1,)
            self._add_payload(request, name, datatype, shape, _raw(values, datatype))
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

    def about(self, model: str | None = None) -> str | None:
        """What raybench's python backend says of the model, or of all (an empty name), as JSON; None where another
        backend answers."""
        if not self._is_routed:
            return None
        request = self._routed(model)
        request.outputs.add(name="about")
        reply = self.send(bytes(request.SerializeToString()), DESCRIBE_TIMEOUT_S)
        said = self.decode(reply) if reply.is_ok else {}
        return said["about"][0] if "about" in said else None

    def close(self) -> None:
        self._channel.close()

    def _plain(self) -> Any:
        return service_pb2.ModelInferRequest(model_name=self._triton_model)

    def _routed(self, model: str | None = None) -> Any:
        request = self._plain()
        routing = {"model_name": self._model if model is None else model, "signature": self._signature}
        for name, value in routing.items():
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
    return TensorSpec(tensor.datatype, tuple(map(int, tensor.shape)))


def _specs(described: dict[str, Any]) -> dict[str, TensorSpec]:
    """Tensors as the backend describes them: by name [datatype, shape]."""
    return {
        name: TensorSpec(datatype, None if shape is None else tuple(shape))
        for name, (datatype, shape) in described.items()
    }


def _of_a_demo(metadata: Any, url: str) -> dict[str, Signature]:
    """The signatures of the original demo's backend, whose metadata is the union of all inputs with a leading 1."""
    found = {}
    for name in (EXPORTED, JPEGS):
        ((wanted, _),) = demo_signature(name).inputs.items()
        spec = next((_spec(tensor) for tensor in metadata.inputs if tensor.name == wanted), None)
        if spec:
            outputs = {tensor.name: _without_leading(_spec(tensor)) for tensor in metadata.outputs}
            found[name] = Signature({wanted: _without_leading(spec)}, outputs)
    if not found:
        raise ClientError(f"url triton={url}; its model 'saved_model' takes neither images nor JPEG files")
    return found


def _without_leading(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.datatype, (spec.shape or ())[1:])


def _raw(values: np.ndarray, datatype: str) -> bytes:
    """A tensor's bytes, row-major; of BYTES each element after its length, 4 bytes little-endian."""
    if datatype == "BYTES":
        return b"".join(len(value).to_bytes(4, "little") + value for value in bytes_of(values))
    if datatype == "BF16":
        return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return np.ascontiguousarray(values).tobytes()


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
