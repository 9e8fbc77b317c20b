"""Triton over gRPC or HTTP: requests are serialized before the clock starts and sent as bytes.

A model is asked for behind raybench's `saved_model`, to which requests name it, or as a Triton model of its own name.

Requests are KServe v2 ModelInferRequest messages (inference.GRPCInferenceService), whose classes tritonclient brings; a
TritonService turns them into bytes.
"""

import json
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from raybench.clients.base import ClientError, Description, InputRegion, Reply, UnsupportedReplyError
from raybench.clients.grpc.channel import DESCRIBE_TIMEOUT_S, CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.triton_own_model import OwnModel
from raybench.clients.triton_service import is_unready, triton_service
from raybench.clients.triton_tensors import array_of, described_specs, raw_bytes, spec_of
from raybench.config import ECHO, EXPORTED, JPEGS, OWN_CLIENT, SAVED_MODEL
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.tensors import Batch
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import Signature, TensorSpec

_ABOUT = "about"


class TritonClient:
    """One model and signature, on connections of its own; lanes may share it.

    `is_direct` is one under its own name. With a region inputs go there, to be registered before the first request is
    sent.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        signature: str,
        spec: Signature | None = None,
        is_direct: bool = False,
        region: InputRegion | None = None,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
        protocol: str | None = None,
        client: str = OWN_CLIENT,
    ) -> None:
        self._url, self._region = url, region
        self._model, self._signature = model, signature
        self._datatypes = {name: each.datatype for name, each in spec.inputs.items()} if spec else {}
        self._has_leading = not is_direct
        self._is_routed = not (is_direct or model == ECHO)
        self._triton_model = SAVED_MODEL if self._is_routed else model
        self._service = triton_service(url, credentials, protocol=protocol, client=client)
        self._infer = self._service.infer(self._triton_model)
        self._send = region.sender(self._infer) if region else self._infer

    def describe(self) -> Description:
        server = self._ask("ServerMetadata")
        signatures = self._routed_signatures() if self._is_routed else self._own_signatures()
        chosen = self._signature or default_signature(filter(None, signatures)) or ""
        return Description(
            server=server.name,
            version=server.version,
            signature=signatures.get(chosen, Signature({}, {})),
            signatures={name: signature for name, signature in signatures.items() if name},
        )

    def _own_signatures(self) -> dict[str, Signature]:
        """Of a Triton model by name: those of a SavedModel in layout per-model, else one, whatever it is asked for."""
        metadata = self._ask("ModelMetadata", name=self._triton_model)
        if self._model == ECHO:
            return {self._signature: demo_signature(self._signature or EXPORTED)}
        own = self._own_model.signature(metadata)
        served = self._own_model.served_signature
        if not served:
            return {self._signature: own}
        listed = self._backend_signatures() or {}
        return {**listed, served: replace(listed.get(served, own), most_items=own.most_items)}

    @cached_property
    def _own_model(self) -> OwnModel:
        return OwnModel(self._ask("ModelConfig", name=self._triton_model).config)

    def _routed_signatures(self) -> dict[str, Signature]:
        """The signatures of a SavedModel behind raybench's python backend; raises ClientError where it is not there."""
        metadata = self._ask("ModelMetadata", name=self._triton_model)
        if self._signature:
            self._check_routing()
        if not any(tensor.name == _ABOUT for tensor in metadata.outputs):
            return _of_a_demo(metadata, self._url)
        listed = self._backend_signatures()
        return _of_a_demo(metadata, self._url) if listed is None else listed

    def _backend_signatures(self) -> dict[str, Signature] | None:
        """What raybench's backend says of the model; None where it says nothing, such as an older one."""
        said = self.about(model="")
        if "signatures" not in said:
            return None
        found = said["signatures"].get(self._model, {})
        return {
            name: Signature(described_specs(inputs), described_specs(outputs))
            for name, (inputs, outputs) in found.items()
        }

    def encode(self, batch: Batch) -> Any:
        """Each input as it is or, behind raybench's backend, as the demo has it: `model_name` and `signature` [1, 1],
        and each input with a leading 1."""
        request = self._routed() if self._is_routed else self._direct()
        for name, values in batch.items():
            datatype = self._datatypes.get(name) or np_to_triton_dtype(values.dtype)
            self._add_payload(request, name, datatype, self._shape(name, values), raw_bytes(values, datatype))
        body = self._service.encode(request)
        return self._region.staged(body) if self._region else body

    def prepare(self, calls: int) -> None:
        self._service.prepare(calls)

    def send(self, request: Any, timeout_s: float) -> Reply:
        return self._send(request, timeout_s)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        response = self._service.decode(reply)
        if any(tensor.HasField("contents") for tensor in response.outputs):
            raise UnsupportedReplyError("raybench reads raw contents only, and these are typed")
        arrays = {
            tensor.name: array_of(tensor, raw)
            for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        if self._has_leading:
            return arrays
        own = self._own_model
        return {name: array.reshape(own.own_shape(name, array.shape)) for name, array in arrays.items()}

    def about(self, model: str | None = None) -> dict[str, Any]:
        """What raybench's python backend says of the model, or of all (an empty name); nothing where another backend
        answers, or what comes cannot be read. For models of their own names `echo` says it."""
        request = self._routed(model)
        request.model_name = SAVED_MODEL if self._is_routed else ECHO
        request.outputs.add(name="about")
        reply = self._service.infer(request.model_name)(self._service.encode(request), DESCRIBE_TIMEOUT_S)
        try:
            return dict(json.loads(self.decode(reply)["about"][0])) if reply.is_ok else {}
        except Exception:  # a server may answer with anything
            return {}

    def close(self) -> None:
        self._service.close()

    def _shape(self, name: str, values: np.ndarray) -> tuple[int, ...]:
        """In which an input travels: Triton has no scalars."""
        if self._has_leading:
            return (1, *(values.shape or (1,)))
        return values.shape or (1,) if self._model == ECHO else self._own_model.wire_shape(name, values.shape)

    def _plain(self) -> Any:
        return service_pb2.ModelInferRequest(model_name=self._triton_model)

    def _direct(self) -> Any:
        """A request that names its signature where the model calls another by itself."""
        request = self._plain()
        served = None if self._model == ECHO else self._own_model.served_signature
        if served and self._signature not in ("", served):
            request.parameters["signature"].string_param = self._signature
        return request

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
        reply = self._infer(self._service.encode(self._routed()), DESCRIBE_TIMEOUT_S)
        if reply.status == "NOT_FOUND":
            raise ClientError(f"url triton={self._url}: {reply.error}")

    def _ask(self, method: str, **fields: Any) -> Any:
        try:
            return self._service.ask(method, **fields)
        except CallError as error:
            if is_unready(error):
                why = self._why_unready(error)
                raise ClientError(
                    f"url triton={self._url}; its model {self._triton_model!r} is not ready ({why}): "
                    "wait until it has loaded, or read in Triton's log why it has not"
                ) from error
            said = f"this Triton says {error.status}: {error.said}; raybench calls its model {self._triton_model!r}"
            raise ClientError(f"url triton={self._url}; {self._service.diagnose(error) or said}") from error

    def _why_unready(self, error: CallError) -> str:
        """The reason that Triton recorded for a load that failed, or its error."""
        with suppress(CallError):
            there = self._service.ask("RepositoryIndex").models
            reasons = (each.reason for each in there if each.name == self._triton_model and each.reason)
            return _first_line(next(reasons, "")) or error.said or ""
        return error.said or ""


def _first_line(reason: str) -> str:
    return reason.partition("\n")[0].strip()


def _add(request: Any, name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)


def _of_a_demo(metadata: Any, url: str) -> dict[str, Signature]:
    """The signatures of the original demo's backend, whose metadata is the union of all inputs with a leading 1."""
    found = {}
    for name in (EXPORTED, JPEGS):
        ((wanted, _),) = demo_signature(name).inputs.items()
        spec = next((spec_of(tensor) for tensor in metadata.inputs if tensor.name == wanted), None)
        if spec:
            outputs = {tensor.name: _without_leading(spec_of(tensor)) for tensor in metadata.outputs}
            found[name] = Signature({wanted: _without_leading(spec)}, outputs)
    if not found:
        raise ClientError(f"url triton={url}; its model 'saved_model' takes neither images nor JPEG files")
    return found


def _without_leading(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.datatype, (spec.shape or ())[1:])
