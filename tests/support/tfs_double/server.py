"""A double that speaks the protocol of tensorflow_model_server: the official messages and services, real SavedModels.

    python tests/support/tfs_double/server.py --model_config_file=FILE --port=PORT ...

It answers what a real server was seen to answer, status and sentence. It is a test's, never shipped, and no measure of
anything: it calls TensorFlow from Python.
"""

import http.server
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flags
from metrics import Metrics

KNOWN = flags.KNOWN - set(filter(None, os.environ.get("TFS_DOUBLE_LACKS", "").split(",")))
FLAGS = flags.read(sys.argv[1:], KNOWN) if __name__ == "__main__" else {}

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import grpc  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2  # noqa: E402

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND, INTERNAL = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL
FIELDS = {
    tf.float32: "float_val", tf.float64: "double_val", tf.int64: "int64_val", tf.bool: "bool_val",
    tf.string: "string_val", tf.half: "half_val",
}  # fmt: skip


class Refusal(Exception):
    """A status and its sentence."""


class Version:
    """One version of a model: its signatures as they stand in the file, and its functions."""

    def __init__(self, folder: Path) -> None:
        proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.definitions = proto.meta_graphs[0].signature_def
        self.is_xla = any(f.attr["_XlaMustCompile"].b for f in proto.meta_graphs[0].graph_def.library.function)
        self._loaded = tf.saved_model.load(str(folder))
        self.functions = self._loaded.signatures


class Models:
    """What is served, by name and version."""

    def __init__(self, config: Any) -> None:
        self.served: dict[str, dict[int, Version]] = {}
        self.metrics = Metrics()
        self.load(config)

    def load(self, config: Any) -> None:
        self.served = {each.name: self._versions(each) for each in config.model_config_list.config}

    def _versions(self, entry: Any) -> dict[int, Version]:
        base = Path(entry.base_path)
        if not base.is_absolute():
            flags.fail(
                f"INVALID_ARGUMENT: Expected model {entry.name} to have an absolute path or URI; got base_path()={base}"
            )
        there = {int(p.name): p for p in base.iterdir() if p.name.isdigit()}
        asked = list(entry.model_version_policy.specific.versions) or sorted(there)[-1:]
        try:
            return {number: Version(there[number]) for number in asked}
        except Exception as error:
            flags.fail(
                f"UNKNOWN: 1 servable(s) did not become available: "
                f"{{{{name: {entry.name} version: {asked[0]}}} due to error: {error}}}"
            )
            raise

    def find(self, spec: Any) -> tuple[int, Version]:
        if not spec.name:
            raise Refusal(INVALID, "ModelSpec has no name specified.")
        there = self.served.get(spec.name, {})
        if spec.HasField("version"):
            number, asked = spec.version.value, f"Specific({spec.name}, {spec.version.value})"
        else:
            number, asked = max(there, default=-1), f"Latest({spec.name})"
        if number not in there:
            raise Refusal(NOT_FOUND, f"Servable not found for request: {asked}")
        return number, there[number]


