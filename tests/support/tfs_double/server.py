"""A double that speaks the protocol of tensorflow_model_server: the official messages and services, real SavedModels.

    python tests/support/tfs_double/server.py --model_config_file=FILE --port=PORT ...

It answers what a real server was seen to answer, status and sentence. It is a test's, never shipped, and no measure of
anything: it calls TensorFlow from Python. TFS_DOUBLE_LACKS names flags that it does not know, TFS_DOUBLE_LOAD_S how
long a model takes to load.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import flags
from metrics import REQUEST, RUNTIME, Metrics

KNOWN = flags.KNOWN - set(filter(None, os.environ.get("TFS_DOUBLE_LACKS", "").split(",")))
FLAGS = flags.read(sys.argv[1:], KNOWN) if __name__ == "__main__" else {}

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import config_files  # noqa: E402
import grpc  # noqa: E402
import tensorflow as tf  # noqa: E402
from config_files import Refusal  # noqa: E402
from rest_door import RestDoor, serve_rest  # noqa: E402
from servables import Models  # noqa: E402
from session import Version, as_fields, parsed  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
INTERNAL, EXHAUSTED = grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED
THREADS_PER_CPU = 4  # of grpc_max_threads where it is not given (model_servers/server.h)
POLLERS = 2  # gRPC threads that answer nobody: with 8 threads failures began at 7 in flight
_DEFAULT = "serving_default"


def refusing(method: Any) -> Any:
    """What is refused ends the call with its status and sentence."""

    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            if not request.HasField("model_spec"):
                raise Refusal(INVALID, "Missing ModelSpec")
            return method(self, request)
        except Refusal as refusal:
            return context.abort(*refusal.args)

    return answer


def counted(method: Any) -> Any:
    """Calls that the server's `request_count` counts: those that compute."""

    def answer(self: Any, request: Any) -> Any:
        try:
            answered = method(self, request)
        except Refusal as refusal:
            self.metrics.count(request.model_spec.name, refusal.args[0].name)
            raise
        self.metrics.count(request.model_spec.name, "OK")
        return answered

    return answer


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Models, metrics: Metrics) -> None:
        self.models, self.metrics = models, metrics

    @refusing
    @counted
    def Predict(self, request: Any) -> Any:
        began = time.perf_counter()
        answer = self.predict(request)
        self.metrics.observe(REQUEST, "GRPC", request.model_spec.name, began)
        return answer

    def predict(self, request: Any) -> Any:
        """A PredictResponse; raises Refusal."""
        number, version = self.models.find(request.model_spec)
        name = request.model_spec.signature_name or _DEFAULT
        if name not in version.definitions:
            raise Refusal(PRECONDITION, f'Serving signature key "{name}" not found.')
        definition = version.definitions[name]
        _check_names(definition, request)
        inputs = {
            key: parsed(key, place, info, request.inputs[key])
            for place, (key, info) in enumerate(sorted(definition.inputs.items()))
        }
        wanted = list(request.output_filter) or list(definition.outputs)
        called = time.perf_counter()
        with self.metrics.merging() if "enable_batching" in FLAGS else nullcontext():
            outputs = _called(version, definition, inputs, wanted)
        self.metrics.observe(RUNTIME, "TF1", request.model_spec.name, called)
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name, answer.model_spec.signature_name = request.model_spec.name, name
        answer.model_spec.version.value = number
        for key in wanted:
            answer.outputs[key].CopyFrom(_as_proto(outputs[key], definition.outputs[key].dtype))
        return answer

    @refusing
    @counted
    def Classify(self, request: Any) -> Any:
        _, version = self.models.find(request.model_spec)
        name = request.model_spec.signature_name or _DEFAULT
        if name not in version.definitions:
            raise Refusal(INVALID, f"No signature was found with the name: {name}")
        if (method := version.definitions[name].method_name) != "tensorflow/serving/classify":
            raise Refusal(
                INVALID,
                "Expected classification signature method_name to be tensorflow/serving/classify. Was: " + method,
            )
        return classification_pb2.ClassificationResponse()

    @refusing
    def GetModelMetadata(self, request: Any) -> Any:
        return self.metadata(request)

    def metadata(self, request: Any) -> Any:
        """A GetModelMetadataResponse; raises Refusal."""
        if not request.metadata_field:
            raise Refusal(INVALID, "GetModelMetadataRequest must specify at least one metadata_field")
        if unknown := [field for field in request.metadata_field if field != "signature_def"]:
            raise Refusal(INVALID, f"Metadata field {unknown[0]} is not supported")
        number, version = self.models.find(request.model_spec)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in version.definitions.items():
            definitions.signature_def[name].CopyFrom(definition)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = request.model_spec.name, number
        answer.metadata["signature_def"].Pack(definitions)
        return answer


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models) -> None:
        self.models = models

    @refusing
    def GetModelStatus(self, request: Any) -> Any:
        return self.status(request)

    def status(self, request: Any) -> Any:
        """A GetModelStatusResponse; raises Refusal."""
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number, found in self.models.statuses(request.model_spec):
            status = {"error_code": found.code.value[0], "error_message": found.message}
            answer.model_version_status.add(version=number, state=found.state, status=status)
        return answer

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        try:
            self.models.reload(request.config)
        except Refusal as refusal:
            context.abort(*refusal.args)
        return model_management_pb2.ReloadConfigResponse()


