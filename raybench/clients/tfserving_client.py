"""TensorFlow Serving over gRPC, without TensorFlow: requests are serialized before the clock starts.

The messages are those of proto/tfserving.proto, the methods those of tensorflow_serving/apis/prediction_service.proto
and model_service.proto.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from raybench.clients.base import ClientError, Description, Reply
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tensor_proto import array, put
from raybench.config import OWN_CLIENT
from raybench.inputs.tensors import Batch
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import DATATYPES, Signature, TensorSpec

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService", "/tensorflow.serving.ModelService"
_INIT = "__saved_model_init_op"  # TensorFlow's own, listed beside the signatures
_AVAILABLE = pb.GetModelStatusResponse.AVAILABLE
_COMING = (pb.GetModelStatusResponse.START, pb.GetModelStatusResponse.LOADING)
_LOST_VARIABLE = re.compile(r"Could not find variable (\S+?)\.? ")
_NO_THREAD = ("", "Server Threadpool Exhausted")


class TfServingClient:
    """One model and signature behind TensorFlow Serving, on connections of its own; lanes may share it."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        signature: str,
        spec: Signature | None = None,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
        client: str = OWN_CLIENT,
    ) -> None:
        self._url = url
        self._bfloat16 = bfloat16_inputs(spec) if spec else frozenset()
        self._spec = pb.ModelSpec(name=model, signature_name=signature)
        self._channel = Channel(url, credentials, client)
        self._predict = self._channel.method(f"{_PREDICTION}/Predict")

    def describe(self) -> Description:
        """What answers; raises ClientError, which lists what there is, where the model or signature is not there."""
        model = self._spec.name
        try:
            version = available_version(model, states(self._channel, model))
            signatures = self._signatures()
        except CallError as error:
            raise ClientError(f"url tfserving={self._url}; {self._why(error)}") from error
        return description(model, self._spec.signature_name, version, signatures)

    def encode(self, batch: Batch) -> bytes:
        """A PredictRequest with the signature's inputs: numbers as tensor_content, bytes as string_val."""
        return bytes(predict_request(self._spec, batch, self._bfloat16).SerializeToString())

    def prepare(self, calls: int) -> None:
        self._channel.prepare(calls)

    def send(self, request: bytes, timeout_s: float) -> Reply:
        reply = self._predict(request, timeout_s)
        return reply if reply.is_ok else _explained(reply)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        response = pb.PredictResponse.FromString(reply.body)
        return {name: array(tensor) for name, tensor in sorted(response.outputs.items())}

    def close(self) -> None:
        self._channel.close()

    def _why(self, error: CallError) -> str:
        return self._channel.diagnose(error, "TF Serving") or refused_model(error)

    def _signatures(self) -> dict[str, Signature]:
        request = pb.GetModelMetadataRequest(model_spec={"name": self._spec.name}, metadata_field=["signature_def"])
        path = f"{_PREDICTION}/GetModelMetadata"
        answer = self._channel.ask(path, request, pb.GetModelMetadataResponse)
        return signatures_of(pb.SignatureDefMap.FromString(answer.metadata["signature_def"].value))


def bfloat16_inputs(signature: Signature) -> frozenset[str]:
    """The inputs whose values are sent in a type that numpy does not have."""
    return frozenset(name for name, each in signature.inputs.items() if each.datatype == "BF16")


def predict_request(spec: Any, batch: Batch, bfloat16: frozenset[str]) -> Any:
    """A PredictRequest to a ModelSpec; `bfloat16` are inputs of that type."""
    request = pb.PredictRequest(model_spec=spec)
    for name, values in batch.items():
        put(values, request.inputs[name], is_bfloat16=name in bfloat16)
    return request


def states(channel: Channel, model: str, timeout_s: float | None = None) -> dict[int, Any]:
    """The versions of a model that TensorFlow Serving knows, with their state; raises CallError."""
    request = pb.GetModelStatusRequest(model_spec={"name": model})
    answer = channel.ask(f"{_MODEL}/GetModelStatus", request, pb.GetModelStatusResponse, timeout_s)
    return {each.version: each for each in answer.model_version_status}


def is_available(channel: Channel, model: str, timeout_s: float) -> bool:
    """Whether TensorFlow Serving answers, and would answer a request for a model."""
    try:
        return any(map(is_version_available, states(channel, model, timeout_s).values()))
    except CallError:
        return False


