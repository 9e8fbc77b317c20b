"""TensorFlow in process: the same SavedModel without a server, what serving is compared with."""

from pathlib import Path

import grpc
import numpy as np

from raybench.clients.base import OK, ClientError, Description, Reply
from raybench.models.loaded_signature import CallFailed, LoadedSignature, SignatureError


class LocalClient:
    """One SavedModel; a request is a numpy array, an answer numpy arrays."""

    def __init__(self, models: str, *, model: str, signature: str) -> None:
        try:
            self._signature = LoadedSignature(Path(models) / "models.conf", model=model, signature=signature)
        except SignatureError as error:
            raise ClientError(str(error)) from error
        self._input = next(iter(self._signature.spec.inputs))

    def describe(self) -> Description:
        return Description(
            server="tensorflow",
            version=self._signature.tensorflow_version,
            inputs=tuple(self._signature.spec.inputs),
            outputs=tuple(self._signature.spec.outputs),
        )

    def encode(self, batch: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(batch)

    def prepare(self, calls: int) -> None:
        """Nothing has to be opened."""

    def send(self, request: np.ndarray, timeout_s: float) -> Reply:  # noqa: ARG002
        """Host memory in, host memory out; a call of TensorFlow cannot be cut short, so `timeout_s` is not used."""
        try:
            arrays = self._signature.call({self._input: request})
        except CallFailed as error:
            return Reply(status=_STATUS.get(error.code, "UNKNOWN"), error=error.sentence)
        return Reply(status=OK, body=arrays, received_bytes=sum(array.nbytes for array in arrays.values()))

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return dict(reply.body)

    def close(self) -> None:
        del self._signature


_STATUS = {code.value[0]: code.name for code in grpc.StatusCode}
