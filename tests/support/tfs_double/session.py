"""One loaded version of a model, by TensorFlow's old loader: what that loads, and says, TensorFlow Serving does too."""

import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from config_files import Refusal
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import prediction_log_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
_FIELDS = {
    tf.float32: "float_val", tf.float64: "double_val", tf.int64: "int64_val", tf.bool: "bool_val",
    tf.string: "string_val", tf.half: "half_val", tf.bfloat16: "half_val", tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
}  # fmt: skip
_CPP_NAMES = {tf.float32: "float", tf.float64: "double", tf.half: "half"}


_WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST_RECORDS = 1000


class Version:
    """Its signatures as they stand in the file, and its session, warmed up by the requests beside it; raises what
    load_failure() puts into words."""

    def __init__(self, folder: Path) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self.definitions = loaded.signature_def
        self.is_xla = any(function.attr["_XlaMustCompile"].b for function in loaded.graph_def.library.function)
        self._callables: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        self._warm_up(folder / _WARM_UP)

    def run(self, definition: Any, inputs: dict[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
        """The outputs asked for; raises Refusal with TensorFlow's own status and bare sentence."""
        feeds = [definition.inputs[key].name for key in inputs]
        fetches = [definition.outputs[key].name for key in outputs]
        try:
            return dict(zip(outputs, self._callable(feeds, fetches)(*inputs.values()), strict=True))
        except tf.errors.OpError as error:
            raise Refusal(_status(error.error_code), error.message) from error

    def _warm_up(self, file: Path) -> None:
        """A request that fails ends the load, as does a record too many (saved_model_warmup_util.cc)."""
        records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()) if file.exists() else []
        for record in records[:_MOST_RECORDS]:
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            definition = self.definitions[request.model_spec.signature_name]
            inputs = {
                key: parsed(key, place, info, request.inputs[key])
                for place, (key, info) in enumerate(sorted(definition.inputs.items()))
            }
            self.run(definition, inputs, sorted(definition.outputs))
        if len(records) > _MOST_RECORDS:
            raise Refusal(INVALID, f"Number of warmup records exceeds the maximum ({_MOST_RECORDS}) at {file}")
        if records:
            print(f"Finished reading warmup data for model at {file}. Number of warmup records read: {len(records)}.")

    def _callable(self, feeds: list[str], fetches: list[str]) -> Any:
        with self._lock:
            key = (*feeds, "", *fetches)
            if key not in self._callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]


def load_failure(folder: Path, error: Exception) -> tuple[grpc.StatusCode, str]:
    """What the server says of a version that it cannot load."""
    if isinstance(error, Refusal):
        return error.args[0], error.args[1]
    if isinstance(error, tf.errors.OpError):
        return _status(error.error_code), error.message
    if isinstance(error, DecodeError) or "parse" in str(error):
        return grpc.StatusCode.DATA_LOSS, f"Can't parse {folder / 'saved_model.pb'} as binary proto"
    return (
        grpc.StatusCode.NOT_FOUND,
        f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}",
    )


def parsed(key: str, number: int, info: Any, proto: Any) -> np.ndarray:
    """A tensor of the request; raises Refusal where it has not the bytes, or the type, that it should have."""
    try:
        array = tf.make_ndarray(proto)
    except (ValueError, TypeError) as error:
        raise Refusal(INVALID, f"tensor parsing error: {key}") from error
    if proto.dtype != info.dtype:
        wanted, given = (cpp_name(each) for each in (info.dtype, proto.dtype))
        raise Refusal(INVALID, f"Expects arg[{number}] to be {wanted} but {given} is provided")
    return np.asarray(array)


def as_fields(array: np.ndarray, number: int) -> Any:
    """As the server answers by default: values in the field of their type, not in tensor_content."""
    dtype = tf.dtypes.as_dtype(number)
    proto = tensor_pb2.TensorProto(dtype=number, tensor_shape=tf.TensorShape(np.shape(array)).as_proto())
    flat = np.asarray(array).reshape(-1)
    if dtype in (tf.half, tf.bfloat16):
        flat = flat.view(np.uint16)
    getattr(proto, _FIELDS.get(dtype, "int_val")).extend(flat.tolist())
    return proto


def _status(code: int) -> grpc.StatusCode:
    return next(each for each in grpc.StatusCode if each.value[0] == code)


def cpp_name(number: int) -> str:
    """A DataType as DataTypeString names it."""
    dtype = tf.dtypes.as_dtype(number)
    return _CPP_NAMES.get(dtype, dtype.name)