def refusing(method: Any) -> Any:
    """What is refused ends the call with its status and sentence."""

    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            answered = method(self, request)
        except Refusal as refusal:
            self.models.metrics.count(request.model_spec.name, refusal.args[0].name)
            context.abort(*refusal.args)
        return answered

    return answer


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Models) -> None:
        self.models = models

    @refusing
    def Predict(self, request: Any) -> Any:
        began = time.perf_counter()
        number, version = self.models.find(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        if name not in version.definitions:
            raise Refusal(PRECONDITION, f'Serving signature key "{name}" not found.')
        definition = version.definitions[name]
        _check_names(definition, request)
        inputs = {key: _parsed(key, info, request.inputs[key]) for key, info in definition.inputs.items()}
        called = time.perf_counter()
        outputs = _called(version, name, inputs)
        self.models.metrics.observe("runtime_latency", request.model_spec.name, called)
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name, answer.model_spec.signature_name = request.model_spec.name, name
        answer.model_spec.version.value = number
        for key in request.output_filter or outputs:
            answer.outputs[key].CopyFrom(_as_fields(outputs[key]))
        self.models.metrics.observe("request_latency", request.model_spec.name, began)
        self.models.metrics.count(request.model_spec.name, "OK")
        return answer

    @refusing
    def GetModelMetadata(self, request: Any) -> Any:
        number, version = self.models.find(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise Refusal(INVALID, "Metadata field is not supported")
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in version.definitions.items():
            definitions.signature_def[name].CopyFrom(definition)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = request.model_spec.name, number
        answer.metadata["signature_def"].Pack(definitions)
        return answer


class Status(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models) -> None:
        self.models = models

    @refusing
    def GetModelStatus(self, request: Any) -> Any:
        spec, there = request.model_spec, self.models.served.get(request.model_spec.name, {})
        if not there:
            raise Refusal(NOT_FOUND, f"Could not find any versions of model {spec.name}")
        asked = [spec.version.value] if spec.HasField("version") else sorted(there)
        if asked[0] not in there:
            raise Refusal(NOT_FOUND, f"Could not find version {asked[0]} of model {spec.name}")
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number in asked:
            answer.model_version_status.add(version=number, state=AVAILABLE)
        return answer

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        self.models.load(request.config)
        return model_management_pb2.ReloadConfigResponse()


def _check_names(definition: Any, request: Any) -> None:
    wanted, sent = set(definition.inputs), set(request.inputs)
    if len(wanted) != len(sent):
        raise Refusal(
            INVALID,
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}.",
        )
    if missing := sorted(wanted - sent):
        info = definition.inputs[missing[0]]
        raise Refusal(
            INVALID,
            f"Signature input alias: {missing[0]}({info.name}) not found in request and no default value provided. "
            f"Inputs expected to be in the set {_set(wanted)}.",
        )
    if unknown := [key for key in request.output_filter if key not in definition.outputs]:
        raise Refusal(
            INVALID,
            f"output tensor alias not found in signature: {unknown[0]} "
            f"Outputs expected to be in the set {_set(set(definition.outputs))}.",
        )


def _set(names: set[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def _parsed(key: str, info: Any, proto: Any) -> tf.Tensor:
    """A tensor of the request, as the kernels would find it."""
    try:
        array = tf.make_ndarray(proto)
    except (ValueError, TypeError) as error:
        raise Refusal(INVALID, f"tensor parsing error: {key}") from error
    wanted = tf.dtypes.as_dtype(info.dtype)
    if proto.dtype != info.dtype:
        given = tf.dtypes.as_dtype(proto.dtype)
        words = {tf.float32: "float", tf.float64: "double"}
        names = [words.get(each, each.name) for each in (wanted, given)]
        raise Refusal(INVALID, f"Expects arg[0] to be {names[0]} but {names[1]} is provided")
    dims = [dim.size for dim in info.tensor_shape.dim]
    if array.ndim != len(dims):
        raise Refusal(
            INVALID,
            f"input must be {len(dims)}-dimensional[{','.join(map(str, array.shape))}]\n\t [[{{{{node double}}}}]]",
        )
    if dims and dims[-1] not in (-1, array.shape[-1]):
        raise Refusal(
            INVALID,
            f"input depth must be evenly divisible by filter depth: {array.shape[-1]} vs {dims[-1]}\n\t "
            f"[[{{{{node double}}}}]]",
        )
    return tf.constant(array, wanted)


def _called(version: Version, name: str, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if version.is_xla and FLAGS.get("xla_cpu_compilation_enabled") != "true":
        raise Refusal(INTERNAL, "XLA compilation disabled\n\t [[{{node double}}]]")
    try:
        return dict(version.functions[name](**inputs))
    except tf.errors.OpError as error:
        code = next(code for code in grpc.StatusCode if code.value[0] == error.error_code)
        raise Refusal(code, error.message) from error
    except (TypeError, ValueError) as error:
        raise Refusal(INVALID, str(error)) from error


def _as_fields(tensor: tf.Tensor) -> Any:
    """As the server answers by default: values in the field of their type, not in tensor_content."""
    array = tensor.numpy()
    proto = tf.make_tensor_proto(0, tensor.dtype) if tensor.dtype != tf.string else tf.make_tensor_proto(b"")
    for field in FIELDS.values():
        proto.ClearField(field)
    proto.ClearField("int_val")
    proto.ClearField("tensor_content")
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    flat = array.reshape(-1).view(np.uint16) if tensor.dtype == tf.half else array.reshape(-1)
    getattr(proto, FIELDS.get(tensor.dtype, "int_val")).extend(flat.tolist())
    return proto


def serve_metrics(port: int, path: str, models: Models) -> None:
    """The one page of the REST port that is asked for."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == path else 404)
            self.end_headers()
            self.wfile.write(models.metrics.page().encode())

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    text = Path(FLAGS["model_config_file"]).read_text()
    models = Models(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))
    server = grpc.server(ThreadPoolExecutor(4 * (os.cpu_count() or 1)), options=UNLIMITED)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(models), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Status(models), server)
    server.add_insecure_port(f"127.0.0.1:{FLAGS['port']}")
    if "monitoring_config_file" in FLAGS:
        (path,) = re.findall(r'path: "(.*)"', Path(FLAGS["monitoring_config_file"]).read_text())
        serve_metrics(int(FLAGS["rest_api_port"]), path, models)
    server.start()
    print("the double answers", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
