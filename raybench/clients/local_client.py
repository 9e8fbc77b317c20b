"""TensorFlow in process: the same SavedModel without a server, what serving is compared with."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import grpc
import numpy as np

from raybench.clients.base import OK, ClientError, Description, Reply
from raybench.inputs.tensors import Batch
from raybench.models.loaded_signature import CallFailed, LoadedSignature, SignatureError, readable

NO_THREADS: Mapping[str, str] = MappingProxyType({})
_STATUS = {code.value[0]: code.name for code in grpc.StatusCode}


class LocalClient:
    """One SavedModel; a request is a batch in host memory, and so is an answer.

    `threads` are the variables of TensorFlow's environment, which count where this process has not computed yet.
    """

    def __init__(self, models: str, *, model: str, signature: str, threads: Mapping[str, str] = NO_THREADS) -> None:
        os.environ.update(threads)
        try:
            self._signature = LoadedSignature(Path(models) / "models.conf", model=model, signature=signature)
        except SignatureError as error:
            raise ClientError(str(error)) from error

    def describe(self) -> Description:
        return Description(
            server="tensorflow", version=self._signature.tensorflow_version, signature=self._signature.spec
        )

    def encode(self, batch: Batch) -> Batch:
        return {name: np.ascontiguousarray(array) for name, array in batch.items()}

    def prepare(self, calls: int) -> None:
        """Nothing has to be opened."""

    def send(self, request: Batch, timeout_s: float) -> Reply:  # noqa: ARG002
        """Host memory in, host memory out; a call of TensorFlow cannot be cut short, so `timeout_s` is not used."""
        try:
            arrays = self._signature.call(request)
        except CallFailed as error:
            return Reply(status=_STATUS.get(error.code, "UNKNOWN"), error=error.sentence)
        return Reply(status=OK, body=arrays, received_bytes=sum(array.nbytes for array in arrays.values()))

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return {name: readable(array) for name, array in reply.body.items()}

    def close(self) -> None:
        del self._signature
