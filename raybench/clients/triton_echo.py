"""The models of a Triton that do nothing: what the client and the transport cost, whatever the requests hold."""

import re
from collections.abc import Iterator

from tritonclient.grpc import service_pb2

from raybench.clients.base import ClientError, Reply
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.kserve import INFER, ask
from raybench.config import ECHO

_NAME = re.compile(rf"{ECHO}(-\d+)?")
Tensors = dict[str, tuple[str, int]]  # type and rank by name


class TritonEcho:
    """Requests of other models, asked of the model that does nothing and takes what they hold."""

    def __init__(self, url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> None:
        self._url, self._channel = url, Channel(url, credentials)
        self._infer = self._channel.method(INFER)
        self._models = dict(self._there())

    def prepare(self, calls: int) -> None:
        self._channel.prepare(calls)

    def send(self, request: bytes, timeout_s: float) -> Reply:
        return self._infer(request, timeout_s)

    def readdressed(self, request: bytes) -> bytes:
        """A request of another model, asked of one that does nothing; raises ClientError where none takes its inputs.

        Of a scalar that is there twice protobuf takes the last.
        """
        inputs = service_pb2.ModelInferRequest.FromString(request).inputs
        held = {each.name: (each.datatype, len(each.shape)) for each in inputs}
        fitting = (name for name, takes in self._models.items() if held.items() <= takes.items())
        if not (name := next(fitting, None)):
            raise ClientError(f"Triton at {self._url} has no model that does nothing and takes {', '.join(held)}")
        return request + bytes(service_pb2.ModelInferRequest(model_name=name).SerializeToString())

    def close(self) -> None:
        self._channel.close()

    def _there(self) -> Iterator[tuple[str, Tensors]]:
        try:
            names = [each.name for each in ask(self._channel, "RepositoryIndex").models]
            for name in sorted(filter(_NAME.fullmatch, names)):
                inputs = ask(self._channel, "ModelMetadata", name=name).inputs
                yield name, {each.name: (each.datatype, len(each.shape)) for each in inputs}
        except CallError as error:
            raise ClientError(f"Triton at {self._url} does not list its models: {error.said}") from error
