"""A signature of a SavedModel, loaded by TensorFlow into this process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from raybench.models.cuda_libraries import load_cuda_libraries
from raybench.models.saved_model_loader import load_saved_model
from raybench.models.saved_models import Signature, read_models_conf, read_signatures, utf8


class SignatureError(ValueError):
    """A model or a signature that cannot be loaded: one sentence."""


class CallFailed(Exception):
    """TensorFlow refused a call: the number of its gRPC status, and one sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


def import_tensorflow() -> Any:
    """The module, which takes seconds to import; what it logs below errors is left out."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow loads
    load_cuda_libraries()
    import tensorflow as tf

    return tf


class LoadedSignature:
    """Calls one signature: arrays in host memory go in, arrays in host memory come out.

    Takes the newest version that models.conf serves. Raises SignatureError where there is no such model or signature,
    or it cannot be loaded.
    """

    def __init__(self, models_conf: Path, *, model: str, signature: str) -> None:
        tf = import_tensorflow()
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        folder = _newest(models_conf, model)
        self._tf = tf
        self.spec = _signature(folder, signature)
        self._loaded = _loaded(tf, folder)
        self._function = self._loaded.signatures[signature]

    @property
    def tensorflow_version(self) -> str:
        return str(self._tf.__version__)

    def compute_in_full_precision(self) -> None:
        """Keep a GPU from computing float32 in TF32, for the whole process."""
        self._tf.config.experimental.enable_tensor_float_32_execution(False)

    def call(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs by name; raises CallFailed."""
        try:
            results = self._function(**{name: self._tensor(name, array) for name, array in inputs.items()})
            return {name: _array(tensor.numpy()) for name, tensor in results.items()}
        except self._tf.errors.OpError as error:
            # The codes are gRPC's: tensorflow/core/protobuf/error_codes.proto.
            raise CallFailed(error.error_code, _reason(str(error.message))) from error

    def _tensor(self, name: str, array: Any) -> Any:
        is_bfloat16 = name in self.spec.inputs and self.spec.inputs[name].datatype == "BF16"
        tensor = self._tf.constant(array)
        return self._tf.cast(tensor, self._tf.bfloat16) if is_bfloat16 else tensor


def readable(array: np.ndarray) -> np.ndarray:
    """An array of numpy's own types: bfloat16, float8 and int4, which only TensorFlow's numpy knows, in larger ones."""
    if array.dtype.kind != "V":
        return array
    return array.astype(np.int8 if "int" in array.dtype.name else np.float32)


def _reason(message: str) -> str:
    """What went wrong, which stands before the node where it did, and after a header that says nothing."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["TensorFlow gave no reason"]
    node = next((number for number, line in enumerate(lines) if line.startswith("[[")), 1)
    return lines[max(0, node - 1)]


def _array(value: Any) -> np.ndarray:
    """TensorFlow gives a scalar of strings as bytes."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _newest(models_conf: Path, model: str) -> Path:
    try:
        there = {entry.name: entry for entry in read_models_conf(models_conf)}
        if model not in there:
            raise ValueError(f"model {model!r} is not in {models_conf}; it has {', '.join(there) or 'none'}")
        return there[model].version_folder(there[model].versions()[-1])
    except ValueError as error:
        raise SignatureError(str(error)) from error


def _loaded(tf: Any, folder: Path) -> Any:
    try:
        return load_saved_model(tf, utf8(folder))
    except Exception as error:  # whatever a broken file makes TensorFlow raise
        said = (str(getattr(error, "message", None) or error).splitlines() or [type(error).__name__])[0]
        raise SignatureError(f"{folder} cannot be loaded: {said}") from error


def _signature(folder: Path, name: str) -> Signature:
    try:
        signatures = read_signatures(folder)
    except ValueError as error:
        raise SignatureError(str(error)) from error
    if name not in signatures:
        raise SignatureError(f"signature {name!r} is not in {folder}; it has {', '.join(signatures) or 'none'}")
    return signatures[name]
