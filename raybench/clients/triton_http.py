"""Triton over HTTP (KServe v2): JSON, with tensors as binary data behind it or as lists in it.

The binary form is Triton's extension_binary_data.md; the paths are those of its http_server.cc.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from google.protobuf import json_format
from tritonclient.grpc import service_pb2

from raybench.clients.base import Reply
from raybench.clients.grpc.channel import DESCRIBE_TIMEOUT_S, CallError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.unary import Send
from raybench.clients.http.connections import HttpAnswer, HttpConnections, message
from raybench.clients.http.unreachable import http_diagnosis
from raybench.clients.triton_json import listed, packed

_HEADER_SIZE = "Inference-Header-Content-Length"
_JSON, _BINARY = "application/json", "application/octet-stream"
_BODY = b"\r\n\r\n"


class _Route(NamedTuple):
    """Where a call of the gRPC interface is over HTTP: verb, path, and its answer as fields of the gRPC one."""

    verb: str
    path: str
    answer: Callable[[Any], Any] = lambda said: said


def _shared_memory(kind: str) -> dict[str, _Route]:
    """The calls about regions of a kind."""
    calls, base = f"{kind}SharedMemory", f"/v2/{kind.lower()}sharedmemory"
    return {
        f"{calls}Register": _Route("POST", f"{base}/region/{{name}}/register"),
        f"{calls}Unregister": _Route("POST", f"{base}/region/{{name}}/unregister"),
        f"{calls}Status": _Route(
            "GET", f"{base}/status", lambda said: {"regions": {each["name"]: each for each in said}}
        ),
    }


_MODEL = "/v2/models/{name}"
_ROUTES = {
    "ServerMetadata": _Route("GET", "/v2"),
    "ModelMetadata": _Route("GET", _MODEL),
    "ModelConfig": _Route("GET", f"{_MODEL}/config", lambda said: {"config": said}),
    "ModelStatistics": _Route("GET", f"{_MODEL}/stats"),
    "RepositoryIndex": _Route("POST", "/v2/repository/index", lambda said: {"models": said}),
    **_shared_memory("System"),
    **_shared_memory("Cuda"),
}


class HttpService:
    """A TritonService over HTTP; `is_json` has tensors as lists of JSON, which is what plain clients send."""

    def __init__(self, url: str, credentials: ConnectionCredentials, *, is_json: bool) -> None:
        self._url, self._credentials, self._is_json = url, credentials, is_json
        self._connections = HttpConnections(url, credentials)

    def ask(self, method: str, **fields: Any) -> Any:
        route, answer = _ROUTES[method], getattr(service_pb2, f"{method}Response")()
        name = quote(fields.pop("name", ""), safe="")
        send = self._connections.method(route.path.format(name=name), route.verb)
        content = json.dumps(fields, default=_base64).encode() if fields else b""
        reply = send(message(content, _JSON), DESCRIBE_TIMEOUT_S)
        if not reply.is_ok:
            raise CallError(reply.status, reply.error)
        try:
            said = json.loads(reply.body.content or b"{}")
            return json_format.ParseDict(route.answer(said), answer, ignore_unknown_fields=True)
        except (ValueError, TypeError, KeyError, json_format.ParseError) as error:
            raise CallError("INTERNAL", f"its answer to {route.path} is not Triton's: {error}") from error

    def encode(self, request: Any) -> bytes:
        raws = iter(request.raw_input_contents)  # of each input that does not lie in shared memory
        inputs, pieces = list[dict[str, Any]](), list[bytes]()
        for tensor in request.inputs:
            described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            if tensor.parameters:
                described["parameters"] = _parameters(tensor)
            elif self._is_json:
                described["data"] = listed(tensor.name, tensor.datatype, next(raws))
            else:
                pieces.append(next(raws))
                described["parameters"] = {"binary_data_size": len(pieces[-1])}
            inputs.append(described)
        asked: dict[str, Any] = {"inputs": inputs, "parameters": _parameters(request)}
        if request.outputs:
            asked["outputs"] = [{"name": each.name} for each in request.outputs]
        if not self._is_json:
            asked["parameters"]["binary_data_output"] = True
        header = json.dumps(asked, separators=(",", ":")).encode()
        if self._is_json:
            return message(header, _JSON)
        return message(b"".join((header, *pieces)), _BINARY, {_HEADER_SIZE: str(len(header))})

    def infer(self, model: str) -> Send:
        return self._connections.method(f"/v2/models/{quote(model, safe='')}/infer")

    def decode(self, reply: Reply) -> Any:
        answer: HttpAnswer = reply.body
        size = int(answer.fields.get(_HEADER_SIZE, len(answer.content)))
        said, tail = json.loads(answer.content[:size]), memoryview(answer.content)[size:]
        response = service_pb2.ModelInferResponse()
        for tensor in said["outputs"]:
            response.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
            raw_size = tensor.get("parameters", {}).get("binary_data_size")
            if raw_size is None:
                response.raw_output_contents.append(packed(tensor["datatype"], tensor["data"]))
                continue
            response.raw_output_contents.append(bytes(tail[:raw_size]))
            tail = tail[raw_size:]
        return response

    def inputs(self, request: bytes) -> dict[str, tuple[str, int]]:
        return {each["name"]: (each["datatype"], len(each["shape"])) for each in _header(request)["inputs"]}

    def renamed(self, request: bytes, model: str) -> bytes:  # noqa: ARG002
        """The model stands in the path alone."""
        return request

    def prepare(self, calls: int) -> None:
        self._connections.prepare(calls, DESCRIBE_TIMEOUT_S)

    def diagnose(self, error: CallError) -> str | None:
        return http_diagnosis(self._url, self._credentials, error, "Triton")

    def close(self) -> None:
        self._connections.close()


def _base64(raw: bytes) -> dict[str, str]:
    """Bytes in JSON, such as a handle, as extension_shared_memory.md has them."""
    return {"b64": b64encode(raw).decode()}


def _parameters(holder: Any) -> dict[str, Any]:
    """The parameters of a message, by their one value each."""
    found = {}
    for name, value in holder.parameters.items():
        found[name] = getattr(value, value.WhichOneof("parameter_choice"))
    return found


def _header(request: bytes) -> Any:
    """The JSON of an encoded request."""
    fields, _, content = request.partition(_BODY)
    sizes = dict(_field_sizes(fields))
    return json.loads(content[: sizes.get(_HEADER_SIZE.lower(), len(content))])


def _field_sizes(fields: bytes) -> Iterator[tuple[str, int]]:
    for line in fields.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if value.isdecimal():
            yield name.lower(), int(value)