class ThreadLimit(grpc.ServerInterceptor):
    """As gRPC's threads do: each call has one, and where none is free it is refused, without a sentence."""

    def __init__(self, threads: int) -> None:
        self._free = threading.BoundedSemaphore(threads)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or not handler.unary_unary:
            return handler

        def limited(request: Any, context: grpc.ServicerContext) -> Any:
            if not self._free.acquire(blocking=False):
                context.abort(EXHAUSTED, "")
            try:
                return handler.unary_unary(request, context)
            finally:
                self._free.release()

        return grpc.unary_unary_rpc_method_handler(limited, handler.request_deserializer, handler.response_serializer)


def _check_names(definition: Any, request: Any) -> None:
    wanted, sent = set(definition.inputs), set(request.inputs)
    if len(wanted) != len(sent):
        raise Refusal(
            INVALID,
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}.",
        )
    if missing := sorted(wanted - sent):
        feed = definition.inputs[missing[0]].name
        raise Refusal(
            INVALID,
            f"Signature input alias: {missing[0]}(feed name: {feed}) not found in request and no default value "
            f"provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: ",
        )
    filtered = list(request.output_filter)
    if unknown := [key for key in filtered if key not in definition.outputs]:
        raise Refusal(
            INVALID,
            f"output tensor alias not found in signature: {unknown[0]} "
            f"Outputs expected to be in the set {_set(set(definition.outputs))}.",
        )
    if twice := [key for place, key in enumerate(filtered) if key in filtered[:place]]:
        raise Refusal(INVALID, f"duplicate output tensor alias: {twice[0]}")


def _set(names: set[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def _called(version: Version, definition: Any, inputs: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    if version.is_xla and FLAGS.get("xla_cpu_compilation_enabled") != "true":
        raise Refusal(INTERNAL, "XLA compilation disabled\n\t [[{{node double}}]]")
    return version.run(definition, inputs, wanted)


def _as_proto(array: Any, number: int) -> Any:
    if FLAGS.get("enable_serialization_as_tensor_content") == "true":
        return tf.make_tensor_proto(array)
    return as_fields(array, number)


def loaded() -> Models:
    """The models of the config file, as soon as there is one version of each; else the process ends, or waits."""
    try:
        config_files.check_batching(FLAGS)
        models = Models(
            config_files.model_config(Path(FLAGS["model_config_file"])),
            retries=int(FLAGS.get("max_num_load_retries", 5)),
            slow_s=float(os.environ.get("TFS_DOUBLE_LOAD_S", 0)),
        )
        models.wait_at_start()
    except Refusal as refusal:
        flags.fail(str(refusal))
    return models


def _metrics_path() -> str | None:
    if "monitoring_config_file" not in FLAGS:
        return None
    (path,) = re.findall(r'path: "(.*)"', Path(FLAGS["monitoring_config_file"]).read_text())
    return str(path)


def main() -> None:
    models, metrics = loaded(), Metrics(batches="enable_batching" in FLAGS)
    threads = int(FLAGS.get("grpc_max_threads") or THREADS_PER_CPU * (os.cpu_count() or 1)) - POLLERS
    server = grpc.server(ThreadPoolExecutor(threads + 64), options=UNLIMITED, interceptors=[ThreadLimit(threads)])
    prediction, service = Prediction(models, metrics), ModelService(models)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{FLAGS['port']}")
    if port := int(FLAGS.get("rest_api_port", 0)):
        door = RestDoor(models, metrics, prediction.predict, prediction.metadata, service.status, _metrics_path())
        serve_rest(
            port, door, threads=int(FLAGS.get("rest_api_num_threads") or THREADS_PER_CPU * (os.cpu_count() or 1))
        )
    server.start()
    print("the double answers", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
