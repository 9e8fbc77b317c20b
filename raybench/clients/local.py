"""TensorFlow in process: the same SavedModel without a server, what serving is compared with."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from raybench.clients.base import ClientError, Description, Reply
from raybench.saved_models import read_models_conf, read_signatures


class LocalClient:
    """One SavedModel loaded by tf.saved_model.load; a request is a numpy array, an answer numpy arrays."""

    def __init__(self, models: str, *, model: str, signature: str) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        folder = _newest(Path(models), model)
        self._tf = tf
        self._spec = _signature(folder, signature)
        self._loaded = tf.saved_model.load(str(folder))
        self._function = self._loaded.signatures[signature]
        self._input = next(iter(self._spec.inputs))

    def describe(self) -> Description:
        return Description(
            server="tensorflow",
            version=self._tf.__version__,
            inputs=tuple(self._spec.inputs),
            outputs=tuple(self._spec.outputs),
        )

    def encode(self, batch: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(batch)

    def prepare(self, calls: int) -> None:
        """Nothing has to be opened."""

    def send(self, request: np.ndarray, timeout_s: float) -> Reply:  # noqa: ARG002
        """Host memory in, host memory out; a call of TensorFlow cannot be cut short, so `timeout_s` is not used."""
        try:
            results = self._function(**{self._input: self._tf.constant(request)})
            arrays = {name: tensor.numpy() for name, tensor in results.items()}
        except self._tf.errors.OpError as error:
            return Reply(status=_grpc_name(error), error=str(error.message).splitlines()[0])
        return Reply(status="OK", body=arrays, received_bytes=sum(array.nbytes for array in arrays.values()))

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return dict(reply.body)

    def close(self) -> None:
        del self._function, self._loaded


def _newest(models: Path, model: str) -> Path:
    try:
        there = {entry.name: entry for entry in read_models_conf(models / "models.conf")}
        if model not in there:
            raise ValueError(f"model {model!r} is not in {models}/models.conf; there are {', '.join(there) or 'none'}")
        return there[model].base_path / str(there[model].versions()[-1])
    except ValueError as error:
        raise ClientError(str(error)) from error


def _signature(folder: Path, name: str) -> Any:
    signatures = read_signatures(folder)
    if name not in signatures:
        raise ClientError(f"signature {name!r} is not in {folder}; there are {', '.join(signatures) or 'none'}")
    return signatures[name]


def _grpc_name(error: Any) -> str:
    """TensorFlow's error classes carry gRPC's numbers (tensorflow/core/protobuf/error_codes.proto)."""
    import grpc

    return next((code.name for code in grpc.StatusCode if code.value[0] == error.error_code), "UNKNOWN")
