"""TensorFlow Serving over gRPC, without TensorFlow: requests are serialized before the clock starts.

The messages are those of proto/tfserving.proto, the methods those of tensorflow_serving/apis/prediction_service.proto
and model_service.proto.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from raybench.clients.base import ClientError, Description, Reply
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tensor_proto import STRING, UINT8, array, put
from raybench.config import IMAGE_PX, JPEGS, input_name
from raybench.models.saved_models import DATATYPES

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService", "/tensorflow.serving.ModelService"
_INIT = "__saved_model_init_op"  # TensorFlow's own, listed beside the signatures
_AVAILABLE = pb.GetModelStatusResponse.AVAILABLE


class TfServingClient:
    """One model and signature behind TensorFlow Serving, on connections of its own; lanes may share it."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        signature: str,
        batch_size: int,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
    ) -> None:
        self._url = url
        self._spec = pb.ModelSpec(name=model, signature_name=signature)
        self._input = input_name(signature)
        self._dtype = STRING if signature == JPEGS else UINT8
        self._shape: tuple[int, ...] = (batch_size,) if signature == JPEGS else (batch_size, IMAGE_PX, IMAGE_PX, 3)
        self._channel = Channel(url, credentials)
        self._predict = self._channel.method(f"{_PREDICTION}/Predict")

    def describe(self) -> Description:
        """What answers; raises ClientError, which lists what there is, where a request of ours would be refused."""
        try:
            versions = states(self._channel, self._spec.name)
            signatures = self._signatures()
        except CallError as error:
            raise ClientError(f"url tfserving={self._url}; {self._why(error)}") from error
        available = [version for version, state in versions.items() if state.state == _AVAILABLE]
        if not available:
            raise ClientError(f"model is {self._spec.name}; TF Serving has {_listed(versions)}: wait, or mend it")
        found = self._checked(signatures)
        return Description(
            server="tensorflow serving",
            version=None,  # it does not tell
            model_version=max(available),
            inputs=tuple(sorted(found.inputs)),
            outputs=tuple(sorted(found.outputs)),
        )

    def encode(self, batch: np.ndarray) -> bytes:
        """A PredictRequest with the signature's one input: pixels as tensor_content, JPEG files as string_val."""
        request = pb.PredictRequest(model_spec=self._spec)
        put(batch, request.inputs[self._input])
        return bytes(request.SerializeToString())

    def prepare(self, calls: int) -> None:
        self._channel.prepare(calls)

    def send(self, request: bytes, timeout_s: float) -> Reply:
        return self._predict(request, timeout_s)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        response = pb.PredictResponse.FromString(reply.body)
        return {name: array(tensor) for name, tensor in sorted(response.outputs.items())}

    def close(self) -> None:
        self._channel.close()

    def _why(self, error: CallError) -> str:
        said = f"this TF Serving says {error.status}: {error.said}; name a model of its models.conf by -m"
        return self._channel.diagnose(error, "TF Serving") or said

    def _signatures(self) -> Mapping[str, Any]:
        request = pb.GetModelMetadataRequest(model_spec={"name": self._spec.name}, metadata_field=["signature_def"])
        path = f"{_PREDICTION}/GetModelMetadata"
        answer = self._channel.ask(path, request, pb.GetModelMetadataResponse)
        found = pb.SignatureDefMap.FromString(answer.metadata["signature_def"].value).signature_def
        return {name: found[name] for name in sorted(found) if name != _INIT}

    def _checked(self, signatures: Mapping[str, Any]) -> Any:
        """The signature, where it takes what `encode` makes."""
        name, model = self._spec.signature_name, self._spec.name
        if name not in signatures:
            raise ClientError(f"signature is {name}; model {model} has {', '.join(signatures) or 'none'}: name one")
        inputs = signatures[name].inputs
        if list(inputs) != [self._input] or not _takes(inputs[self._input], self._dtype, self._shape):
            there = ", ".join(_described(each, inputs[each]) for each in sorted(inputs)) or "nothing"
            fitting = [each for each in signatures if list(signatures[each].inputs) == [input_name(each)]]
            raise ClientError(
                f"signature is {name}; model {model} takes {there} there, and a request brings {self._input} "
                f"{DATATYPES[self._dtype]} {list(self._shape)}: with images alone it has {', '.join(fitting) or 'none'}"
            )
        return signatures[name]


def states(channel: Channel, model: str, timeout_s: float | None = None) -> dict[int, Any]:
    """The versions of a model that TensorFlow Serving knows, with their state; raises CallError."""
    request = pb.GetModelStatusRequest(model_spec={"name": model})
    answer = channel.ask(f"{_MODEL}/GetModelStatus", request, pb.GetModelStatusResponse, timeout_s)
    return {each.version: each for each in answer.model_version_status}


def is_available(channel: Channel, model: str, timeout_s: float) -> bool:
    """Whether TensorFlow Serving answers, and would answer a request for a model."""
    try:
        return any(each.state == _AVAILABLE for each in states(channel, model, timeout_s).values())
    except CallError:
        return False


def reload(channel: Channel, models_conf: bytes, timeout_s: float) -> None:
    """Have it serve a serialized ModelServerConfig, and nothing else; raises CallError."""
    request = pb.ReloadConfigRequest(config=models_conf)
    channel.ask(f"{_MODEL}/HandleReloadConfigRequest", request, pb.ReloadConfigResponse, timeout_s)


def _takes(info: Any, dtype: int, shape: tuple[int, ...]) -> bool:
    if info.dtype != dtype:
        return False
    dims = [dim.size for dim in info.tensor_shape.dim]
    fits = len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))
    return bool(info.tensor_shape.unknown_rank) or fits


def _described(name: str, info: Any) -> str:
    dims = "of any rank" if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
    return f"{name} {DATATYPES.get(info.dtype, info.dtype)} {dims}"


def _listed(versions: Mapping[int, Any]) -> str:
    names = pb.GetModelStatusResponse.State.Name
    told = [f"version {n} {names(each.state)} {each.status.error_message}".strip() for n, each in versions.items()]
    return ", ".join(told) or "no version of it"
