"""The models of a Triton that do nothing: what the client and the transport cost, whatever the requests hold."""

import re
from collections.abc import Iterator

from raybench.clients.base import ClientError
from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.unary import Send
from raybench.clients.triton_service import TritonService
from raybench.config import ECHO

_NAME = re.compile(rf"{ECHO}(-\d+)?")
Tensors = dict[str, tuple[str, int]]  # type and rank by name


class TritonEcho:
    """Requests of other models, asked of the model that does nothing and takes what they hold."""

    def __init__(self, url: str, service: TritonService) -> None:
        self._url, self._service = url, service
        self._models = dict(self._there())

    def prepare(self, calls: int) -> None:
        self._service.prepare(calls)

    def readdressed(self, request: bytes) -> tuple[Send, bytes]:
        """A request of another model, asked of one that does nothing, and what sends it there; raises ClientError where
        none takes its inputs."""
        held = self._service.inputs(request)
        fitting = (name for name, takes in self._models.items() if held.items() <= takes.items())
        if not (name := next(fitting, None)):
            raise ClientError(f"Triton at {self._url} has no model that does nothing and takes {', '.join(held)}")
        return self._service.infer(name), self._service.renamed(request, name)

    def close(self) -> None:
        self._service.close()

    def _there(self) -> Iterator[tuple[str, Tensors]]:
        try:
            names = [each.name for each in self._service.ask("RepositoryIndex").models]
            for name in sorted(filter(_NAME.fullmatch, names)):
                inputs = self._service.ask("ModelMetadata", name=name).inputs
                yield name, {each.name: (each.datatype, len(each.shape)) for each in inputs}
        except CallError as error:
            raise ClientError(f"Triton at {self._url} does not list its models: {error.said}") from error
