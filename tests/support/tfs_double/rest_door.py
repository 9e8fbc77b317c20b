"""The double's REST port: the paths, statuses and sentences of tensorflow_serving/model_servers/http_rest_api_*.cc."""

import http.server
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
import rest_answers
import rest_requests
from config_files import Refusal
from google.protobuf import json_format
from metrics import REQUEST, Metrics
from servables import Models
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

_CODE = grpc.StatusCode
_VERSION = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.I)
_GET = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<method>metadata))?", re.I)
_MOST = 2**63 - 1
# model_servers/http_server.cc, ToHTTPStatusCode
_HTTP = {
    _CODE.CANCELLED: 499, _CODE.INVALID_ARGUMENT: 400, _CODE.DEADLINE_EXCEEDED: 504, _CODE.NOT_FOUND: 404,
    _CODE.ALREADY_EXISTS: 409, _CODE.PERMISSION_DENIED: 403, _CODE.RESOURCE_EXHAUSTED: 429,
    _CODE.FAILED_PRECONDITION: 400, _CODE.ABORTED: 409, _CODE.OUT_OF_RANGE: 400, _CODE.UNIMPLEMENTED: 501,
    _CODE.UNAVAILABLE: 503, _CODE.UNAUTHENTICATED: 401,
}  # fmt: skip
_DEFAULT = "serving_default"
_PAGE = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"  # libevent's


@dataclass(frozen=True)
class Answer:
    """Status, type and content of a response."""

    code: int
    content_type: str
    content: bytes


@dataclass(frozen=True)
class RestDoor:
    """What answers requests: the models, and the methods that take and give messages and raise Refusal."""

    models: Models
    metrics: Metrics
    predict: Callable[[Any], Any]
    metadata: Callable[[Any], Any]
    status: Callable[[Any], Any]
    metrics_path: str | None

    def answer(self, verb: str, path: str, body: bytes) -> Answer:
        if path == self.metrics_path:
            return Answer(200, "text/plain", self.metrics.page().encode())
        if not re.match("/v1/", path, re.I):
            return Answer(404, "text/html", _PAGE)
        began, found = time.perf_counter(), {"POST": _POST, "GET": _GET}.get(verb, _POST).fullmatch(path)
        model = unquote((found and found["model"]) or "")
        try:
            if not found or verb not in ("POST", "GET"):
                raise _invalid(f"Malformed request: {verb} {path}")
            content = self._answered(verb, _spec(model, found), (found["method"] or "").lower(), body)
        except Refusal as refusal:
            code, sentence = refusal.args
            self.metrics.count(model, code.name)
            return Answer(_HTTP.get(code, 500), "application/json", rest_answers.error_json(sentence))
        self.metrics.count(model, "OK")
        if verb == "POST":
            self.metrics.observe(REQUEST, "REST", model, began)
        return Answer(200, "application/json", content)

    def _answered(self, verb: str, spec: Any, method: str, body: bytes) -> bytes:
        if verb == "POST":
            if method != "predict":
                raise _invalid(f"the double does not {method}")
            request, is_row_format = rest_requests.predict_request(body, spec, lambda name: self._inputs(spec, name))
            return rest_answers.answer_json(self.predict(request), is_row_format=is_row_format)
        if not spec.name:
            raise _invalid("Missing model name in request.")
        if method == "metadata":
            asked = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
            return _metadata_json(self.metadata(asked))
        return _as_json(self.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))).encode()

    def _inputs(self, spec: Any, signature: str) -> Any:
        _, version = self.models.find(spec)
        name = signature or _DEFAULT
        if name not in version.definitions:
            raise _invalid(f'Serving signature name: "{name}" not found in signature def')
        return version.definitions[name].inputs


def serve_rest(port: int, door: RestDoor, *, threads: int) -> None:
    """Answer at a port, so many requests at once; others wait."""
    free = threading.BoundedSemaphore(threads)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with free:
                answer = door.answer(self.command, self.path.partition("?")[0], body)
            self.send_response(answer.code)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

        def log_message(self, *words: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _spec(model: str, found: re.Match[str]) -> Any:
    spec = model_pb2.ModelSpec(name=model)
    if found["version"]:
        if int(found["version"]) > _MOST:
            raise _invalid(f"Failed to convert version: {found['version']} to numeric.")
        spec.version.value = int(found["version"])
    if found["label"]:
        spec.version_label = unquote(found["label"])
    return spec


def _metadata_json(answer: Any) -> bytes:
    """Its parts as text one after the other: an Any has no such JSON."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(definitions)
    return (
        f'{{\n"model_spec":{_as_json(answer.model_spec)},\n'
        f'"metadata": {{"signature_def": {_as_json(definitions)}}}\n}}\n'
    ).encode()


def _as_json(message: Any) -> str:
    said = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(said, indent=1)


def _invalid(sentence: str) -> Refusal:
    return Refusal(_CODE.INVALID_ARGUMENT, sentence)