def reload(channel: Channel, models_conf: bytes, timeout_s: float) -> None:
    """Have it serve a serialized ModelServerConfig, and nothing else; raises CallError."""
    request = pb.ReloadConfigRequest(config=models_conf)
    channel.ask(f"{_MODEL}/HandleReloadConfigRequest", request, pb.ReloadConfigResponse, timeout_s)


def available_version(model: str, versions: Mapping[int, Any]) -> int:
    """The version of a model that answers; raises ClientError where none does: without one there is no metadata either,
    and no word why."""
    available = [number for number, each in versions.items() if is_version_available(each)]
    if not available:
        raise ClientError(f"model is {model}; {_unavailable(versions)}")
    return max(available)


def description(model: str, asked: str, version: int, signatures: Mapping[str, Signature]) -> Description:
    """What answers requests for a signature of a model, "" for its default; raises ClientError, which lists those that
    there are."""
    name = asked or default_signature(signatures) or ""
    if asked and asked not in signatures:
        raise ClientError(
            f"signature is {asked}; model {model} has {', '.join(signatures) or 'none'}: choose one of them"
        )
    return Description(
        server="tensorflow serving",
        version=None,  # it does not say
        model_version=version,
        signature=signatures.get(name, Signature({}, {})),
        signatures=signatures,
    )


def refused_model(error: CallError) -> str:
    """What TensorFlow Serving says of a model that it does not describe, and the remedy."""
    return f"this TF Serving says {error.status}: {error.said}; name a model of its models.conf with -m"


def signatures_of(found: Any) -> dict[str, Signature]:
    """The signatures of a SignatureDefMap by name, without TensorFlow's own."""
    named = found.signature_def
    return {
        name: Signature(inputs=_tensors(named[name].inputs), outputs=_tensors(named[name].outputs))
        for name in sorted(named)
        if name != _INIT
    }


def _tensors(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _tensor(infos[name]) for name in sorted(infos)}


def _tensor(info: Any) -> TensorSpec:
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(DATATYPES.get(info.dtype, f"DT_{info.dtype}"), shape)


def _explained(reply: Reply) -> Reply:
    """A refusal that does not say what to do, with the remedy."""
    said = reply.error or ""
    if reply.status == "FAILED_PRECONDITION" and (lost := lost_variable(said)):
        error = lost
    elif reply.status == "RESOURCE_EXHAUSTED" and said in _NO_THREAD:
        # the official binary refuses a call for which it has no thread without a word (tensorflow/serving#1795)
        error = (
            "TF Serving had no free gRPC thread, of which it has 4 a CPU by default: "
            "start it with --grpc_max_threads of more than twice what is in flight"
        )
    else:
        return reply
    return Reply(status=reply.status, error=error)


def lost_variable(said: str) -> str | None:
    """The remedy for a model without one of its variables; None where a refusal is not about one."""
    if not (variable := _LOST_VARIABLE.search(said)):
        return None
    return (
        f"TF Serving cannot find variable {variable[1]} of the model, as with a Keras 3 model that "
        "tf.saved_model.save wrote: export it by model.export(FOLDER)"
    )


def _unavailable(versions: Mapping[int, Any]) -> str:
    """Why no version of a model answers, and the remedy."""
    if not versions:
        return "TF Serving has no version of it: name another model with -m"
    coming = [number for number, each in versions.items() if is_coming(each)]
    if coming:
        return f"TF Serving is loading version {max(coming)} of it: wait until that is available, and run again"
    number = max(versions)
    if said := failure(versions[number]):
        return f"TF Serving could not load version {number} of it ({said}): export it again, as a version {number + 1}"
    return f"TF Serving has unloaded version {number} of it: add it to its models.conf, or name another model with -m"


def is_version_available(version: Any) -> bool:
    """Whether a version of a model, None if there is none, answers requests."""
    return version is not None and version.state == _AVAILABLE


def is_coming(version: Any) -> bool:
    """Whether a version of a model, None if there is none, is about to be loaded, or being loaded."""
    return version is not None and version.state in _COMING


def failure(version: Any) -> str | None:
    """Why a version of a model failed to load; None where it did not fail, or is not there."""
    if version is None or not version.status.error_code:
        return None
    return " ".join(version.status.error_message.split()) or "no reason given"
