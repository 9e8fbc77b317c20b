"""TensorFlow Serving over its REST API: requests are JSON, written before the clock starts.

The methods are those of tensorflow_serving/g3doc/api_rest.md, as tensorflow_serving/model_servers/http_rest_api_util.cc
finds them in a path.
"""

import json
import re
from typing import Any, TypeVar
from urllib.parse import quote

import grpc
import numpy as np
from google.protobuf import json_format

from raybench.clients.base import ClientError, Description, Reply
from raybench.clients.grpc.channel import DESCRIBE_TIMEOUT_S, CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.unary import Send
from raybench.clients.http.connections import HttpConnections, message
from raybench.clients.http.unreachable import http_diagnosis
from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tfserving_client import (
    available_version,
    description,
    lost_variable,
    refused_model,
    signatures_of,
)
from raybench.clients.tfserving_json import answered_arrays, request_json
from raybench.config import HTTP, HTTP_COLUMNS
from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Signature

_JSON = "application/json"
_GET = message(b"", _JSON)
_OWN_WORDS = ("Could not find", "Servable not found")  # of a TensorFlow Serving that does not have a model
_NO_TYPE = re.compile(r"(?:JSON Value: .* to|JSON value for tensor) type: (\w+)", re.S)
_NO_ROWS = ("has inconsistent batch size", "has no shape information")
_CODES = {code.name: code.value[0] for code in grpc.StatusCode}
# tensorflow.DataType by its numbers (tensorflow/core/framework/types.proto), without DT_
_TYPES = (
    "INVALID", "FLOAT", "DOUBLE", "INT32", "UINT8", "INT16", "INT8", "STRING", "COMPLEX64", "INT64", "BOOL", "QINT8",
    "QUINT8", "QINT32", "BFLOAT16", "QINT16", "QUINT16", "UINT16", "COMPLEX128", "HALF", "RESOURCE", "VARIANT",
    "UINT32", "UINT64",
)  # fmt: skip
_NUMBERS = {f"DT_{name}": number for number, name in enumerate(_TYPES)}
M = TypeVar("M", pb.GetModelStatusResponse, pb.SignatureDefMap)


class TfServingRestClient:
    """One model and signature behind TensorFlow Serving's REST port, on connections of its own; lanes may share it.

    By protocol http-columns a request holds an input whole (`inputs`), by others an item after the other (`instances`),
    which a signature without items cannot be sent in.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        signature: str,
        spec: Signature | None = None,
        protocol: str = HTTP,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
    ) -> None:
        self._url, self._credentials = url, credentials
        self._model, self._signature, self._known = model, signature, spec
        self._is_by_item = protocol != HTTP_COLUMNS
        self._connections = HttpConnections(url, credentials)
        path = f"/v1/models/{quote(model, safe='')}"
        self._predict = self._connections.method(f"{path}:predict")
        self._status = self._connections.method(path, "GET")
        self._metadata = self._connections.method(f"{path}/metadata", "GET")

    def describe(self) -> Description:
        """What answers; raises ClientError, which lists what there is, where the model or signature is not there."""
        try:
            states = _status_of(_ask(self._status))
            version = available_version(self._model, {each.version: each for each in states.model_version_status})
            signatures = signatures_of(_signature_map(_ask(self._metadata)))
        except CallError as error:
            raise ClientError(f"url tfserving={self._url}; {self._why(error)}") from error
        except (ValueError, LookupError, TypeError, json_format.Error) as error:
            raise ClientError(f"url tfserving={self._url}; {_other_server(type(error).__name__)}") from error
        return description(self._model, self._signature, version, signatures)

    def encode(self, batch: Batch) -> bytes:
        """A POST of the signature's inputs as JSON: bytes in base64, floats in the fewest digits that keep them."""
        is_by_item = self._is_by_item and self._described().is_batched
        return message(request_json(self._signature, batch, is_row_format=is_by_item), _JSON)

    def prepare(self, calls: int) -> None:
        self._connections.prepare(calls, DESCRIBE_TIMEOUT_S)

    def send(self, request: bytes, timeout_s: float) -> Reply:
        reply = self._predict(request, timeout_s)
        return reply if reply.is_ok else _explained(reply)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return answered_arrays(reply.body.content, self._described().outputs)

    def close(self) -> None:
        self._connections.close()

    def _described(self) -> Signature:
        """What goes in and out: JSON does not say in which type."""
        self._known = self._known or self.describe().signature
        return self._known

    def _why(self, error: CallError) -> str:
        if why := http_diagnosis(self._url, self._credentials, error, "TF Serving", "REST"):
            return why
        said = error.said or ""
        return refused_model(error) if said.startswith(_OWN_WORDS) else _other_server(f"{error.status}: {said}")


def _other_server(why: str) -> str:
    return f"an HTTP server answers, but it is not TF Serving ({why}); name the REST port of one"


def _ask(method: Send) -> Any:
    """The JSON object that a GET is answered with; raises CallError, and ValueError where there is none."""
    reply = method(_GET, DESCRIBE_TIMEOUT_S)
    if not reply.is_ok:
        raise CallError(reply.status, reply.error)
    answer = json.loads(reply.body.content, object_hook=_with_numbers)
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")
    return answer


def _with_numbers(found: dict[str, Any]) -> dict[str, Any]:
    """An object of protobuf's JSON, in which enumerations are names, as our messages have them: as numbers."""
    for key, numbers in (("error_code", _CODES), ("dtype", _NUMBERS)):
        if isinstance(found.get(key), str):
            found[key] = numbers.get(found[key], -1)
    return found


def _status_of(answer: Any) -> pb.GetModelStatusResponse:
    return _parsed({"model_version_status": answer["model_version_status"]}, pb.GetModelStatusResponse())


def _signature_map(answer: Any) -> pb.SignatureDefMap:
    return _parsed(answer["metadata"]["signature_def"], pb.SignatureDefMap())


def _parsed(answer: Any, into: M) -> M:
    """A message from its JSON, which may say more than our message holds; raises json_format.Error."""
    return json_format.ParseDict(answer, into, ignore_unknown_fields=True)


def _explained(reply: Reply) -> Reply:
    """A refusal that does not say what to do, with the remedy."""
    said = reply.error or ""
    if unsupported := _NO_TYPE.search(said):
        error = (
            f"TF Serving's REST API does not carry type {unsupported[1]}: use --protocol grpc for this model ({said})"
        )
    elif any(words in said for words in _NO_ROWS):
        error = f"an output has no entry for each item of the request: use --protocol {HTTP_COLUMNS} ({said})"
    elif lost := lost_variable(said):
        error = lost
    else:
        return reply
    return Reply(status=reply.status, error=error)
